/** Durations or sizes of the last runs, oldest first, a bar each. */

import { bytes, duration, time } from "../lib/format.js";
import { valueAxis } from "./chart.js";
import { byteUnit, niceScale, secondsStep } from "./scale.js";
import { plain } from "./text.js";

export const MEASURES = {
  duration: { title: "Duration", value: (run) => run.duration_seconds, text: duration },
  size: { title: "Bytes moved", value: (run) => run.bytes_transferred, text: bytes },
};

/** The option for `runs` (items of the job list, oldest first); `current` is a job's id or null. */
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
      formatter: ([{ dataIndex }]) => {
        const run = runs[dataIndex];
        return `${time(run.started_at)}\n${text(value(run))}\n${run.status}\n${plain(run.job_id, 40)}`;
      },
    },
    series: [
      {
        type: "bar",
        barMaxWidth: 26,
        barCategoryGap: "25%",
        cursor: "pointer",
        data: runs.map((run) => ({
          value: (value(run) ?? 0) / axis.factor,
          itemStyle: {
            color: theme.status[run.status],
            borderColor: theme.text,
            borderWidth: run.job_id === current ? 2 : 0,
          },
        })),
      },
    ],
  };
}

function byteAxis(largest) {
  const { factor, name } = byteUnit(largest);
  return { factor, name, ...niceScale(largest / factor, 3) };
}

const TIMES = [
  ["h", 3600],
  ["min", 60],
  ["s", 1],
];

/** An axis of durations in the largest unit of which the longest has two. */
export function durationAxis(largest) {
  const [name, factor] = TIMES.find(([, seconds]) => largest >= 2 * seconds) ?? TIMES.at(-1);
  if (factor === 1) {
    const interval = secondsStep(largest, 3);
    return { factor, name, interval, max: Math.max(Math.ceil(largest / interval), 1) * interval };
  }
  return { factor, name, ...niceScale(largest / factor, 3) };
}

/** Day and month in the reader's order and zone. */
function shortDate(instant) {
  return new Date(instant).toLocaleDateString(undefined, { day: "numeric", month: "short" });
}

/** What the bars show, in words. */
export function trendLabel(runs, measure) {
  const { title, value, text } = MEASURES[measure];
  const known = runs.map(value).filter((v) => v !== null && v !== undefined);
  if (!known.length) return `${title}: nothing known yet.`;
  return (
    `${title} of ${runs.length} runs: from ${text(Math.min(...known))} to ` +
    `${text(Math.max(...known))}, last ${text(value(runs.at(-1)))}.`
  );
}
