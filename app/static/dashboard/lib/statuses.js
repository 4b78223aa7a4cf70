/** The statuses of a job, in the order in which they are shown. */

export const JOB_STATUSES = ["running", "stalled", "pending", "completed", "failed", "cancelled"];
export const LIVE_STATUSES = ["running", "stalled"];
