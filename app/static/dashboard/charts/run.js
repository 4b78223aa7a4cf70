/** A history answer (`format=columns`) as what a chart draws: lines that break at gaps. Pure. */

const GAP_SECONDS = 60; // as the hub has it
const MOST_BINS = 24;

/** Seconds from the start of the run to an instant of the answer. */
export function secondsSince(startedAt, instant) {
  return (Date.parse(instant) - Date.parse(startedAt)) / 1000;
}

/**
 * The run as `{rows, lines, gaps, phases, end, unfinished, resolution}`: rows are
 * `{t, at, s, low, high, p, b}`, where `at` is the middle of a step; lines are rows in unbroken
 * stretches; the last row is kept out of them while its step is not over.
 */
export function makeRun(history) {
  const { started_at: startedAt, resolution_seconds: resolution } = history;
  const newest = history.duration_seconds ?? 0;
  const columns = history.chart_data;
  const rows = columns.t.map((t, index) => ({
    t,
    at: resolution ? Math.min(Math.max(t + resolution / 2, 0), Math.max(newest, 0)) : t,
    s: columns.s[index],
    low: columns.s_min[index],
    high: columns.s_max[index],
    p: columns.p[index],
    b: columns.b[index],
  }));
  const gaps = history.gaps.map(({ from, to, reason }) => ({
    from: secondsSince(startedAt, from),
    to: secondsSince(startedAt, to),
    reason,
  }));
  const unfinished = history.last_point_unfinished && rows.length ? rows.at(-1) : null;
  const drawn = unfinished ? rows.slice(0, -1) : rows;
  return {
    rows,
    lines: splitAtGaps(drawn, gaps, resolution),
    gaps,
    phases: history.phases.map((p) => ({ ...p, from: p.from_t, to: p.to_t })),
    end: newest,
    unfinished,
    resolution,
  };
}

/**
 * The rows in stretches without a gap between. A gap shorter than a step breaks nothing; rows further
 * apart than any that are no gap are broken too, as the hub leaves out the shortest of many gaps.
 */
export function splitAtGaps(rows, gaps, resolution) {
  const breaks = gaps
    .filter(({ from, to }) => to - from >= resolution)
    .map(({ from, to }) => (from + to) / 2);
  const lines = [];
  let line = [];
  let next = 0;
  for (const row of rows) {
    let broken = line.length > 0 && row.at - line.at(-1).at > GAP_SECONDS + 2 * resolution;
    while (next < breaks.length && breaks[next] <= row.at) {
      next += 1;
      broken = true;
    }
    if (broken && line.length) {
      lines.push(line);
      line = [];
    }
    line.push(row);
  }
  if (line.length) lines.push(line);
  return lines;
}

/** `[x, y]` of all lines for one line series: a null y lifts the pen. */
export function linePoints(lines, value) {
  const points = [];
  for (const line of lines) {
    if (points.length) points.push([line[0].at, null]);
    for (const row of line) points.push([row.at, value(row)]);
  }
  return points;
}

/** The points that are a line of their own. */
export function lonePoints(lines) {
  return lines
    .filter((line) => line.length === 1)
    .map(([row]) => row)
    .filter((row) => row.s !== null);
}

/** At most about `most` rows of a line, evenly, with its first and last. */
export function thinned(line, most) {
  const every = Math.ceil(line.length / most);
  return every === 1
    ? line
    : line.filter((_, index) => index % every === 0 || index === line.length - 1);
}

/** The stretches of `lines` in which lowest and highest are known, as rows. */
export function bands(lines) {
  const found = [];
  for (const line of lines) {
    let band = [];
    for (const row of [...line, null]) {
      if (row && row.low !== null && row.high !== null) band.push(row);
      else {
        if (band.length > 1) found.push(band);
        band = [];
      }
    }
  }
  return found;
}

/** The row nearest to `t`, and only one within `reach` seconds; rows ascend by `at`. */
export function nearestRow(rows, t, reach = Infinity) {
  let low = 0;
  let high = rows.length - 1;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (rows[middle].at <= t) low = middle;
    else high = middle;
  }
  const best = [rows[low], rows[high]]
    .filter(Boolean)
    .sort((a, b) => Math.abs(a.at - t) - Math.abs(b.at - t))[0];
  return best && Math.abs(best.at - t) <= reach ? best : null;
}

/** The stretch of `stretches` (gaps or phases) that holds `t`. */
export function stretchAt(stretches, t) {
  return stretches.find(({ from, to }) => t >= from && t < to) ?? null;
}

/**
 * How often each speed was seen: `[{from, to, count, share}]` in steps of equal width from 0.
 * `scale` is what `niceScale` gives for the highest speed.
 */
export function speedBins(speeds, scale) {
  const seen = speeds.filter((speed) => speed !== null);
  if (!seen.length) return [];
  let width = scale.interval;
  while (scale.max / (width / 2) <= MOST_BINS) width /= 2;
  const bins = Array.from({ length: Math.round(scale.max / width) }, (_, index) => ({
    from: index * width,
    to: (index + 1) * width,
    count: 0,
    share: 0,
  }));
  for (const speed of seen) {
    bins[Math.min(Math.floor(speed / width), bins.length - 1)].count += 1;
  }
  for (const bin of bins) bin.share = bin.count / seen.length;
  return bins;
}
