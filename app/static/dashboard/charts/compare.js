/** Several runs in one chart at equal elapsed time. */

import { bytes, percent, speed, time } from "../lib/format.js";
import { valueAxis } from "./chart.js";
import { isolatedPoints, linePoints, nearestRow } from "./run.js";
import { byteUnit, elapsed, niceScale } from "./scale.js";
import { elapsedAxis } from "./speed.js";

/**
 * @typedef {object} ComparedMeasure
 * @property {string} title
 * @property {(row: Row) => number | null} value
 * @property {(value: number | null | undefined) => string} text
 * @property {(name: string) => string} [unit]
 */
/** @type {Record<string, ComparedMeasure>} */
export const COMPARED = {
  bytes: { title: "Bytes moved", value: (row) => row.b, text: bytes, unit: (name) => name },
  progress: { title: "Progress", value: (row) => row.p, text: percent },
  speed: { title: "Speed", value: (row) => row.s, text: speed, unit: (name) => `${name}/s` },
};
// Distinguish the lines in addition to their colours.
/** @type {("solid" | number[])[]} */
export const DASHES = ["solid", [7, 4], [2, 3], [10, 3, 2, 3], [5, 2], [1, 4]];

/**
 * The option of ECharts for `runs`, this run first.
 * @param {ComparedRun[]} runs
 * @param {string} measure a key of COMPARED
 * @param {Theme} theme
 * @param {Size} size
 */
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
      formatter: (/** @type {ChartItem[]} */ [first]) =>
        describeRuns(runs, first.axisValue, value, text),
    },
    series: runs
      .flatMap(({ run, style }, index) => {
        const color = theme.series[style];
        const inUnit = (/** @type {Row} */ row) => {
          const known = value(row);
          return known === null ? null : known / unit.factor;
        };
        const isolated = isolatedPoints(run.lines, value);
        return [
          {
            type: "line",
            name: String(index),
            data: linePoints(run.lines, inUnit),
            showSymbol: false,
            emphasis: { disabled: true },
            lineStyle: { width: index ? 1.5 : 2.5, color, type: DASHES[style] },
            itemStyle: { color },
            z: 10 - index,
          },
          isolated.length > 0 && {
            type: "scatter",
            name: `${index}, isolated`,
            data: isolated.map((row) => [row.at, inUnit(row)]),
            symbolSize: 4,
            itemStyle: { color },
            silent: true,
            z: 10 - index,
          },
        ].filter(Boolean);
      })
      .reverse(), // this run on top
  };
}

/**
 * The end of the axis: of this run (the first), or the median of the others if it is shorter.
 * Otherwise one run of a day would compress all others at the left edge.
 * @param {number[]} ends
 */
export function comparedEnd([current, ...others]) {
  const sorted = [...others].sort((a, b) => a - b);
  return Math.max(1, current, sorted[sorted.length >> 1] ?? 0);
}

/**
 * @param {ComparedRun[]} runs
 * @param {number} t
 * @param {ComparedMeasure["value"]} value
 * @param {ComparedMeasure["text"]} text
 */
function describeRuns(runs, t, value, text) {
  const lines = runs.map(({ run, job }, index) => {
    const row = t <= run.end ? valueAt(run, t, value) : null;
    const name = index ? time(job.started_at) : "this run";
    return `${name}: ${row === null ? "ended or unknown" : text(row)}`;
  });
  return [`after ${elapsed(t)}`, ...lines].join("\n");
}

/**
 * The value of a run at elapsed `t`, which must not be after its end.
 * @param {Run} run
 * @param {number} t
 * @param {ComparedMeasure["value"]} value
 */
export function valueAt(run, t, value) {
  const row = nearestRow(run.rows, t);
  return row === null ? null : value(row);
}
