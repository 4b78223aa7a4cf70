/** The first tab of a job: its progress, disks and warnings. */

import { kpiCard, updateKpiCard } from "../../components/kpi.js";
import { progressBar, updateProgressBar } from "../../components/progress.js";
import { statusBadge, updateStatusBadge } from "../../components/status.js";
import { ageElement, timeElement, updateTime } from "../../components/time.js";
import { childElements, h, keyed, setText } from "../../lib/dom.js";
import { bytes, duration, speed, UNKNOWN } from "../../lib/format.js";
import { startOf } from "../../lib/runs.js";
import { effectiveSpeed, LIVE_STATUSES } from "./runs.js";

export function summaryPanel() {
  const bar = progressBar(null, { label: "Progress of the job" });
  bar.classList.add("progress-large");
  const cards = ["Moved", "Speed", "Time left", "Duration"].map((name) =>
    kpiCard(name, UNKNOWN, ""),
  );
  const phase = h("bdi", { class: "phase-name" });
  const updated = ageElement(null);
  const moved = ageElement(null);
  const started = timeElement(null);
  const startWord = h("dt");
  const ended = timeElement(null);
  const endedRow = h("div", null, h("dt", null, "Ended"), h("dd", null, ended));
  const warnings = h("ul", { class: "warning-list" });
  const warningSection = h(
    "section",
    { class: "job-section" },
    h("h2", null, "Warnings"),
    warnings,
  );
  const disks = h("ul", { class: "disk-list" });
  const diskTitle = h("h2", null, "Disks");
  const diskSection = h("section", { class: "job-section" }, diskTitle, disks);
  const node = h(
    "div",
    { class: "summary" },
    h(
      "section",
      { class: "job-section" },
      bar,
      h(
        "dl",
        { class: "definitions summary-facts" },
        h("div", null, h("dt", null, "Phase"), h("dd", null, phase)),
        h("div", null, h("dt", null, "Last update"), h("dd", null, updated)),
        h("div", null, h("dt", null, "Last progress"), h("dd", null, moved)),
        h("div", null, startWord, h("dd", null, started)),
        endedRow,
      ),
    ),
    h("div", { class: "kpis" }, cards),
    warningSection,
    diskSection,
  );

  /** @param {JobDetail} job */
  function update(job) {
    updateProgressBar(bar, job.progress_percent, {
      label: "Progress of the job",
      of: job,
    });
    for (const [index, { value, note }] of summaryFigures(job).entries()) {
      updateKpiCard(cards[index], value, note);
    }
    setText(phase, job.current_phase || UNKNOWN);
    updateTime(updated, job.last_telemetry_at);
    updateTime(moved, job.last_progress_at);
    setText(startWord, job.status === "pending" ? "Registered" : "Started");
    updateTime(started, startOf(job) ?? job.created_at);
    updateTime(ended, job.completed_at);
    endedRow.hidden = !job.completed_at;
    warningSection.hidden = !job.warnings.length;
    keyed(
      warnings,
      job.warnings,
      (text) => text,
      (text) => h("li", { dir: "auto" }, text),
    );
    diskSection.hidden = !job.disks.length;
    setText(diskTitle, job.disks.length === 1 ? "Disk" : `Disks (${job.disks.length})`);
    const { status } = job;
    keyed(
      disks,
      job.disks,
      (disk) => disk.disk_index,
      (disk) => makeDisk(disk, status),
      (disk, item) => updateDisk(disk, item, status),
    );
  }

  return { node, update };
}

/** The figures of the four cards. @param {Job} job */
export function summaryFigures(job) {
  const isLive = LIVE_STATUSES.includes(job.status);
  return [
    {
      value: bytes(job.bytes_transferred),
      note: job.total_bytes ? `of ${bytes(job.total_bytes)}` : "total unknown",
    },
    isLive
      ? presentSpeed(job)
      : { value: speed(effectiveSpeed(job)), note: "mean over the whole run" },
    isLive
      ? { value: duration(job.hub_eta?.seconds), note: timeLeftNote(job) }
      : { value: "ended", note: `by the ${job.ended_by ?? "sender"}` },
    job.status === "pending"
      ? { value: UNKNOWN, note: "not started" }
      : { value: duration(job.duration_seconds), note: durationNote(job) },
  ];
}

/** Only a running job has one. @param {Job} job */
function presentSpeed(job) {
  const mean = effectiveSpeed(job);
  const means = mean === null ? [] : [`mean ${speed(mean)}`];
  if (job.status === "running") return { value: speed(job.transfer_speed_bps), note: means.join() };
  const last = job.status === "stalled" && job.transfer_speed_bps !== null;
  const notes = [...(last ? [`last ${speed(job.transfer_speed_bps)}`] : []), ...means];
  return { value: UNKNOWN, note: notes.join(", ") };
}

/** @param {Job} job */
function durationNote({ status }) {
  if (status === "stalled") return "until its last update";
  return status === "running" ? "so far" : "from start to end";
}

const STUCK_MS = 300_000; // as PAUSE_SECONDS of the hub's own estimate
const BASES = {
  rate: "at the present pace",
  percent: "as its percent grows now",
  history: "as in earlier runs",
};

/** Whether its updates have shown no progress for so long that their estimates are of no use. @param {Job} job */
const isStuck = ({ last_telemetry_at: seen, last_progress_at: moved }) =>
  Date.parse(seen ?? "") - Date.parse(moved ?? "") >= STUCK_MS;

/** What the estimate is made from, its range, and the sender's own. @param {Job} job */
function timeLeftNote(job) {
  const { hub_eta: left, eta_seconds: sender } = job;
  if (job.status === "pending") return "not started";
  const parts = left?.basis
    ? [BASES[left.basis], `${duration(left.low)} to ${duration(left.high)}`]
    : [left?.reason ?? "unknown"];
  if (sender && job.status === "running" && !isStuck(job))
    parts.push(`sender's estimate: ${duration(sender)}`);
  return parts.join("; ");
}

/** @param {JobDisk} disk @param {JobStatus} jobStatus */
function makeDisk(disk, jobStatus) {
  const node = h(
    "li",
    { class: "disk" },
    h("span", { class: "disk-name" }, `Disk ${disk.disk_index}`),
    statusBadge(disk),
    progressBar(null, { label: `Progress of disk ${disk.disk_index}` }),
    h("span", { class: "disk-figures num" }),
    h("p", { class: "error-text", dir: "auto" }),
  );
  updateDisk(node, disk, jobStatus);
  return node;
}

/** @param {HTMLElement} node @param {JobDisk} disk @param {JobStatus} jobStatus */
function updateDisk(node, disk, jobStatus) {
  const [, badge, bar, figures, error] = childElements(node);
  const total = disk.total_bytes || disk.size_bytes;
  const stands = jobStatus === "stalled" && disk.status === "transferring";
  const shown = stands ? { status: "stalled" } : disk;
  updateStatusBadge(badge, shown);
  updateProgressBar(bar, disk.progress_percent, {
    label: `Progress of disk ${disk.disk_index}`,
    of: shown,
  });
  const rate =
    jobStatus === "running" && disk.status === "transferring"
      ? ` · ${speed(disk.transfer_speed_bps)}`
      : "";
  setText(figures, `${bytes(disk.bytes_transferred)}${total ? ` of ${bytes(total)}` : ""}${rate}`);
  setText(error, disk.error_message ?? "");
  error.hidden = !disk.error_message;
}
