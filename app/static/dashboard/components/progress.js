/** How far something is: a bar with its percent in words beside it. */

import { h, setAttribute, setText } from "../lib/dom.js";
import { percent as percentText } from "../lib/format.js";
import { statusLook } from "./status.js";

/**
 * @param {?number} percent 0 to 100; null: not known, drawn as such
 * @param {{label: string, status?: string}} options `label` says what progresses, for screen readers
 * @returns {HTMLElement}
 */
export function progressBar(percent, { label, status = "running" }) {
  const node = h(
    "span",
    { class: "progress" },
    h(
      "span",
      { class: "progress-track", role: "progressbar", "aria-valuemin": 0, "aria-valuemax": 100 },
      h("span", { class: "progress-fill" }),
    ),
    h("span", { class: "progress-text num" }),
  );
  updateProgressBar(node, percent, { label, status });
  return node;
}

export function updateProgressBar(node, percent, { label, status = "running" }) {
  const [track, text] = node.children;
  const known = typeof percent === "number" && Number.isFinite(percent);
  const value = known ? Math.min(100, Math.max(0, percent)) : 0;
  node.dataset.look = statusLook(status);
  setAttribute(track, "aria-label", label);
  setAttribute(track, "aria-valuenow", known ? Math.floor(value * 10) / 10 : null);
  setAttribute(track, "aria-valuetext", known ? percentText(value) : "not known");
  track.classList.toggle("is-unknown", !known);
  track.firstChild.style.setProperty("transform", `scaleX(${value / 100})`);
  setText(text, known ? percentText(value) : "");
}
