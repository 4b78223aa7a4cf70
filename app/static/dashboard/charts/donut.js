/** Runs by status as a ring; the counts are in an HTML legend. */

import { count, share } from "../lib/format.js";
import { lookCount, lookText, RUN_LOOKS } from "../lib/looks.js";
import { decalOf } from "./theme.js";

/**
 * The option of ECharts; `selected` is highlighted.
 * @param {Partial<ByLook>} byLook
 * @param {{selected: string | null}} options
 * @param {Theme} theme
 */
export function donutOption(byLook, { selected }, theme) {
  const total = RUN_LOOKS.reduce((sum, look) => sum + (byLook[look] ?? 0), 0);
  return {
    title: {
      text: count(total),
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
        `${lookText(name)}: ${count(value)} (${share(value, total)})`,
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
            : RUN_LOOKS.filter((look) => byLook[look]).map((look) => ({
                name: look,
                value: byLook[look],
                itemStyle: {
                  color: theme.look[look],
                  decal: decalOf(look, theme),
                  opacity: selected && selected !== look ? 0.3 : 1,
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

/** A description of the ring. @param {Partial<ByLook>} byLook */
export function donutLabel(byLook) {
  const parts = RUN_LOOKS.filter((look) => byLook[look]).map((look) =>
    lookCount(byLook[look] ?? 0, look),
  );
  return `Runs by status: ${parts.join(", ") || "none"}.`;
}
