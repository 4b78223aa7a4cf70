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
