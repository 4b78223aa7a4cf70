/** The statuses of a job, in display order. */

/** @type {JobStatus[]} */
export const JOB_STATUSES = ["running", "stalled", "pending", "completed", "failed", "cancelled"];
/** @type {JobStatus[]} */
export const LIVE_STATUSES = ["running", "stalled"];
