/** The runs of a job: each use of its id is one. */

const LAST_RUN = 2 ** 31 - 1;

/** @typedef {Pick<Job, "job_id" | "run" | "runs">} JobRun */

/** @typedef {Pick<Job, "status" | "started_at">} Started */

/** Unique among all runs. @param {Pick<Job, "job_id" | "run">} job */
export const runKey = ({ job_id: id, run }) => `${id}/${run}`;

/** "run 2"; nothing for the only run of a job. @param {JobRun} job */
export const runText = ({ run, runs }) => (runs > 1 ? `run ${run}` : "");

/** "nightly · run 2", or "nightly" for an only run. @param {JobRun} job */
export const runName = (job) => [job.job_id, runText(job)].filter(Boolean).join(" · ");

/**
 * When it started; null for a run that has been registered and has not started. The API has an instant
 * for those as well, to sort by.
 * @param {Started} run
 */
export const startOf = ({ status, started_at: at }) => (status === "pending" ? null : at);

/**
 * The run that an address names; null, for the newest one, if it names none or is invalid.
 * @param {URLSearchParams} query
 */
export function readRun(query) {
  const run = /^\d+$/.test(query.get("run") ?? "") ? Number(query.get("run")) : NaN;
  return run >= 1 && run <= LAST_RUN ? run : null;
}
