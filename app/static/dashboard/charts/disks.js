/** The speeds of several disks over each other, over elapsed time. */

import { speed } from "../lib/format.js";
import { valueAxis } from "./chart.js";
import { DASHES } from "./compare.js";
import { linePoints, lonePoints, nearestRow } from "./run.js";
import { byteUnit, elapsed, niceScale } from "./scale.js";
import { elapsedAxis } from "./speed.js";

const COLOURS = 6; // of theme.series
const REACH = 60; // seconds; further from any update is a gap

/** Which colour and which of DASHES the disk at `place` has: no two of the first 36 look alike. */
export function diskStyle(place) {
  return { colour: place % COLOURS, dash: (place + Math.floor(place / COLOURS)) % DASHES.length };
}

/** The option for `disks`: `[{index, run, place}]`; `window` is `{from, to}` in elapsed seconds. */
export function disksOption(disks, window, theme, { width }) {
  const largest = Math.max(0, ...disks.flatMap(({ run }) => run.rows.map(({ s }) => s ?? 0)));
  const unit = byteUnit(largest);
  const inUnit = ({ s }) => (s === null ? null : s / unit.factor);
  return {
    grid: { left: 52, right: 16, top: 28, bottom: 42 },
    xAxis: elapsedAxis(window, width, theme),
    yAxis: valueAxis(theme, { ...niceScale(largest / unit.factor), name: `${unit.name}/s` }),
    tooltip: {
      trigger: "axis",
      axisPointer: { type: "line", lineStyle: { color: theme.muted }, label: { show: false } },
      formatter: ([first]) => describeDisks(disks, first.axisValue),
    },
    series: disks.flatMap(({ index, run, place }) => {
      const { colour, dash } = diskStyle(place);
      const color = theme.series[colour];
      const lone = lonePoints(run.lines);
      return [
        {
          type: "line",
          name: `disk ${index}`,
          data: linePoints(run.lines, inUnit),
          showSymbol: false,
          emphasis: { disabled: true },
          lineStyle: { width: 1.75, color, type: DASHES[dash] },
          itemStyle: { color },
        },
        lone.length > 0 && {
          type: "scatter",
          name: `disk ${index}, lone`,
          data: lone.map((row) => [row.at, inUnit(row)]),
          symbolSize: 4,
          itemStyle: { color },
          silent: true,
        },
      ].filter(Boolean);
    }),
  };
}

/** What the tooltip says at `t`; text only. */
export function describeDisks(disks, t) {
  const lines = disks.map(({ index, run }) => {
    const row = nearestRow(run.rows, t, Math.max(run.resolution, REACH));
    return `disk ${index}: ${speed(row?.s)}`;
  });
  return [elapsed(Math.max(t, 0)), ...lines].join("\n");
}
