/** A figure with its name and a note. */

import { childElements, h, replace } from "../lib/dom.js";
import { updateLimited } from "./status.js";

/**
 * Several belong in an element of class "kpis".
 * @param {string} label
 * @param {Node | string} value
 * @param {Node | string} [note]
 */
export function kpiCard(label, value, note) {
  return h(
    "div",
    { class: "kpi" },
    h("div", { class: "kpi-label" }, label),
    h("div", { class: "kpi-value num" }, value),
    h("div", { class: "kpi-note" }, note),
  );
}

/**
 * @param {HTMLElement} node
 * @param {string} value
 * @param {Node | string} note
 * @param {"warning" | "critical" | null} [limit] that the value has reached
 */
export function updateKpiCard(node, value, note, limit = null) {
  const [, valueNode, noteNode] = childElements(node);
  updateLimited(valueNode, value, limit);
  replace(noteNode, note);
}
