/** Runs over each other at equal elapsed time. */

import { bytes, percent, speed, time } from "../lib/format.js";
import { valueAxis } from "./chart.js";
import { linePoints, nearestRow } from "./run.js";
import { byteUnit, elapsed, niceScale } from "./scale.js";
import { elapsedAxis } from "./speed.js";

export const COMPARED = {
  bytes: { title: "Bytes moved", value: (row) => row.b, text: bytes, unit: (name) => name },
  progress: { title: "Progress", value: (row) => row.p, text: percent },
  speed: { title: "Speed", value: (row) => row.s, text: speed, unit: (name) => `${name}/s` },
};
// What tells the lines apart besides their colours.
export const DASHES = ["solid", [7, 4], [2, 3], [10, 3, 2, 3], [5, 2], [1, 4]];

/** The option for `runs`: `[{run, job, style}]`, this run first; `style` picks colour and dash. */
export function compareOption(runs, measure, theme, { width }) {
  const { value, text, unit: unitName } = COMPARED[measure];
  const longest = comparedEnd(runs.map(({ run }) => run.end));
  const seen = runs.flatMap(({ run }) => run.rows.filter((row) => row.at <= longest));
  const largest = Math.max(0, ...seen.map((row) => value(row) ?? 0));
  const unit = measure === "progress" ? { factor: 1, name: "%" } : byteUnit(largest);
  const scale =
    measure === "progress" ? { max: 100, interval: 25 } : niceScale(largest / unit.factor);
  return {
    grid: { left: 52, right: 16, top: 28, bottom: 42 },
    xAxis: elapsedAxis({ from: 0, to: longest }, width, theme),
    yAxis: valueAxis(theme, { ...scale, name: unitName ? unitName(unit.name) : unit.name }),
    tooltip: {
      trigger: "axis",
      axisPointer: { type: "line", lineStyle: { color: theme.muted }, label: { show: false } },
      formatter: ([first]) => describeRuns(runs, first.axisValue, value, text),
    },
    series: runs
      .map(({ run, style }, index) => ({
        type: "line",
        name: String(index),
        data: linePoints(run.lines, (row) => {
          const known = value(row);
          return known === null ? null : known / unit.factor;
        }),
        showSymbol: false,
        emphasis: { disabled: true },
        lineStyle: { width: index ? 1.5 : 2.5, color: theme.series[style], type: DASHES[style] },
        itemStyle: { color: theme.series[style] },
        z: 10 - index,
      }))
      .reverse(), // this run on top
  };
}

/**
 * Where the axis ends: with this run (the first), or where half of the others had ended while it is
 * shorter. One run of a day would else press all others against the left edge.
 */
export function comparedEnd([current, ...others]) {
  const sorted = [...others].sort((a, b) => a - b);
  return Math.max(1, current, sorted[sorted.length >> 1] ?? 0);
}

function describeRuns(runs, t, value, text) {
  const lines = runs.map(({ run, job }, index) => {
    const row = t <= run.end ? valueAt(run, t, value) : null;
    const name = index ? time(job.started_at) : "this run";
    return `${name}: ${row === null ? "ended or unknown" : text(row)}`;
  });
  return [`after ${elapsed(t)}`, ...lines].join("\n");
}

/** The value of a run at elapsed `t`, null where it has none; before the end only. */
export function valueAt(run, t, value) {
  const row = nearestRow(run.rows, t);
  return row === null ? null : value(row);
}
