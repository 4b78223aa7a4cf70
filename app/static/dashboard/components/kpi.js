/** A figure with its name and a note. */

import { childElements, h, replace } from "../lib/dom.js";

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

/** @param {HTMLElement} node @param {Node | string} value @param {Node | string} note */
export function updateKpiCard(node, value, note) {
  const [, valueNode, noteNode] = childElements(node);
  replace(valueNode, value);
  replace(noteNode, note);
}
