/** Converts a history into what a chart draws: lines that break at gaps. Pure. */

const MOST_BINS = 24;

/**
 * Seconds from the start of the run to an instant.
 * @param {Instant} startedAt
 * @param {Instant} instant
 */
export function secondsSince(startedAt, instant) {
  return (Date.parse(instant) - Date.parse(startedAt)) / 1000;
}

/**
 * The last row is not part of the lines while its step is incomplete.
 * @param {History} history
 * @returns {Run}
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
  const unfinished = (history.last_point_unfinished && rows.at(-1)) || null;
  const drawn = unfinished ? rows.slice(0, -1) : rows;
  return {
    rows,
    lines: splitAtGaps(drawn, gaps, resolution, history.gap_seconds),
    gaps,
    gapSeconds: history.gap_seconds,
    phases: history.phases.map((p) => ({ ...p, from: p.from_t, to: p.to_t })),
    end: Math.max(newest, gaps.at(-1)?.to ?? 0), // the silence of a live job lasts until now
    unfinished,
    resolution,
  };
}

/**
 * The rows as lines without gaps. A gap shorter than a step does not break a line. Rows that are too
 * far apart do, as the hub omits the shortest of many gaps.
 * @param {Row[]} rows
 * @param {Gap[]} gaps
 * @param {number} resolution
 * @param {number} gapSeconds what a gap is longer than
 */
export function splitAtGaps(rows, gaps, resolution, gapSeconds) {
  const breaks = gaps
    .filter(({ from, to }) => to - from >= resolution)
    .map(({ from, to }) => (from + to) / 2);
  /** @type {Row[][]} */
  const lines = [];
  /** @type {Row[]} */
  let line = [];
  let next = 0;
  for (const row of rows) {
    const before = line.at(-1);
    let broken = before !== undefined && row.at - before.at > gapSeconds + 2 * resolution;
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

/**
 * `[x, y]` of all lines for one line series: a null y breaks it.
 * @param {Row[][]} lines
 * @param {(row: Row) => number | null} value
 */
export function linePoints(lines, value) {
  /** @type {[number, number | null][]} */
  const points = [];
  for (const line of lines) {
    if (points.length) points.push([line[0].at, null]);
    for (const row of line) points.push([row.at, value(row)]);
  }
  return points;
}

/**
 * The rows with a value whose neighbours in their line have none: no line is drawn to them.
 * @param {Row[][]} lines
 * @param {(row: Row) => number | null} value
 */
export function isolatedPoints(lines, value) {
  const isKnown = (/** @type {Row | undefined} */ row) => row !== undefined && value(row) !== null;
  return lines.flatMap((line) =>
    line.filter(
      (row, index) => isKnown(row) && !isKnown(line[index - 1]) && !isKnown(line[index + 1]),
    ),
  );
}

/** About `most` rows of a line at most, with its first and last. @param {Row[]} line @param {number} most */
export function downsampled(line, most) {
  const every = Math.ceil(line.length / most);
  return every === 1
    ? line
    : line.filter((_, index) => index % every === 0 || index === line.length - 1);
}

/** The parts of `lines` in which lowest and highest are known. @param {Row[][]} lines */
export function bands(lines) {
  /** @type {BandRow[][]} */
  const found = [];
  for (const line of lines) {
    /** @type {BandRow[]} */
    let band = [];
    for (const row of [...line, null]) {
      if (row && isBandRow(row)) band.push(row);
      else {
        if (band.length > 1) found.push(band);
        band = [];
      }
    }
  }
  return found;
}

/** @typedef {Row & {low: number, high: number}} BandRow */

/**
 * @param {Row} row
 * @returns {row is BandRow}
 */
const isBandRow = (row) => row.low !== null && row.high !== null;

/**
 * The row nearest to `t` within `reach` seconds, or null; rows ascend by `at`.
 * @param {Row[]} rows
 * @param {number} t
 * @param {number} [reach]
 */
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

/**
 * The interval (gap or phase) that contains `t`, or null.
 * @template {Span} T
 * @param {T[]} intervals
 * @param {number} t
 */
export function intervalAt(intervals, t) {
  return intervals.find(({ from, to }) => t >= from && t < to) ?? null;
}

/**
 * The distribution of speeds in bins of equal width from 0.
 * @param {(number | null)[]} speeds
 * @param {{max: number, interval: number}} scale of `niceScale` for the highest speed
 * @returns {Bin[]}
 */
export function speedBins(speeds, scale) {
  const known = speeds.filter((speed) => speed !== null);
  if (!known.length) return [];
  let width = scale.interval;
  while (scale.max / (width / 2) <= MOST_BINS) width /= 2;
  const bins = Array.from({ length: Math.round(scale.max / width) }, (_, index) => ({
    from: index * width,
    to: (index + 1) * width,
    count: 0,
    share: 0,
  }));
  for (const speed of known) {
    bins[Math.min(Math.floor(speed / width), bins.length - 1)].count += 1;
  }
  for (const bin of bins) bin.share = bin.count / known.length;
  return bins;
}
