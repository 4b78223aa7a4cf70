/** The chart of a run: speed with its band, mean, progress, phases and gaps over elapsed time. */

import { bytes, percent, speed } from "../lib/format.js";
import { valueAxis } from "./chart.js";
import { bands, downsampled, intervalAt, isolatedPoints, linePoints, nearestRow } from "./run.js";
import { byteUnit, elapsed, elapsedFormat, multiples, niceScale, secondsStep } from "./scale.js";
import { plain } from "./text.js";
import { fade } from "./theme.js";

/** @type {Record<GapReason, string>} */
export const GAP_REASONS = {
  silence: "silence",
  hub_away: "hub unavailable",
  sender_lost: "sender lost updates",
};
/** @type {Layer[]} */
export const LAYERS = ["band", "mean", "progress", "phases"];

const LEFT = 52;
const RIGHT = 44;
const STRIP = 18; // of the phases, above the plot
const TOP = 40;
const BOTTOM = 42;
const PROGRESS_POINTS = 500; // of each line

/** @typedef {Record<Layer, boolean>} ShownLayers */
/** @typedef {(value: number | null) => number | null} ToUnit converts bytes per second */

/**
 * The option of ECharts; `mean` in bytes per second.
 * @param {{run: Run, window: Span, mean: number | null, shown: ShownLayers}} options
 * @param {Theme} theme
 * @param {Size} size
 */
export function speedOption({ run, window, mean, shown }, theme, { width }) {
  const highest = Math.max(mean ?? 0, ...run.rows.map((row) => highOf(row, shown)));
  const unit = byteUnit(highest);
  const scale = niceScale(highest / unit.factor);
  /** @type {ToUnit} */
  const inUnit = (value) => (value === null ? null : value / unit.factor);
  return {
    grid: { left: LEFT, right: shown.progress ? RIGHT : 16, top: TOP, bottom: BOTTOM },
    xAxis: elapsedAxis(window, width, theme),
    yAxis: [
      valueAxis(theme, { ...scale, name: `${unit.name}/s`, nameGap: shown.phases ? 24 : 12 }),
      valueAxis(theme, {
        max: 100,
        interval: 25,
        splitLine: { show: false },
        show: shown.progress,
        axisLabel: {
          color: theme.progress,
          formatter: (/** @type {number} */ value) => `${value} %`,
        },
      }),
    ],
    tooltip: {
      trigger: "axis",
      axisPointer: {
        type: "line",
        lineStyle: { color: theme.muted, width: 1 },
        label: { show: false },
      },
      formatter: (/** @type {ChartItem[]} */ [first]) => describe(run, first.axisValue),
    },
    series: [
      shown.phases && phaseSeries(run.phases, theme),
      gapSeries(run.gaps, theme),
      shown.band && run.resolution > 0 && bandSeries(bands(run.lines), inUnit, theme),
      speedSeries(run, inUnit, theme, shown.mean ? inUnit(mean) : null),
      isolatedSeries(
        isolatedPoints(run.lines, ({ s }) => s),
        inUnit,
        theme,
      ),
      shown.progress && progressSeries(run, theme),
      run.unfinished && unfinishedSeries(run.unfinished, inUnit, theme),
    ].filter(Boolean),
  };
}

/** @param {Row} row @param {ShownLayers} shown */
function highOf(row, shown) {
  return Math.max(row.s ?? 0, shown.band ? (row.high ?? 0) : 0);
}

/**
 * The x axis of elapsed seconds, with labels at round times.
 * @param {Span} window
 * @param {number} width
 * @param {Theme} theme
 */
export function elapsedAxis({ from, to }, width, theme) {
  const step = secondsStep(to - from, Math.max(2, Math.floor(width / 95)));
  const format = elapsedFormat(to, step);
  const ticks = multiples(from, to, step);
  return {
    type: "value",
    min: from,
    max: to,
    interval: step,
    name: `Elapsed (${format.unit})`,
    nameLocation: "middle",
    nameGap: 26,
    nameTextStyle: { color: theme.muted },
    axisLine: { lineStyle: { color: theme.muted } },
    axisTick: { lineStyle: { color: theme.muted }, customValues: ticks },
    axisLabel: {
      color: theme.muted,
      hideOverlap: true,
      formatter: format.text,
      customValues: ticks,
    },
    splitLine: { show: false },
  };
}

/** @param {Run} run @param {ToUnit} inUnit @param {Theme} theme @param {number | null} mean */
function speedSeries(run, inUnit, theme, mean) {
  return {
    type: "line",
    name: "speed",
    data: linePoints(run.lines, (row) => inUnit(row.s)),
    showSymbol: false,
    connectNulls: false,
    lineStyle: { width: 1.75, color: theme.speed },
    itemStyle: { color: theme.speed },
    emphasis: { disabled: true },
    z: 5,
    markLine: mean === null ? undefined : meanLine(mean, theme),
  };
}

/**
 * Points between two gaps that are too few to draw a line.
 * @param {Row[]} rows
 * @param {ToUnit} inUnit
 * @param {Theme} theme
 */
function isolatedSeries(rows, inUnit, theme) {
  return {
    type: "scatter",
    name: "isolated",
    data: rows.map((row) => [row.at, inUnit(row.s)]),
    symbolSize: 4,
    itemStyle: { color: theme.speed },
    silent: true,
    z: 5,
  };
}

/** Without a label, which would cover the line. @param {number} mean @param {Theme} theme */
function meanLine(mean, theme) {
  return {
    silent: true,
    symbol: "none",
    lineStyle: { color: theme.mean, type: [6, 4], width: 1.25 },
    label: { show: false },
    data: [{ yAxis: mean }],
  };
}

/** @param {Run} run @param {Theme} theme */
function progressSeries(run, theme) {
  return {
    type: "line",
    name: "progress",
    yAxisIndex: 1,
    // It only increases, so fewer points look the same.
    data: linePoints(
      run.lines.map((line) => downsampled(line, PROGRESS_POINTS)),
      (row) => row.p,
    ),
    showSymbol: false,
    connectNulls: false,
    lineStyle: { width: 1.25, color: theme.progress, type: [2, 3] },
    itemStyle: { color: theme.progress },
    emphasis: { disabled: true },
    z: 4,
  };
}

/**
 * The incomplete step, as a hollow point: a line to it would look like a drop.
 * @param {Row} row
 * @param {ToUnit} inUnit
 * @param {Theme} theme
 */
function unfinishedSeries(row, inUnit, theme) {
  return {
    type: "scatter",
    name: "incomplete",
    data: [[row.at, inUnit(row.s)]],
    symbol: "circle",
    symbolSize: 8,
    itemStyle: { color: theme.surface, borderColor: theme.speed, borderWidth: 1.5 },
    silent: true,
    z: 6,
  };
}

/** @param {ReturnType<typeof bands>} found @param {ToUnit} inUnit @param {Theme} theme */
function bandSeries(found, inUnit, theme) {
  return {
    type: "custom",
    name: "band",
    data: found.map((band) => [band[0].at, band[band.length - 1].at]),
    encode: { x: [0, 1], y: [] },
    clip: true,
    silent: true,
    tooltip: { show: false },
    z: 3,
    renderItem: (/** @type {RenderParams} */ { dataIndexInside }, /** @type {RenderApi} */ api) => {
      const band = found[dataIndexInside];
      const upper = band.map((row) => api.coord([row.at, inUnit(row.high)]));
      const lower = band.map((row) => api.coord([row.at, inUnit(row.low)])).reverse();
      return {
        type: "polygon",
        shape: { points: [...upper, ...lower] },
        style: { fill: theme.band },
      };
    },
  };
}

/** @typedef {RenderParams["coordSys"]} Plot */

/**
 * The position of a span in the plot, or null if it is not visible.
 * @param {Span} span
 * @param {Plot} plot
 * @param {RenderApi} api
 */
function extent({ from, to }, plot, api) {
  const left = Math.max(api.coord([from, 0])[0], plot.x);
  const right = Math.min(api.coord([to, 0])[0], plot.x + plot.width);
  return right - left < 0.5 ? null : { x: left, width: right - left };
}

/**
 * @template {Span} T
 * @param {string} name
 * @param {T[]} intervals
 * @param {number} z
 * @param {(interval: T, place: {x: number, width: number}, plot: Plot, index: number) => object} draw
 */
function intervalSeries(name, intervals, z, draw) {
  return {
    type: "custom",
    name,
    data: intervals.map(({ from, to }) => [from, to]),
    encode: { x: [0, 1], y: [] },
    silent: true,
    tooltip: { show: false },
    z,
    renderItem: (
      /** @type {RenderParams} */ { dataIndexInside, coordSys },
      /** @type {RenderApi} */ api,
    ) => {
      const place = extent(intervals[dataIndexInside], coordSys, api);
      return place && draw(intervals[dataIndexInside], place, coordSys, dataIndexInside);
    },
  };
}

/** @param {Phase[]} phases @param {Theme} theme */
function phaseSeries(phases, theme) {
  return intervalSeries("phases", phases, 1, ({ phase }, { x, width }, plot, index) => {
    const isOdd = index % 2 === 1;
    const strip = { x, y: plot.y - STRIP, width, height: STRIP - 3 };
    return {
      type: "group",
      children: [
        {
          type: "rect",
          shape: { x, y: plot.y, width, height: plot.height },
          style: { fill: isOdd ? fade(theme.phaseAlternate, 0.35) : "transparent" },
        },
        {
          type: "rect",
          shape: strip,
          style: { fill: isOdd ? theme.phaseAlternate : theme.phase },
        },
        width > 34 && {
          type: "text",
          style: {
            x: x + 5,
            y: strip.y + strip.height / 2,
            verticalAlign: "middle",
            text: plain(phase),
            width: width - 10,
            overflow: "truncate",
            ellipsis: "…",
            fill: theme.text,
            font: `11px ${theme.font}`,
          },
        },
      ].filter(Boolean),
    };
  });
}

/** @param {Gap[]} gaps @param {Theme} theme */
function gapSeries(gaps, theme) {
  return intervalSeries("gaps", gaps, 2, ({ reason }, { x, width }, plot) => {
    const colour = theme[`gap_${reason}`] ?? theme.muted;
    const edge = (/** @type {number} */ at) => ({
      type: "line",
      shape: { x1: at, x2: at, y1: plot.y, y2: plot.y + plot.height },
      style: { stroke: colour, lineWidth: 1, lineDash: [3, 3] },
    });
    return {
      type: "group",
      children: [
        {
          type: "rect",
          shape: { x, y: plot.y, width, height: plot.height },
          style: { fill: fade(colour, 0.14) },
        },
        edge(x),
        edge(x + width),
        {
          type: "text",
          // Horizontal if there is room for it.
          ...(width > 100 ? {} : { rotation: Math.PI / 2 }),
          x: x + width / 2,
          y: width > 100 ? plot.y + 12 : plot.y + plot.height / 2,
          style: {
            text: width > 12 ? (GAP_REASONS[reason] ?? plain(reason)) : "",
            align: "center",
            verticalAlign: "middle",
            fill: colour,
            font: `11px ${theme.font}`,
          },
        },
      ],
    };
  });
}

/** The text of the tooltip at `t`. @param {Run} run @param {number} t */
export function describe(run, t) {
  const gap = intervalAt(run.gaps, t);
  const phase = intervalAt(run.phases, t);
  const row = nearestRow(run.rows, t);
  const isInGap = gap && (!row || Math.abs(row.at - t) > Math.max(run.resolution, 1));
  if (isInGap) {
    return `${elapsed(gap.from)} – ${elapsed(gap.to)}\nno updates: ${GAP_REASONS[gap.reason] ?? plain(gap.reason)}`;
  }
  if (!row) return "";
  const until = run.resolution ? ` – ${elapsed(Math.min(row.t + run.resolution, run.end))}` : "";
  const range =
    run.resolution && row.low !== null && row.high !== null
      ? `\n${speed(row.low)} – ${speed(row.high)}`
      : "";
  return [
    `${elapsed(Math.max(row.t, 0))}${until}`,
    row.s === null
      ? "no speed reported"
      : `${speed(row.s)}${run.resolution ? " mean" : ""}${range}`,
    row.p === null ? null : `${percent(row.p)} done`,
    row.b === null ? null : bytes(row.b),
    phase && `phase ${plain(phase.phase, 40)}`,
    row === run.unfinished ? "incomplete" : null,
  ]
    .filter(Boolean)
    .join("\n");
}
