/** The chart of a run: speed with its band, mean, progress, phases and gaps over elapsed time. */

import { bytes, percent, speed } from "../lib/format.js";
import { valueAxis } from "./chart.js";
import { bands, linePoints, lonePoints, nearestRow, stretchAt, thinned } from "./run.js";
import { byteUnit, elapsed, elapsedFormat, multiples, niceScale, secondsStep } from "./scale.js";
import { plain } from "./text.js";
import { fade } from "./theme.js";

export const GAP_REASONS = {
  silence: "silence",
  hub_away: "hub was away",
  sender_lost: "sender lost updates",
};
export const LAYERS = ["band", "mean", "progress", "phases"];

const LEFT = 52;
const RIGHT = 44;
const STRIP = 18; // the phases, above the plot
const TOP = 40;
const BOTTOM = 42;
const PROGRESS_POINTS = 500; // of each line

/**
 * The option of ECharts. `run` is what `makeRun` gives, `window` `{from, to}` in elapsed seconds,
 * `mean` bytes per second or null, `shown` which of LAYERS are drawn.
 */
export function speedOption({ run, window, mean, shown }, theme, { width }) {
  const highest = Math.max(mean ?? 0, ...run.rows.map((row) => highOf(row, shown)));
  const unit = byteUnit(highest);
  const scale = niceScale(highest / unit.factor);
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
        axisLabel: { color: theme.progress, formatter: (value) => `${value} %` },
      }),
    ],
    tooltip: {
      trigger: "axis",
      axisPointer: {
        type: "line",
        lineStyle: { color: theme.muted, width: 1 },
        label: { show: false },
      },
      formatter: ([first]) => describe(run, first.axisValue),
    },
    series: [
      shown.phases && phaseSeries(run.phases, theme),
      gapSeries(run.gaps, theme),
      shown.band && run.resolution > 0 && bandSeries(bands(run.lines), inUnit, theme),
      speedSeries(run, inUnit, theme, shown.mean ? inUnit(mean) : null),
      loneSeries(lonePoints(run.lines), inUnit, theme),
      shown.progress && progressSeries(run, theme),
      run.unfinished && unfinishedSeries(run.unfinished, inUnit, theme),
    ].filter(Boolean),
  };
}

function highOf(row, shown) {
  return Math.max(row.s ?? 0, shown.band ? (row.high ?? 0) : 0);
}

/** The x axis of elapsed seconds; its labels are at round times, whatever the window. */
export function elapsedAxis({ from, to }, width, theme, name = "Elapsed") {
  const step = secondsStep(to - from, Math.max(2, Math.floor(width / 95)));
  const format = elapsedFormat(to, step);
  const ticks = multiples(from, to, step);
  return {
    type: "value",
    min: from,
    max: to,
    interval: step,
    name: `${name} (${format.unit})`,
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

/** Points between two gaps: of one point there is no line to see. */
function loneSeries(lone, inUnit, theme) {
  return {
    type: "scatter",
    name: "lone",
    data: lone.map((row) => [row.at, inUnit(row.s)]),
    symbolSize: 4,
    itemStyle: { color: theme.speed },
    silent: true,
    z: 5,
  };
}

/** Its figure stands in the legend: a label here would cover the line. */
function meanLine(mean, theme) {
  return {
    silent: true,
    symbol: "none",
    lineStyle: { color: theme.mean, type: [6, 4], width: 1.25 },
    label: { show: false },
    data: [{ yAxis: mean }],
  };
}

function progressSeries(run, theme) {
  return {
    type: "line",
    name: "progress",
    yAxisIndex: 1,
    // It only grows: fewer points look the same.
    data: linePoints(
      run.lines.map((line) => thinned(line, PROGRESS_POINTS)),
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

/** The step that still fills, as a hollow point: a line to it would look like a drop. */
function unfinishedSeries(row, inUnit, theme) {
  return {
    type: "scatter",
    name: "still filling",
    data: [[row.at, inUnit(row.s)]],
    symbol: "circle",
    symbolSize: 8,
    itemStyle: { color: theme.surface, borderColor: theme.speed, borderWidth: 1.5 },
    silent: true,
    z: 6,
  };
}

function bandSeries(found, inUnit, theme) {
  return {
    type: "custom",
    name: "band",
    data: found.map((band) => [band[0].at, band.at(-1).at]),
    encode: { x: [0, 1], y: [] },
    clip: true,
    silent: true,
    tooltip: { show: false },
    z: 3,
    renderItem: ({ dataIndexInside }, api) => {
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

/** Where `stretch` lies in the plot, cut to it; null where it is not seen. */
function extent({ from, to }, plot, api) {
  const left = Math.max(api.coord([from, 0])[0], plot.x);
  const right = Math.min(api.coord([to, 0])[0], plot.x + plot.width);
  return right - left < 0.5 ? null : { x: left, width: right - left };
}

function stretchSeries(name, stretches, z, draw) {
  return {
    type: "custom",
    name,
    data: stretches.map(({ from, to }) => [from, to]),
    encode: { x: [0, 1], y: [] },
    silent: true,
    tooltip: { show: false },
    z,
    renderItem: ({ dataIndexInside, coordSys }, api) => {
      const place = extent(stretches[dataIndexInside], coordSys, api);
      return place && draw(stretches[dataIndexInside], place, coordSys, dataIndexInside);
    },
  };
}

function phaseSeries(phases, theme) {
  return stretchSeries("phases", phases, 1, ({ phase }, { x, width }, plot, index) => {
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

function gapSeries(gaps, theme) {
  return stretchSeries("gaps", gaps, 2, ({ reason }, { x, width }, plot) => {
    const colour = theme[`gap_${reason}`] ?? theme.muted;
    const edge = (at) => ({
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
          // Upright where there is room for it, else along the gap.
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

/** What the tooltip says at `t`; text only. */
export function describe(run, t) {
  const gap = stretchAt(run.gaps, t);
  const phase = stretchAt(run.phases, t);
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
    row === run.unfinished ? "still filling" : null,
  ]
    .filter(Boolean)
    .join("\n");
}
