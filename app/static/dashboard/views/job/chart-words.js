/** What the chart of a run shows, in words and as tables. */

import { elapsed } from "../../charts/scale.js";
import { GAP_REASONS } from "../../charts/speed.js";
import { dataTable } from "../../components/table.js";
import { h } from "../../lib/dom.js";
import { bytes, count, duration, percent, speed, time, UNKNOWN } from "../../lib/format.js";

const MOST_ROWS = 500; // of a table in the page; the CSV has all
const SOURCES = {
  updates: "the updates themselves",
  "1m": "what is kept of each minute",
  "1h": "what is kept of each hour",
  summary: "the summary of the ended job",
};

/** Which source the chart is made of, and how finely. */
export function sourceText(history) {
  const step = history.resolution_seconds
    ? `a point is ${duration(history.resolution_seconds)}`
    : "each update is a point";
  const last = history.last_point_unfinished
    ? "; the last point, drawn hollow, is still filling"
    : "";
  return `Made of ${SOURCES[history.source] ?? history.source}: ${step}, ${count(history.chart_data.t.length)} points${last}.`;
}

/** The chart in words. */
export function speedLabel(history, run) {
  const parts = [
    `Speed over ${duration(run.end)}: mean ${speed(history.avg_speed_bps)}, peak ${speed(history.peak_speed_bps)}, lowest ${speed(history.min_speed_bps)}`,
    run.gaps.length
      ? `${run.gaps.length} ${run.gaps.length === 1 ? "gap" : "gaps"} without updates`
      : "no gaps",
    `${run.phases.length} ${run.phases.length === 1 ? "phase" : "phases"}`,
  ];
  const last = run.rows.findLast((row) => row.p !== null);
  if (last) parts.push(`progress ${percent(last.p)}`);
  return `${parts.join("; ")}.`;
}

/** The histogram in words. */
export function histogramLabel(bins) {
  const most = bins.reduce((best, bin) => (bin.count > best.count ? bin : best));
  return `Histogram of speeds: most often ${speed(most.from)} to ${speed(most.to)}, ${percent(most.share * 100)} of the points.`;
}

/** The points of the chart, the first of them if they are many. */
export function pointsTable(history, run) {
  const num = (label) => ({ label, class: "num" });
  const rows = run.rows.slice(0, MOST_ROWS);
  const left = run.rows.length - rows.length;
  return h(
    "div",
    null,
    dataTable({
      caption: "Points of the chart",
      columns: [
        num("Elapsed"),
        { label: "Time", class: "nowrap" },
        num("Speed"),
        num("Lowest"),
        num("Highest"),
        num("Progress"),
        num("Bytes"),
      ],
      rows: rows.map((row) => [
        elapsed(Math.max(row.t, 0)),
        time(new Date(Date.parse(history.started_at) + row.t * 1000)),
        speed(row.s),
        speed(row.low),
        speed(row.high),
        percent(row.p),
        bytes(row.b),
      ]),
    }),
    left > 0 &&
      h("p", { class: "chart-note" }, `${count(left)} more points: save as CSV to have all.`),
  );
}

/** The phases of the run, null for none. */
export function phasesTable(history, run) {
  if (!run.phases.length) return null;
  return h(
    "section",
    { class: "job-section" },
    h("h2", null, "Phases"),
    dataTable({
      caption: "Phases of the run",
      columns: [
        "Phase",
        { label: "From", class: "num" },
        { label: "Length", class: "num" },
        { label: "Bytes", class: "num" },
      ],
      rows: run.phases
        .slice(0, MOST_ROWS)
        .map((phase) => [
          h("bdi", { class: "phase-name" }, phase.phase || UNKNOWN),
          elapsed(phase.from),
          duration(phase.seconds),
          bytes(phase.bytes),
        ]),
    }),
    omitted(history.phases_omitted, "phases"),
  );
}

/** The gaps in the window, null for none. */
export function gapsTable(history, run) {
  if (!run.gaps.length) return null;
  return h(
    "section",
    { class: "job-section" },
    h("h2", null, "Gaps without updates"),
    dataTable({
      caption: "Gaps without updates",
      columns: ["Why", { label: "From", class: "num" }, { label: "Length", class: "num" }],
      rows: run.gaps
        .slice(0, MOST_ROWS)
        .map((gap) => [
          GAP_REASONS[gap.reason] ?? gap.reason,
          elapsed(gap.from),
          duration(gap.to - gap.from),
        ]),
    }),
    omitted(history.gaps_omitted, "gaps"),
  );
}

function omitted(number, what) {
  return (
    number > 0 && h("p", { class: "chart-note" }, `${count(number)} shorter ${what} left out.`)
  );
}
