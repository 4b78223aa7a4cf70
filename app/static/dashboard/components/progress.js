/** A progress bar with its percentage as text. */

import { childElements, h, setAttribute, setText } from "../lib/dom.js";
import { progressPercent as percentText } from "../lib/format.js";
import { lookOf } from "../lib/looks.js";
import { lookColour } from "./status.js";

/** @import { WithStatus } from "./status.js" */

/**
 * `label` is for screen readers; the bar has the colour of `of`, by default that of a running job.
 * @typedef {{label: string, of?: WithStatus}} BarOptions
 */

/**
 * @param {number | null} percent 0 to 100; null: unknown
 * @param {BarOptions} options
 */
export function progressBar(percent, options) {
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
  updateProgressBar(node, percent, options);
  return node;
}

/**
 * @param {HTMLElement} node
 * @param {number | null} percent
 * @param {BarOptions} options
 */
export function updateProgressBar(node, percent, { label, of = { status: "running" } }) {
  const [track, text] = childElements(node);
  const known = typeof percent === "number" && Number.isFinite(percent);
  const value = known ? Math.min(100, Math.max(0, percent)) : 0;
  node.dataset.look = lookColour(lookOf(of));
  setAttribute(track, "aria-label", label);
  setAttribute(track, "aria-valuenow", known ? Math.floor(value * 10) / 10 : null);
  setAttribute(track, "aria-valuetext", known ? percentText(value) : "unknown");
  track.classList.toggle("is-unknown", !known);
  childElements(track)[0].style.setProperty("transform", `scaleX(${value / 100})`);
  setText(text, known ? percentText(value) : "");
}
