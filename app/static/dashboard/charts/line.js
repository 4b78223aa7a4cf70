/** A chart of one or more series over the time of day, in the reader's zone. */

import { errorState } from "../components/states.js";
import { bytes, speed, time } from "../lib/format.js";
import { createChart, valueAxis } from "./chart.js";
import { DASHES } from "./compare.js";
import { byteUnit, niceScale } from "./scale.js";
import { plain } from "./text.js";

const UNITS = {
  "%": { text: (value) => `${round(value)} %` },
  bytes: { isBytes: true, text: bytes, name: (unit) => unit },
  "bytes/s": { isBytes: true, text: speed, name: (unit) => `${unit}/s` },
};

/**
 * Draws `series` `[{name, points: [[t, value|null], …], unit}]` into `el`. `t`, `from` and `to` are
 * seconds since 1970 (as the hub's series), Dates or RFC 3339. `unit` is "%", "bytes", "bytes/s" or any
 * other word for plain numbers; the first series' unit holds for all. Returns `{update, dispose}`, where
 * `update` takes the same and may leave out what stays. The library is loaded at the first call.
 */
export function lineChart(el, options) {
  let current = options;
  let chart = null;
  let isDisposed = false;
  const draw = () => chart?.draw((theme, size) => lineOption(current, theme, size), current.label);
  const ready = createChart(el, { label: options.label, className: "chart-canvas-line" })
    .then((made) => {
      if (isDisposed) return made.dispose();
      chart = made;
      return draw();
    })
    .catch((error) => isDisposed || el.replaceChildren(errorState(error)));
  return {
    ready,
    update(changes) {
      current = { ...current, ...changes };
      draw();
    },
    dispose() {
      isDisposed = true;
      chart?.dispose();
      chart = null;
    },
  };
}

/** The option of ECharts; pure but for the reader's zone. */
export function lineOption({ series, from, to, max }, theme, { width }) {
  const unitWord = series[0]?.unit ?? "";
  const unit = UNITS[unitWord] ?? { text: (value) => `${round(value)} ${unitWord}`.trim() };
  const largest = Math.max(
    0,
    ...series.flatMap(({ points }) => points.map(([, value]) => value ?? 0)),
  );
  const bytesUnit = unit.isBytes ? byteUnit(largest) : { factor: 1, name: unitWord };
  const scale =
    unitWord === "%" && (max ?? 100) === 100 && largest <= 100
      ? { max: 100, interval: 25 }
      : niceScale((max ?? largest) / bytesUnit.factor, 4);
  return {
    grid: { left: 48, right: 16, top: 28, bottom: 28 },
    xAxis: {
      type: "time",
      min: from === undefined ? undefined : millis(from),
      max: to === undefined ? undefined : millis(to),
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
      formatter: (items) =>
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
        millis(t),
        value === null ? null : value / bytesUnit.factor,
      ]),
      showSymbol: false,
      connectNulls: false,
      emphasis: { disabled: true },
      lineStyle: {
        width: 1.75,
        color: theme.series[index % theme.series.length],
        type: DASHES[index % DASHES.length],
      },
      itemStyle: { color: theme.series[index % theme.series.length] },
    })),
  };
}

function describeValue({ name }, [, value], unit, { factor }) {
  const text = value === null || value === undefined ? "–" : unit.text(value * factor);
  return `${plain(name, 30)}: ${text}`;
}

/** Milliseconds since 1970 of seconds since 1970, a Date or RFC 3339. */
export function millis(instant) {
  if (typeof instant === "number") return instant * 1000;
  return new Date(instant).getTime();
}

const round = (value) => Math.round(value * 100) / 100;
