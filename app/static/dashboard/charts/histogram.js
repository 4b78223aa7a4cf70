/** The distribution of speeds of a run. */

import { counted, percent, speed } from "../lib/format.js";
import { valueAxis } from "./chart.js";
import { niceScale } from "./scale.js";

/**
 * The option of ECharts for the bins of `speedBins`, of which there must be one.
 * @param {Bin[]} bins
 * @param {{factor: number, name: string}} unit
 * @param {Theme} theme
 */
export function histogramOption(bins, unit, theme) {
  const scale = niceScale(Math.max(...bins.map((bin) => bin.share)) * 100, 3);
  const last = bins[bins.length - 1].to;
  return {
    grid: { left: 44, right: 16, top: 28, bottom: 42 },
    xAxis: {
      ...valueAxis(theme, { max: last / unit.factor }),
      interval: niceScale(last / unit.factor, 5).interval,
      name: `Speed (${unit.name}/s)`,
      nameLocation: "middle",
      nameGap: 26,
      nameTextStyle: { color: theme.muted },
      splitLine: { show: false },
    },
    yAxis: valueAxis(theme, { ...scale, name: "% of points" }),
    tooltip: {
      trigger: "item",
      formatter: (/** @type {ChartItem} */ { dataIndex }) => describeBin(bins[dataIndex]),
    },
    series: [
      {
        type: "custom",
        data: bins.map((bin) => [bin.from / unit.factor, bin.to / unit.factor, bin.share * 100]),
        encode: { x: [0, 1], y: 2 },
        renderItem: (/** @type {unknown} */ _, /** @type {RenderApi} */ api) => {
          const [left, top] = api.coord([api.value(0), api.value(2)]);
          const [right, bottom] = api.coord([api.value(1), 0]);
          return {
            type: "rect",
            shape: {
              x: left + 0.5,
              y: top,
              width: Math.max(right - left - 1, 1),
              height: bottom - top,
            },
            style: { fill: theme.speed },
          };
        },
      },
    ],
  };
}

/** @param {Bin} bin */
function describeBin(bin) {
  return `${speed(bin.from)} – ${speed(bin.to)}\n${percent(bin.share * 100)} (${counted(bin.count, "point")})`;
}
