/** A job as one row of a table of jobs: cards where there is no room for columns. */

import { jobUrl, machineUrl } from "../lib/base.js";
import { h, replace, setAttribute, setText } from "../lib/dom.js";
import { bytes, duration, speed } from "../lib/format.js";
import { LIVE_STATUSES } from "../lib/statuses.js";
import { progressBar, updateProgressBar } from "./progress.js";
import { statusBadge, updateStatusBadge } from "./status.js";
import { ageElement, updateTime } from "./time.js";

const COLUMNS = ["Status", "Job", "Progress", "Speed", "Time", "Last update"];
const parts = new WeakMap();

/** The row of the columns' names. */
export function jobRowHead() {
  return h(
    "div",
    { class: "job-head", role: "row" },
    COLUMNS.map((name) => h("span", { role: "columnheader" }, name)),
  );
}

/** @param {Object} job an item of GET /jobs @returns {HTMLElement} */
export function jobRow(job) {
  const part = {
    badge: statusBadge(job.status),
    link: h("a", { class: "job-link" }, h("bdi")),
    about: h("span", { class: "job-about muted small" }),
    trouble: h("span", { class: "job-trouble small" }),
    bar: progressBar(null, { label: "" }),
    moved: h("span", { class: "job-moved muted small" }),
    speed: h("span", { class: "num" }),
    left: h("span", { class: "num" }),
    when: h("span", { class: "muted" }),
    age: ageElement(null),
  };
  const cell = (name, kind, ...children) =>
    h("div", { class: ["job-cell", kind], role: "cell" }, children);
  const row = h(
    "div",
    { class: "job-row", role: "row" },
    cell("Status", "job-status", part.badge),
    cell("Job", "job-name", part.link, part.about, part.trouble),
    cell("Progress", "job-progress", part.bar, part.moved),
    cell("Speed", "job-speed", part.speed),
    cell("Time", "job-left", part.left),
    cell("Last update", "job-age", part.when, part.age),
  );
  parts.set(row, part);
  updateJobRow(row, job);
  return row;
}

export function updateJobRow(row, job) {
  const part = parts.get(row);
  const isLive = LIVE_STATUSES.includes(job.status);
  const percent = job.total_bytes > 0 || job.progress_percent > 0 ? job.progress_percent : null;
  updateStatusBadge(part.badge, job.status);
  setAttribute(part.link, "href", jobUrl(job.job_id));
  setText(part.link.firstChild, job.job_id);
  renderAbout(part.about, job);
  renderTrouble(part.trouble, job);
  updateProgressBar(part.bar, isLive ? percent : job.progress_percent, {
    label: `Progress of ${job.job_id}`,
    status: job.status,
  });
  part.bar.hidden = job.status === "completed" || job.status === "pending";
  setText(part.moved, movedText(job, isLive));
  setText(part.speed, speedText(job, isLive));
  setText(part.left, timeText(job, isLive));
  const [word, at] = lastSign(job, isLive);
  setText(part.when, word ? `${word} ` : "");
  updateTime(part.age, at);
}

function renderAbout(node, job) {
  const key = [job.vm_name, job.job_type, job.backup_type, job.repository_id].join("\0");
  if (node.dataset.key === key) return;
  node.dataset.key = key;
  const words = [
    job.vm_name &&
      h("a", { class: "quiet-link", href: machineUrl(job.vm_name) }, h("bdi", null, job.vm_name)),
  ];
  for (const word of [job.job_type, job.backup_type, job.repository_id])
    words.push(word && h("bdi", null, word));
  replace(
    node,
    words.filter(Boolean).flatMap((word, index) => (index ? [" · ", word] : [word])),
  );
}

function renderTrouble(node, job) {
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

function movedText(job, isLive) {
  if (job.status === "pending") return job.total_bytes ? bytes(job.total_bytes) : "";
  const phase = isLive && job.current_phase ? job.current_phase : "";
  const moved = job.bytes_transferred || job.total_bytes ? bytes(job.bytes_transferred) : "";
  const of =
    job.total_bytes > 0 && job.status !== "completed" ? ` of ${bytes(job.total_bytes)}` : "";
  return [phase, moved && moved + of].filter(Boolean).join(" · ");
}

/** Of an ended job the speed over its whole run; the last one reported says nothing any more. */
function speedText(job, isLive) {
  if (job.status === "pending") return "";
  if (job.status === "stalled") return `was ${speed(job.transfer_speed_bps)}`;
  if (isLive) return speed(job.transfer_speed_bps);
  if (!job.duration_seconds || !job.bytes_transferred) return "";
  return speed(job.bytes_transferred / job.duration_seconds);
}

/** Of a stalled job there is nothing to expect until it goes on. */
function timeText(job, isLive) {
  if (job.status === "stalled") return "";
  if (isLive) return job.hub_eta_seconds === null ? "" : `${duration(job.hub_eta_seconds)} left`;
  return job.duration_seconds === null || job.status === "pending"
    ? ""
    : `took ${duration(job.duration_seconds)}`;
}

function lastSign(job, isLive) {
  if (isLive) return ["", job.last_telemetry_at ?? job.created_at];
  if (job.status === "pending") return ["registered", job.created_at];
  return ["ended", job.completed_at ?? job.newest_update_at];
}
