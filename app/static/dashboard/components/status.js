/** A status or a severity as colour, shape and word. */

import { h, svg } from "../lib/dom.js";
import { lookOf, lookText } from "../lib/looks.js";

// Drawn in a square of 16, in the colour of the text. For runs, disks, nodes and severities.
/** @type {Record<string, string>} */
const SHAPES = {
  running: "M4 2.5v11l9-5.5z",
  transferring: "M4 2.5v11l9-5.5z",
  stalled: "M8 1 15.5 14.5H.5zM7.2 6v4.2h1.6V6zm0 5.4V13h1.6v-1.6z",
  pending: "M8 1.5a6.5 6.5 0 1 0 0 13 6.5 6.5 0 0 0 0-13zm0 2a4.5 4.5 0 1 1 0 9 4.5 4.5 0 0 1 0-9z",
  completed: "M2 8.6 3.6 7 6.6 10 12.6 3.6 14.2 5.2 6.6 13.2z",
  warning: "M8 .3 15.7 8 8 15.7.3 8zM7 3.6v5.2h2V3.6zm0 6.6v2h2v-2z",
  online: "M8 3a5 5 0 1 0 0 10A5 5 0 0 0 8 3z",
  failed:
    "M3.2 1.8 8 6.6l4.8-4.8 1.4 1.4L9.4 8l4.8 4.8-1.4 1.4L8 9.4l-4.8 4.8-1.4-1.4L6.6 8 1.8 3.2z",
  offline:
    "M3.2 1.8 8 6.6l4.8-4.8 1.4 1.4L9.4 8l4.8 4.8-1.4 1.4L8 9.4l-4.8 4.8-1.4-1.4L6.6 8 1.8 3.2z",
  cancelled: "M8 1.5a6.5 6.5 0 1 0 0 13 6.5 6.5 0 0 0 0-13zM4 7h8v2H4z",
  critical: "M5 .8h6L15.2 5v6L11 15.2H5L.8 11V5zM7 3.4v5.4h2V3.4zm0 6.8v2h2v-2z",
  info: "M8 1.2a6.8 6.8 0 1 0 0 13.6A6.8 6.8 0 0 0 8 1.2zM7.1 4v1.8h1.8V4zm0 3v5h1.8V7z",
};
// What has the colours of another one.
/** @type {Record<string, string>} */
const COLOURS = {
  transferring: "running",
  online: "completed",
  offline: "failed",
  critical: "failed",
  info: "running",
};

/** The shape of a look, hidden from screen readers. @param {string} look */
export function statusIcon(look) {
  return svg(
    "svg",
    { class: "status-icon", viewBox: "0 0 16 16", "aria-hidden": "true", focusable: "false" },
    svg("path", { d: SHAPES[look] ?? SHAPES.pending, "fill-rule": "evenodd" }),
  );
}

/**
 * The name of the colour tokens of a look: `--status-<name>` and `--status-<name>-soft`.
 * @param {string} look
 */
export const lookColour = (look) => COLOURS[look] ?? (look in SHAPES ? look : "pending");

/**
 * What has a status: a run, a disk; a node as `{ status: node.state }`.
 * @typedef {{status: string, result?: RunResult | null}} WithStatus
 */

/** @param {WithStatus} it */
export function statusBadge(it) {
  const node = h("span", { class: "badge" });
  updateStatusBadge(node, it);
  return node;
}

/** @param {HTMLElement} node @param {WithStatus} it */
export function updateStatusBadge(node, it) {
  const look = lookOf(it);
  if (node.dataset.status === look) return;
  node.dataset.status = look;
  node.dataset.look = lookColour(look);
  const spoken = lookText(look);
  node.replaceChildren(
    statusIcon(look),
    h("span", { "aria-hidden": spoken !== look || null }, look),
    ...(spoken === look ? [] : [h("span", { class: "visually-hidden" }, spoken)]),
  );
}
