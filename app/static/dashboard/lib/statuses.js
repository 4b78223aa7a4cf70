/** The statuses of a job, in display order. */

/** @type {JobStatus[]} */
export const JOB_STATUSES = ["running", "stalled", "pending", "completed", "failed", "cancelled"];
/**
 * The lists of the overview, what is stuck before what moves.
 * @type {{title: string, statuses: JobStatus[]}[]}
 */
export const JOB_LISTS = [
  { title: "Stalled", statuses: ["stalled"] },
  { title: "Running", statuses: ["running"] },
  { title: "Pending", statuses: ["pending"] },
  { title: "Ended", statuses: ["completed", "failed", "cancelled"] },
];
/** @type {JobStatus[]} */
export const LIVE_STATUSES = ["running", "stalled"];
