/** A status or a severity as colour, shape and word. */

import { h, replace, svg } from "../lib/dom.js";
import { lookOf, lookText, SHAPES } from "../lib/looks.js";

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
 * A value that has reached a limit in the limit's colour, with its shape and word; others as they are.
 * @param {HTMLElement} node
 * @param {string} text
 * @param {"warning" | "critical" | null} look
 */
export function updateLimited(node, text, look) {
  const key = `${look ?? ""} ${text}`;
  if (node.dataset.limited === key) return;
  node.dataset.limited = key;
  node.classList.toggle("is-limited", look !== null);
  if (look) node.dataset.look = lookColour(look);
  else delete node.dataset.look;
  replace(
    node,
    look && statusIcon(look),
    look && h("span", { class: "visually-hidden" }, `${look}: `),
    text,
  );
}

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
