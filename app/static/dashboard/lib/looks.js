/**
 * How a run looks: as its status says, except that one that completed with a warning is shown apart.
 * Badges, colours, counts and filters go by the look, so no view has to know the results of runs.
 */

import { count } from "./format.js";

/**
 * In display order.
 * @type {RunLook[]}
 */
export const RUN_LOOKS = [
  "completed",
  "warning",
  "running",
  "stalled",
  "pending",
  "failed",
  "cancelled",
];

/**
 * Drawn in a square of 16, in the colour of the text. For runs, disks, nodes and severities.
 * @type {Record<string, string>}
 */
export const SHAPES = {
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
/**
 * The look of a run. Of what has no result, such as a disk, it is the status.
 * @template {string} S
 * @param {{status: S, result?: RunResult | null}} run
 * @returns {S | "warning"}
 */
export const lookOf = ({ status, result }) =>
  status === "completed" && result === "warning" ? "warning" : status;

/** The look in a sentence, and for screen readers. @param {string} look */
export const lookText = (look) => (look === "warning" ? "completed with a warning" : look);

/** "3 failed", "1 with a warning". @param {number} number @param {RunLook} look */
export const lookCount = (number, look) =>
  `${count(number)} ${look === "warning" ? "with a warning" : look}`;

/**
 * Runs by look, from the counts of the API.
 * @param {{by_status: ByStatus, by_result: ByResult}} counts
 * @returns {ByLook}
 */
export const countLooks = ({ by_status: byStatus, by_result: byResult }) => ({
  ...byStatus,
  completed: byResult.good,
  warning: byResult.warning,
});

/**
 * The filter of runs with a look, for GET /jobs and for the address of a view.
 * @param {RunLook | null} look null: all
 * @returns {{status: string | null, result: RunResult | null}}
 */
export function lookFilter(look) {
  if (look === "completed") return { status: look, result: "good" };
  if (look === "warning") return { status: null, result: look };
  return { status: look, result: null };
}

/**
 * The look that an address selects; null if it selects none.
 * @param {URLSearchParams} query
 */
export function readLook(query) {
  const status = query.get("status") ?? "";
  const chosen = query.get("result") === "warning" ? "warning" : status;
  return RUN_LOOKS.find((look) => look === chosen) ?? null;
}
