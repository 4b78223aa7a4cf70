/** Runs by status as a ring; the counts are in an HTML legend. */

import { percent } from "../lib/format.js";
import { STATUSES } from "./theme.js";

/**
 * The option of ECharts; `selected` is highlighted.
 * @param {Partial<ByStatus>} byStatus
 * @param {{selected: string | null}} options
 * @param {Theme} theme
 */
export function donutOption(byStatus, { selected }, theme) {
  const total = STATUSES.reduce((sum, status) => sum + (byStatus[status] ?? 0), 0);
  return {
    title: {
      text: String(total),
      subtext: total === 1 ? "run" : "runs",
      left: "center",
      top: "middle",
      itemGap: 2,
      textStyle: { color: theme.text, fontSize: 24, fontWeight: 600 },
      subtextStyle: { color: theme.muted, fontSize: 12 },
    },
    tooltip: {
      trigger: "item",
      formatter: (/** @type {ChartItem<number>} */ { name, value }) =>
        `${name}: ${value} (${percent((100 * value) / total)})`,
    },
    series: [
      {
        type: "pie",
        radius: ["66%", "94%"],
        label: { show: false },
        labelLine: { show: false },
        emphasis: { scale: false },
        data:
          total === 0
            ? [empty(theme)]
            : STATUSES.filter((status) => byStatus[status]).map((status) => ({
                name: status,
                value: byStatus[status],
                itemStyle: {
                  color: theme.status[status],
                  opacity: selected && selected !== status ? 0.3 : 1,
                  borderColor: theme.surface,
                  borderWidth: 2,
                },
              })),
      },
    ],
  };
}

/** @param {Theme} theme */
function empty(theme) {
  return { name: "no runs", value: 0, itemStyle: { color: theme.grid }, tooltip: { show: false } };
}

/** A description of the ring. @param {Partial<ByStatus>} byStatus */
export function donutLabel(byStatus) {
  const parts = STATUSES.filter((status) => byStatus[status]).map((s) => `${byStatus[s]} ${s}`);
  return `Runs by status: ${parts.join(", ") || "none"}.`;
}
