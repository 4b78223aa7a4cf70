/** Instants: in the reader's zone with UTC on hover, or as an age that counts by the hub's clock. */

import { h, setAttribute, setText } from "../lib/dom.js";
import { shortTime, time, toDate, UNKNOWN, utc } from "../lib/format.js";
import { renderTick } from "../lib/ticker.js";

/**
 * @param {?(string|Date)} date
 * @param {{short?: boolean}} [options] `short` leaves out the date where it is today's
 * @returns {HTMLElement}
 */
export function timeElement(date, { short = false } = {}) {
  const node = h("time", { class: "time", dataset: { short: short ? "" : null } });
  updateTime(node, date);
  return node;
}

/** "12 s ago", counting. @returns {HTMLElement} */
export function ageElement(date) {
  const node = h("time", { class: "time", dataset: { tick: "age" } });
  updateTime(node, date);
  return node;
}

/** The time since an instant as a duration, counting. @returns {HTMLElement} */
export function elapsedElement(date) {
  const node = h("time", { class: "time", dataset: { tick: "elapsed" } });
  updateTime(node, date);
  return node;
}

/** Bring an element of one of the above up to date. */
export function updateTime(node, date) {
  const at = toDate(date);
  setAttribute(node, "datetime", at ? at.toISOString() : null);
  setAttribute(
    node,
    "title",
    at ? (node.dataset.tick ? `${time(at)} · ${utc(at)}` : utc(at)) : null,
  );
  if (!at) setText(node, UNKNOWN);
  else if (node.dataset.tick) renderTick(node);
  else setText(node, "short" in node.dataset ? shortTime(at) : time(at));
}
