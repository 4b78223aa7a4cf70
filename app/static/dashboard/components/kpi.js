/** A figure with its name, and a word about it. */

import { h, replace } from "../lib/dom.js";

/**
 * @param {string} label
 * @param {Node|string} value
 * @param {Node|string} [note]
 * @returns {HTMLElement} put several into an element of class "kpis"
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

export function updateKpiCard(node, value, note) {
  const [, valueNode, noteNode] = node.children;
  replace(valueNode, value);
  replace(noteNode, note);
}
