/** A status as colour, shape and word. */

import { h, setText, svg } from "../lib/dom.js";

// Drawn in a square of 16, in the colour of the text. For nodes, disks and jobs.
/** @type {Record<string, string>} */
const SHAPES = {
  running: "M4 2.5v11l9-5.5z",
  transferring: "M4 2.5v11l9-5.5z",
  stalled: "M8 1 15.5 14.5H.5zM7.2 6v4.2h1.6V6zm0 5.4V13h1.6v-1.6z",
  pending: "M8 1.5a6.5 6.5 0 1 0 0 13 6.5 6.5 0 0 0 0-13zm0 2a4.5 4.5 0 1 1 0 9 4.5 4.5 0 0 1 0-9z",
  completed: "M2 8.6 3.6 7 6.6 10 12.6 3.6 14.2 5.2 6.6 13.2z",
  online: "M8 3a5 5 0 1 0 0 10A5 5 0 0 0 8 3z",
  failed:
    "M3.2 1.8 8 6.6l4.8-4.8 1.4 1.4L9.4 8l4.8 4.8-1.4 1.4L8 9.4l-4.8 4.8-1.4-1.4L6.6 8 1.8 3.2z",
  offline:
    "M3.2 1.8 8 6.6l4.8-4.8 1.4 1.4L9.4 8l4.8 4.8-1.4 1.4L8 9.4l-4.8 4.8-1.4-1.4L6.6 8 1.8 3.2z",
  cancelled: "M8 1.5a6.5 6.5 0 1 0 0 13 6.5 6.5 0 0 0 0-13zM4 7h8v2H4z",
};
// Statuses that look like another one.
/** @type {Record<string, string>} */
const LOOKS = { transferring: "running", online: "completed", offline: "failed" };

/** The shape of a status, hidden from screen readers. @param {string} status */
export function statusIcon(status) {
  return svg(
    "svg",
    { class: "status-icon", viewBox: "0 0 16 16", "aria-hidden": "true", focusable: "false" },
    svg("path", { d: SHAPES[status] ?? SHAPES.pending, "fill-rule": "evenodd" }),
  );
}

/**
 * The name of the colour tokens of a status: `--status-<look>` and `--status-<look>-soft`.
 * @param {string} status
 */
export const statusLook = (status) => LOOKS[status] ?? (status in SHAPES ? status : "pending");

/** @param {string} status of a job, disk or node */
export function statusBadge(status) {
  const node = h("span", { class: "badge" });
  updateStatusBadge(node, status);
  return node;
}

/** @param {HTMLElement} node @param {string} status */
export function updateStatusBadge(node, status) {
  if (node.dataset.status === status) return;
  node.dataset.status = status;
  node.dataset.look = statusLook(status);
  node.replaceChildren(statusIcon(status), setText(document.createElement("span"), String(status)));
}
