/** What several runs of a machine say together. Pure: items of the job list in, figures out. */

export const END_STATUSES = ["completed", "failed", "cancelled"];
export const LIVE_STATUSES = ["pending", "running", "stalled"];

/** How many of the ended runs completed: `{percent, completed, ended, live}`; percent null for none. */
export function successRate(runs) {
  const ended = runs.filter((run) => END_STATUSES.includes(run.status));
  const completed = ended.filter((run) => run.status === "completed").length;
  return {
    percent: ended.length ? (100 * completed) / ended.length : null,
    completed,
    ended: ended.length,
    live: runs.length - ended.length,
  };
}

/** The completed run that ended last, or null. */
export function lastCompleted(runs) {
  const completed = runs.filter((run) => run.status === "completed");
  return (
    completed.sort((a, b) => Date.parse(b.completed_at) - Date.parse(a.completed_at))[0] ?? null
  );
}

/** All bytes by the whole duration, bytes per second, as the hub reckons it; null while unknown. */
export function effectiveSpeed(run) {
  return run.duration_seconds > 0 && run.bytes_transferred > 0
    ? run.bytes_transferred / run.duration_seconds
    : null;
}

/** The runs that may be compared with `job`: same type, repository and kind of backup; newest first. */
export function predecessors(job, runs, most) {
  return byStart(runs)
    .reverse()
    .filter(
      (run) =>
        run.job_id !== job.job_id &&
        run.job_type === job.job_type &&
        run.repository_id === job.repository_id &&
        run.backup_type === job.backup_type &&
        Date.parse(run.started_at) <= Date.parse(job.started_at) &&
        run.status !== "pending",
    )
    .slice(0, most);
}

/** The runs by their start, oldest first: the hub lists them by when it first heard of them. */
export function byStart(runs) {
  return [...runs].sort((a, b) => Date.parse(a.started_at) - Date.parse(b.started_at));
}

/** The repositories that occur, by name. */
export function repositories(runs) {
  return [...new Set(runs.map((run) => run.repository_id).filter((id) => id !== null))].sort();
}

/** The middle of numbers; null for none. */
export function median(numbers) {
  if (!numbers.length) return null;
  const sorted = [...numbers].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/** `value` against `usual`: "12 % more", "3 % less", "the same"; null where that means nothing. */
export function difference(value, usual) {
  if (value === null || value === undefined || !usual) return null;
  const percent = Math.round((100 * (value - usual)) / usual);
  if (percent === 0) return "about the same";
  return `${Math.abs(percent)} % ${percent > 0 ? "more" : "less"}`;
}
