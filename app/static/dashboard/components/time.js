/** Instants: in the user's time zone with UTC on hover, or as an age by the hub's clock. */

import { childElements, h, setAttribute, setText } from "../lib/dom.js";
import { time, toDate, UNKNOWN, utc } from "../lib/format.js";
import { startOf } from "../lib/runs.js";
import { renderTick } from "../lib/ticker.js";

/**
 * @import { DateLike } from "../lib/format.js"
 * @import { Started } from "../lib/runs.js"
 */

/** @param {DateLike} date */
export function timeElement(date) {
  const node = h("time", { class: "time" });
  updateTime(node, date);
  return node;
}

/** "12 s ago", counting. @param {DateLike} date */
export function ageElement(date) {
  const node = h("time", { class: "time", dataset: { tick: "age" } });
  updateTime(node, date);
  return node;
}

/** The time since an instant as a duration, counting. @param {DateLike} date */
export function elapsedElement(date) {
  const node = h("time", { class: "time", dataset: { tick: "elapsed" } });
  updateTime(node, date);
  return node;
}

/** The time of a start; "registered" and the time of that before it. @param {Started} run */
export function startElement(run) {
  const node = h("span", { class: "nowrap" }, h("span"), timeElement(null));
  updateStart(node, run);
  return node;
}

/** @param {HTMLElement} node @param {Started} run */
export function updateStart(node, run) {
  const [word, time] = childElements(node);
  setText(word, startOf(run) ? "" : "registered ");
  updateTime(/** @type {HTMLTimeElement} */ (time), run.started_at);
}

/** Updates an element of one of the above. @param {HTMLTimeElement} node @param {DateLike} date */
export function updateTime(node, date) {
  const at = toDate(date);
  setAttribute(node, "datetime", at ? at.toISOString() : null);
  const local = node.dataset.tick ? `${time(at)} · ` : "";
  setAttribute(node, "title", at && `${local}${utc(at)}`);
  if (!at) setText(node, UNKNOWN);
  else if (node.dataset.tick) renderTick(node);
  else setText(node, time(at));
}
