/** Durations or sizes of the last runs as bars, oldest first. */

import { bytes, counted, duration, time } from "../lib/format.js";
import { lookOf, lookText, SHAPES } from "../lib/looks.js";
import { runKey, runText } from "../lib/runs.js";
import { valueAxis } from "./chart.js";
import { byteUnit, niceScale, secondsStep } from "./scale.js";
import { plain } from "./text.js";

/**
 * @typedef {object} TrendMeasure
 * @property {string} title
 * @property {(run: Job) => number | null} value
 * @property {(value: number | null | undefined) => string} text
 */
/** @type {Record<string, TrendMeasure>} */
export const MEASURES = {
  duration: { title: "Duration", value: (run) => run.duration_seconds, text: duration },
  size: { title: "Bytes moved", value: (run) => run.bytes_transferred, text: bytes },
};

const MARK = 11; // pixels

/**
 * The option of ECharts.
 * @param {Job[]} runs oldest first
 * @param {{measure: string, current?: Job | null}} options `measure`: a key of MEASURES; `current`:
 *   the run to highlight
 * @param {Theme} theme
 */
export function trendOption(runs, { measure, current }, theme) {
  const { value, text } = MEASURES[measure];
  const largest = Math.max(0, ...runs.map((run) => value(run) ?? 0));
  const axis = measure === "size" ? byteAxis(largest) : durationAxis(largest);
  return {
    grid: { left: 48, right: 12, top: 28, bottom: 24 },
    xAxis: {
      type: "category",
      data: runs.map((run) => run.started_at),
      axisLabel: { color: theme.muted, formatter: shortDate, hideOverlap: true },
      axisLine: { lineStyle: { color: theme.muted } },
      axisTick: { show: false },
    },
    yAxis: valueAxis(theme, axis),
    tooltip: {
      trigger: "axis",
      axisPointer: { type: "shadow" },
      formatter: (/** @type {ChartItem[]} */ [{ dataIndex }]) => {
        const run = runs[dataIndex];
        const name = [plain(run.job_id, 40), runText(run)].filter(Boolean).join(" · ");
        return `${time(run.started_at)}\n${text(value(run))}\n${lookText(lookOf(run))}\n${name}`;
      },
    },
    series: [
      {
        type: "bar",
        barMaxWidth: 26,
        barMinHeight: 3, // a run that moved nothing is seen as well
        barCategoryGap: "25%",
        cursor: "pointer",
        data: runs.map((run) => ({
          value: (value(run) ?? 0) / axis.factor,
          itemStyle: {
            color: theme.look[lookOf(run)],
            borderColor: theme.text,
            borderWidth: current && runKey(run) === runKey(current) ? 2 : 0,
          },
        })),
      },
      {
        // Above the bars, so that the looks are told apart without their colours.
        type: "scatter",
        name: "looks",
        silent: true,
        clip: false,
        symbolSize: MARK,
        symbolKeepAspect: true,
        symbolOffset: [0, -MARK],
        data: runs.flatMap((run, index) => {
          const look = lookOf(run);
          const mark = {
            value: [index, (value(run) ?? 0) / axis.factor],
            symbol: `path://${SHAPES[look]}`,
            itemStyle: { color: theme.look[look], opacity: 1 },
          };
          return look === "completed" ? [] : [mark];
        }),
      },
    ],
  };
}

/** @param {number} largest */
function byteAxis(largest) {
  const { factor, name } = byteUnit(largest);
  return { factor, name, ...niceScale(largest / factor, 3) };
}

const TIMES = [
  { name: "h", factor: 3600 },
  { name: "min", factor: 60 },
];

/** An axis of durations in the largest unit with at least two. @param {number} largest */
export function durationAxis(largest) {
  const unit = TIMES.find((one) => largest >= 2 * one.factor);
  const { name, factor } = unit ?? { name: "s", factor: 1 };
  if (factor === 1) {
    const interval = secondsStep(largest, 3);
    return { factor, name, interval, max: Math.max(Math.ceil(largest / interval), 1) * interval };
  }
  return { factor, name, ...niceScale(largest / factor, 3) };
}

/** Day and month in the user's format and time zone. @param {Instant} instant */
function shortDate(instant) {
  return new Date(instant).toLocaleDateString(undefined, { day: "numeric", month: "short" });
}

/** A description of the bars. @param {Job[]} runs oldest first @param {string} measure */
export function trendLabel(runs, measure) {
  const { title, value, text } = MEASURES[measure];
  const known = runs.map(value).filter((v) => v !== null && v !== undefined);
  const last = runs.at(-1);
  if (!last || !known.length) return `${title}: no data yet.`;
  return (
    `${title} of ${counted(runs.length, "run")}: from ${text(Math.min(...known))} to ` +
    `${text(Math.max(...known))}, last ${text(value(last))}.`
  );
}
