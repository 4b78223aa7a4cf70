/** A chart of one or more series over the time of day, in the user's time zone. */

import { errorState } from "../components/states.js";
import { bytes, speed, time } from "../lib/format.js";
import { createChart, valueAxis } from "./chart.js";
import { DASHES } from "./compare.js";
import { byteUnit, niceScale } from "./scale.js";
import { plain } from "./text.js";

/**
 * @typedef {object} Unit
 * @property {boolean} [isBytes]
 * @property {(value: number) => string} text
 * @property {(unit: string) => string} [name]
 */
/** @type {Record<string, Unit>} */
const UNITS = {
  "%": { text: (value) => `${round(value)} %` },
  bytes: { isBytes: true, text: bytes, name: (unit) => unit },
  "bytes/s": { isBytes: true, text: speed, name: (unit) => `${unit}/s` },
};

/**
 * @typedef {object} LineOptions `from` and `to` in seconds since 1970
 * @property {LineSeries[]} series
 * @property {number} from
 * @property {number} to
 * @property {string} label
 * @property {{look: "warning" | "critical", from: number}[]} [limits] drawn as lines
 */

/**
 * Draws the series into `container`. `unit` is "%", "bytes", "bytes/s" or any word for plain numbers;
 * the unit of the first series applies to all. The library is loaded at the first call.
 * @param {HTMLElement} container
 * @param {LineOptions} options
 */
export function lineChart(container, options) {
  let current = options;
  /** @type {import("./chart.js").Chart | null} */
  let chart = null;
  let isDisposed = false;
  const draw = () => chart?.draw((theme, size) => lineOption(current, theme, size), current.label);
  createChart(container, { label: options.label, className: "chart-canvas-line" })
    .then((created) => {
      if (isDisposed) return created.dispose();
      chart = created;
      return draw();
    })
    .catch((error) => isDisposed || container.replaceChildren(errorState(error)));
  return {
    /** @param {LineOptions} changes */
    update(changes) {
      current = changes;
      draw();
    },
    dispose() {
      isDisposed = true;
      chart?.dispose();
      chart = null;
    },
  };
}

/**
 * The option of ECharts.
 * @param {LineOptions} options
 * @param {Theme} theme
 * @param {Size} size
 */
export function lineOption({ series, from, to, limits = [] }, theme, { width }) {
  const unitWord = series[0]?.unit ?? "";
  /** @type {Unit} */
  const unit = UNITS[unitWord] ?? { text: (value) => `${round(value)} ${unitWord}`.trim() };
  const largest = Math.max(
    0,
    ...series.flatMap(({ points }) => points.map(([, value]) => value ?? 0)),
  );
  const bytesUnit = unit.isBytes ? byteUnit(largest) : { factor: 1, name: unitWord };
  const scale =
    unitWord === "%" && largest <= 100
      ? { max: 100, interval: 25 }
      : niceScale(largest / bytesUnit.factor, 4);
  return {
    grid: { left: 48, right: 16, top: 28, bottom: 28 },
    xAxis: {
      type: "time",
      min: from * 1000,
      max: to * 1000,
      splitNumber: Math.max(2, Math.floor(width / 110)),
      axisLabel: { color: theme.muted, hideOverlap: true },
      axisLine: { lineStyle: { color: theme.muted } },
      axisTick: { lineStyle: { color: theme.muted } },
      splitLine: { show: false },
    },
    yAxis: valueAxis(theme, {
      ...scale,
      name: unit.name ? unit.name(bytesUnit.name) : bytesUnit.name,
    }),
    tooltip: {
      trigger: "axis",
      axisPointer: { type: "line", lineStyle: { color: theme.muted }, label: { show: false } },
      formatter: (/** @type {ChartItem<TimePoint>[]} */ items) =>
        [
          time(new Date(items[0].axisValue)),
          ...items.map(({ seriesIndex, value }) =>
            describeValue(series[seriesIndex], value, unit, bytesUnit),
          ),
        ].join("\n"),
    },
    series: series.map(({ name, points }, index) => ({
      type: "line",
      name: plain(name),
      data: points.map(([t, value]) => [
        t * 1000,
        value === null ? null : value / bytesUnit.factor,
      ]),
      // A line needs two points: a single one between gaps is a dot.
      symbol: "circle",
      symbolSize: (/** @type {unknown} */ _, /** @type {ChartItem} */ { dataIndex }) =>
        isLone(points, dataIndex) ? 4 : 0,
      connectNulls: false,
      emphasis: { disabled: true },
      lineStyle: {
        width: 1.75,
        color: theme.series[index % theme.series.length],
        type: DASHES[index % DASHES.length],
      },
      itemStyle: { color: theme.series[index % theme.series.length] },
      markLine: index ? undefined : limitLines(limits, theme),
    })),
  };
}

/** @param {TimePoint[]} points @param {number} index */
const isLone = (points, index) =>
  (points[index - 1]?.[1] ?? null) === null && (points[index + 1]?.[1] ?? null) === null;

/** @param {NonNullable<LineOptions["limits"]>} limits @param {Theme} theme */
function limitLines(limits, theme) {
  return {
    silent: true,
    symbol: "none",
    label: { show: false },
    data: limits.map(({ look, from }) => ({
      yAxis: from,
      lineStyle: {
        type: look === "critical" ? "solid" : "dashed",
        width: 1,
        color: theme.look[look === "critical" ? "failed" : "warning"],
      },
    })),
  };
}

/**
 * @param {LineSeries} series
 * @param {TimePoint} point
 * @param {Unit} unit
 * @param {{factor: number}} bytesUnit
 */
function describeValue({ name }, [, value], unit, { factor }) {
  const text = value === null || value === undefined ? "–" : unit.text(value * factor);
  return `${plain(name, 30)}: ${text}`;
}

/** @param {number} value */
const round = (value) => Math.round(value * 100) / 100;
