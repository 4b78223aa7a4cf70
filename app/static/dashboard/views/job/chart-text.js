/** The chart of a run as text and tables. */

import { elapsed } from "../../charts/scale.js";
import { GAP_REASONS } from "../../charts/speed.js";
import { dataTable } from "../../components/table.js";
import { h } from "../../lib/dom.js";
import {
  bytes,
  counted,
  duration,
  percent,
  progressPercent,
  speed,
  time,
  UNKNOWN,
} from "../../lib/format.js";

const MOST_ROWS = 500; // of a table in the page; the CSV has all
/** @type {Record<string, string>} */
const SOURCES = {
  updates: "individual updates",
  "1m": "one-minute rollup",
  "1h": "one-hour rollup",
  summary: "summary of the ended job",
};

/** The source and the resolution of the chart. @param {History} history */
export function sourceText(history) {
  const source = SOURCES[history.source] ?? history.source;
  const step = history.resolution_seconds
    ? `one point per ${duration(history.resolution_seconds)}`
    : "one point per update";
  const last = history.last_point_unfinished ? "; the last point (hollow) is incomplete" : "";
  const derived = history.speed_source === "derived" ? " Speeds are derived from the bytes." : "";
  return `Source: ${source}, ${step}, ${counted(history.chart_data.t.length, "point")}${last}.${derived}`;
}

/** A description of the chart. @param {History} history @param {Run} run */
export function speedLabel(history, run) {
  const parts = [
    `Speed over ${duration(run.end)}: mean ${speed(history.avg_speed_bps)}, peak ${speed(history.peak_speed_bps)}, lowest ${speed(history.min_speed_bps)}`,
    run.gaps.length ? `${counted(run.gaps.length, "gap")} without updates` : "no gaps",
    counted(run.phases.length, "phase"),
  ];
  const last = run.rows.findLast((row) => row.p !== null);
  if (last) parts.push(`progress ${progressPercent(last.p)}`);
  return `${parts.join("; ")}.`;
}

/** A description of the histogram. @param {Bin[]} bins */
export function histogramLabel(bins) {
  const most = bins.reduce((best, bin) => (bin.count > best.count ? bin : best));
  return `Histogram of speeds: most often ${speed(most.from)} to ${speed(most.to)}, ${percent(most.share * 100)} of the points.`;
}

/** @param {string} label */
const num = (label) => ({ label, class: "num" });

/** The first points of the chart. @param {History} history @param {Run} run */
export function pointsTable(history, run) {
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
        progressPercent(row.p),
        bytes(row.b),
      ]),
    }),
    left > 0 &&
      h("p", { class: "chart-note" }, `${counted(left, "more point")}: save as CSV for all.`),
  );
}

/** The phases of the run; null without any. @param {History} history @param {Run} run */
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
    omitted(history.phases_omitted, "phase"),
  );
}

/** The gaps in the window; null without any. @param {History} history @param {Run} run */
export function gapsTable(history, run) {
  if (!run.gaps.length) return null;
  return h(
    "section",
    { class: "job-section" },
    h("h2", null, "Gaps without updates"),
    dataTable({
      caption: "Gaps without updates",
      columns: ["Reason", { label: "From", class: "num" }, { label: "Length", class: "num" }],
      rows: run.gaps
        .slice(0, MOST_ROWS)
        .map((gap) => [
          GAP_REASONS[gap.reason] ?? gap.reason,
          elapsed(gap.from),
          duration(gap.to - gap.from),
        ]),
    }),
    omitted(history.gaps_omitted, "gap"),
  );
}

/** @param {number} number @param {string} what */
function omitted(number, what) {
  return (
    number > 0 && h("p", { class: "chart-note" }, `${counted(number, `shorter ${what}`)} omitted.`)
  );
}
