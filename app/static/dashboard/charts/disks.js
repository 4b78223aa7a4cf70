/** The speeds of several disks in one chart, over elapsed time. */

import { speed } from "../lib/format.js";
import { valueAxis } from "./chart.js";
import { DASHES } from "./compare.js";
import { isolatedPoints, linePoints, nearestRow } from "./run.js";
import { byteUnit, elapsed, niceScale } from "./scale.js";
import { elapsedAxis } from "./speed.js";

const COLOURS = 6; // of theme.series

/**
 * The colour and the index in DASHES of the disk at `place`; unique for the first 36.
 * @param {number} place
 */
export function diskStyle(place) {
  return { colour: place % COLOURS, dash: (place + Math.floor(place / COLOURS)) % DASHES.length };
}

/**
 * The option of ECharts.
 * @param {DiskRun[]} disks
 * @param {Span} window
 * @param {Theme} theme
 * @param {Size} size
 */
export function disksOption(disks, window, theme, { width }) {
  const largest = Math.max(0, ...disks.flatMap(({ run }) => run.rows.map(({ s }) => s ?? 0)));
  const unit = byteUnit(largest);
  const inUnit = (/** @type {Row} */ { s }) => (s === null ? null : s / unit.factor);
  return {
    grid: { left: 52, right: 16, top: 28, bottom: 42 },
    xAxis: elapsedAxis(window, width, theme),
    yAxis: valueAxis(theme, { ...niceScale(largest / unit.factor), name: `${unit.name}/s` }),
    tooltip: {
      trigger: "axis",
      axisPointer: { type: "line", lineStyle: { color: theme.muted }, label: { show: false } },
      formatter: (/** @type {ChartItem[]} */ [first]) => describeDisks(disks, first.axisValue),
    },
    series: disks.flatMap(({ index, run, place }) => {
      const { colour, dash } = diskStyle(place);
      const color = theme.series[colour];
      const isolated = isolatedPoints(run.lines, ({ s }) => s);
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
        isolated.length > 0 && {
          type: "scatter",
          name: `disk ${index}, isolated`,
          data: isolated.map((row) => [row.at, inUnit(row)]),
          symbolSize: 4,
          itemStyle: { color },
          silent: true,
        },
      ].filter(Boolean);
    }),
  };
}

/** The text of the tooltip at `t`. @param {DiskRun[]} disks @param {number} t */
export function describeDisks(disks, t) {
  const lines = disks.map(({ index, run }) => {
    const row = nearestRow(run.rows, t, Math.max(run.resolution, run.gapSeconds));
    return `disk ${index}: ${speed(row?.s)}`;
  });
  return [elapsed(Math.max(t, 0)), ...lines].join("\n");
}
