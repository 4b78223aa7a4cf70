/** Figures of several runs of a machine. Pure. */

import { lookOf } from "../../lib/looks.js";
import { runKey } from "../../lib/runs.js";

/** @type {JobStatus[]} */
export const END_STATUSES = ["completed", "failed", "cancelled"];
/** @type {JobStatus[]} */
export const LIVE_STATUSES = ["pending", "running", "stalled"];

/** How many of the runs are good, completed with a warning, ended, and not ended. @param {Job[]} runs */
export function countEnds(runs) {
  const ended = runs.filter((run) => END_STATUSES.includes(run.status));
  const looks = ended.map(lookOf);
  return {
    good: looks.filter((look) => look === "completed").length,
    warning: looks.filter((look) => look === "warning").length,
    ended: ended.length,
    live: runs.length - ended.length,
  };
}

/** The completed run that ended last, or null. @param {Job[]} runs */
export function lastCompleted(runs) {
  const completed = runs.filter((run) => run.status === "completed");
  const endOf = (/** @type {Job} */ run) => Date.parse(run.completed_at ?? "");
  return completed.sort((a, b) => endOf(b) - endOf(a))[0] ?? null;
}

/** All bytes by the whole duration, bytes per second; null while unknown. @param {Job} run */
export function effectiveSpeed(run) {
  return run.duration_seconds && run.bytes_transferred > 0
    ? run.bytes_transferred / run.duration_seconds
    : null;
}

/**
 * Earlier runs of the same type, repository and backup type, newest first.
 * @param {Job} job
 * @param {Job[]} runs
 * @param {number} most
 */
export function predecessors(job, runs, most) {
  return byStart(runs)
    .reverse()
    .filter(
      (run) =>
        runKey(run) !== runKey(job) &&
        run.job_type === job.job_type &&
        run.repository_id === job.repository_id &&
        run.backup_type === job.backup_type &&
        Date.parse(run.started_at) <= Date.parse(job.started_at) &&
        run.status !== "pending",
    )
    .slice(0, most);
}

/** The runs by their start, oldest first; the hub lists the newest first. @param {Job[]} runs */
export function byStart(runs) {
  return [...runs].sort((a, b) => Date.parse(a.started_at) - Date.parse(b.started_at));
}

/** The repositories of the runs, by name. @param {Job[]} runs */
export function repositories(runs) {
  return [...new Set(runs.map((run) => run.repository_id).filter((id) => id !== null))].sort();
}

/** The median; null without numbers. @param {number[]} numbers */
export function median(numbers) {
  if (!numbers.length) return null;
  const sorted = [...numbers].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/**
 * `value` relative to `usual`: "12 % more than", "3 % less than", "about the same as"; null if one is
 * unknown.
 * @param {number | null | undefined} value
 * @param {number | null} usual
 */
export function difference(value, usual) {
  if (value === null || value === undefined || !usual) return null;
  const percent = Math.round((100 * (value - usual)) / usual);
  if (percent === 0) return "about the same as";
  return `${Math.abs(percent)} % ${percent > 0 ? "more" : "less"} than`;
}
