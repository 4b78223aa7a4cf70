/** A chart with title, controls, a note, and its data as a table. */

import { createChart } from "../../charts/chart.js";
import { emptyState, errorState } from "../../components/states.js";
import { tableDisclosure } from "../../components/table.js";
import { h, replace } from "../../lib/dom.js";

/**
 * @typedef {object} FigureOptions
 * @property {string} title
 * @property {string} kind the CSS class that sets the height
 * @property {Child} [controls]
 * @property {(item: ChartItem) => void} [onClick]
 * @property {"h2" | "h3"} [level] of the heading
 *
 * @typedef {ReturnType<typeof chartFigure>} ChartFigure
 */

/** Call `dispose` when the view is left. @param {FigureOptions} options */
export function chartFigure({ title, kind, controls, onClick, level = "h2" }) {
  /** @type {import("../../charts/chart.js").Chart | null} */
  let chart = null;
  /** @type {Promise<void> | null} */
  let loading = null;
  let isDisposed = false;
  /** @type {() => Node | string} */
  let makeTable = () => "";
  /** @type {{build: ChartBuilder, label: string} | null} */
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

  /**
   * Draws the chart, after loading the library if necessary.
   * @param {ChartBuilder} build makes the option of ECharts
   * @param {string} label describes the chart
   * @param {() => Node} nextTable makes the table
   */
  async function show(build, label, nextTable) {
    latest = { build, label };
    makeTable = nextTable;
    table.node.hidden = false;
    table.update();
    if (!chart) {
      loading ??= create(label);
      await loading;
    }
    drawLatest();
  }

  function drawLatest() {
    if (latest) chart?.draw(latest.build, latest.label);
  }

  /** @param {string} label */
  async function create(label) {
    try {
      replace(canvasSlot);
      const created = await createChart(canvasSlot, { label, onClick });
      if (isDisposed) created.dispose();
      else chart = created;
    } catch (error) {
      replace(
        canvasSlot,
        errorState(error, () => create(label).then(drawLatest)),
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
    /** Shows a text instead of the chart. @param {string} emptyTitle @param {string} detail */
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
