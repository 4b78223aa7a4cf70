/** A chart with its title, its controls, a line below it, and its data as a table. */

import { createChart } from "../../charts/chart.js";
import { emptyState, errorState } from "../../components/states.js";
import { tableDisclosure } from "../../components/table.js";
import { h, replace } from "../../lib/dom.js";

/**
 * `kind` is the CSS class that gives the height. `show(build, label, makeTable)` draws, loading the
 * library first; `empty(title, detail)` says why there is nothing to draw. Call `dispose` at the end.
 */
export function chartFigure({ title, kind, controls, onClick, level = "h2" }) {
  let chart = null;
  let loading = null;
  let isDisposed = false;
  let makeTable = () => "";
  let latest = null;
  const canvasSlot = h("div", { class: ["chart-slot", kind] });
  const note = h("figcaption", { class: "chart-note" });
  const table = tableDisclosure(() => makeTable());
  const node = h(
    "figure",
    { class: "chart-figure" },
    h("div", { class: "chart-head" }, h(level, null, title), controls),
    canvasSlot,
    note,
    table.node,
  );

  async function show(build, label, nextTable) {
    latest = { build, label };
    makeTable = nextTable;
    table.node.hidden = false;
    table.update();
    if (!chart) {
      loading ??= make();
      await loading;
    }
    if (latest) chart?.draw(latest.build, latest.label);
  }

  async function make() {
    try {
      replace(canvasSlot);
      const created = await createChart(canvasSlot, { label: latest.label, onClick });
      if (isDisposed) created.dispose();
      else chart = created;
    } catch (error) {
      replace(
        canvasSlot,
        errorState(error, () => show(latest.build, latest.label, makeTable)),
      );
    } finally {
      loading = null;
    }
  }

  function clear() {
    chart?.dispose();
    chart = null;
    latest = null;
    table.node.hidden = true;
  }

  return {
    node,
    note,
    canvasSlot,
    show,
    chart: () => chart,
    empty(emptyTitle, detail) {
      clear();
      replace(canvasSlot, emptyState(emptyTitle, detail));
    },
    dispose() {
      isDisposed = true;
      clear();
    },
  };
}
