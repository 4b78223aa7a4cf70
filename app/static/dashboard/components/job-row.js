/** A job as one row of a table of jobs, or as a card on narrow screens. */

import { childElements, h, replace, setAttribute, setText } from "../lib/dom.js";
import { bytes, duration, speed, visible } from "../lib/format.js";
import { runName } from "../lib/runs.js";
import { LIVE_STATUSES } from "../lib/statuses.js";
import { jobUrl, machineUrl } from "../lib/urls.js";
import { jobName, updateJobName } from "./job-name.js";
import { progressBar, updateProgressBar } from "./progress.js";
import { statusBadge, updateStatusBadge } from "./status.js";
import { ageElement, updateTime } from "./time.js";

const COLUMNS = ["Status", "Job", "Progress", "Speed", "Time", "Last update"];
/** @type {WeakMap<HTMLElement, ReturnType<typeof makeParts>>} */
const parts = new WeakMap();

/** The header row. */
export function jobRowHead() {
  return h(
    "div",
    { class: "job-head", role: "row" },
    COLUMNS.map((name) => h("span", { role: "columnheader" }, name)),
  );
}

/** @param {Job} job */
const makeParts = (job) => ({
  badge: statusBadge(job),
  link: h("a", { class: "job-link" }, jobName()),
  about: h("span", { class: "job-about muted small" }),
  trouble: h("span", { class: "job-trouble small" }),
  bar: progressBar(null, { label: "" }),
  moved: h("span", { class: "job-moved muted small" }),
  speed: h("span", { class: "num" }),
  left: h("span", { class: "num" }),
  when: h("span", { class: "muted" }),
  age: ageElement(null),
});

/** @param {string} kind @param {...Child} children */
const cell = (kind, ...children) =>
  h("div", { class: ["job-cell", kind], role: "cell" }, ...children);

/** @param {Job} job */
export function jobRow(job) {
  const part = makeParts(job);
  const row = h(
    "div",
    { class: "job-row", role: "row" },
    cell("job-status", part.badge),
    cell("job-name", part.link, part.about, part.trouble),
    cell("job-progress", part.bar, part.moved),
    cell("job-speed", part.speed),
    cell("job-left", part.left),
    cell("job-age", part.when, part.age),
  );
  parts.set(row, part);
  updateJobRow(row, job);
  return row;
}

/** @param {HTMLElement} row @param {Job} job */
export function updateJobRow(row, job) {
  const part = parts.get(row);
  if (!part) return;
  const isLive = LIVE_STATUSES.includes(job.status);
  updateStatusBadge(part.badge, job);
  setAttribute(part.link, "href", jobUrl(job));
  updateJobName(childElements(part.link)[0], job);
  renderDetails(part.about, job);
  renderProblems(part.trouble, job);
  updateProgressBar(part.bar, job.progress_percent, {
    label: `Progress of ${runName(job)}`,
    of: job,
  });
  part.bar.hidden = job.status === "completed" || job.status === "pending";
  setText(part.moved, movedText(job, isLive));
  setText(part.speed, speedText(job, isLive));
  setText(part.left, timeText(job, isLive));
  const [word, at] = lastActivity(job, isLive);
  setText(part.when, word ? `${word} ` : "");
  updateTime(part.age, at);
}

/** @param {HTMLElement} node @param {Job} job */
function renderDetails(node, job) {
  const key = [job.vm_name, job.job_type, job.backup_type, job.repository_id].join("\0");
  if (node.dataset.key === key) return;
  node.dataset.key = key;
  const machine =
    job.vm_name &&
    h(
      "a",
      { class: "quiet-link", href: machineUrl(job.vm_name) },
      h("bdi", null, visible(job.vm_name)),
    );
  const others = [job.job_type, job.backup_type, job.repository_id].filter(Boolean);
  const words = [machine, ...others.map((word) => h("bdi", null, visible(word)))].filter(Boolean);
  replace(
    node,
    words.map((word, index) => [index ? " · " : "", word]),
  );
}

/** @param {HTMLElement} node @param {Job} job */
function renderProblems(node, job) {
  const warnings = job.warnings.length;
  const key = `${job.error_message ?? ""}\0${job.warnings.join("\0")}`;
  if (node.dataset.key === key) return;
  node.dataset.key = key;
  replace(
    node,
    job.error_message &&
      h(
        "span",
        { class: "error-text clamp-2", title: job.error_message },
        h("bdi", null, job.error_message),
      ),
    warnings > 0 &&
      h(
        "span",
        { class: "warning-text clamp-2", title: job.warnings.join("\n") },
        warnings > 1 ? `${warnings} warnings: ` : "Warning: ",
        h("bdi", null, job.warnings[0]),
      ),
  );
}

/** @param {Job} job @param {boolean} isLive */
function movedText(job, isLive) {
  if (job.status === "pending") return job.total_bytes ? bytes(job.total_bytes) : "";
  const phase = isLive && job.current_phase ? job.current_phase : "";
  const moved = job.bytes_transferred || job.total_bytes ? bytes(job.bytes_transferred) : "";
  const of = job.total_bytes && job.status !== "completed" ? ` of ${bytes(job.total_bytes)}` : "";
  return [phase, moved && moved + of].filter(Boolean).join(" · ");
}

/**
 * For an ended job the mean speed of the run instead of the last one reported.
 * @param {Job} job
 * @param {boolean} isLive
 */
function speedText(job, isLive) {
  if (job.status === "pending") return "";
  if (job.status === "stalled") {
    return job.transfer_speed_bps === null ? "" : `was ${speed(job.transfer_speed_bps)}`;
  }
  if (isLive) return speed(job.transfer_speed_bps);
  if (!job.duration_seconds || !job.bytes_transferred) return "";
  return speed(job.bytes_transferred / job.duration_seconds);
}

/** A stalled job has no estimate. @param {Job} job @param {boolean} isLive */
function timeText(job, isLive) {
  if (job.status === "stalled") return "";
  if (isLive) {
    const seconds = job.hub_eta?.seconds ?? null;
    return seconds === null ? "" : `${duration(seconds)} left`;
  }
  return job.duration_seconds === null || job.status === "pending"
    ? ""
    : `took ${duration(job.duration_seconds)}`;
}

/**
 * A word and an instant.
 * @param {Job} job
 * @param {boolean} isLive
 * @returns {[string, Instant | null]}
 */
function lastActivity(job, isLive) {
  if (isLive) return ["", job.last_telemetry_at ?? job.created_at];
  if (job.status === "pending") return ["registered", job.created_at];
  return ["ended", job.completed_at ?? job.newest_update_at];
}
