/** The first tab of a job: its progress, disks and warnings. */

import { kpiCard, updateKpiCard } from "../../components/kpi.js";
import { progressBar, updateProgressBar } from "../../components/progress.js";
import { statusBadge, updateStatusBadge } from "../../components/status.js";
import { ageElement, timeElement, updateTime } from "../../components/time.js";
import { childElements, h, keyed, setText } from "../../lib/dom.js";
import { bytes, duration, speed, UNKNOWN } from "../../lib/format.js";
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
        h("div", null, h("dt", null, "Started"), h("dd", null, started)),
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
    updateTime(started, job.started_at);
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
    keyed(disks, job.disks, (disk) => disk.disk_index, makeDisk, updateDisk);
  }

  return { node, update };
}

/** The figures of the four cards. @param {Job} job */
export function summaryFigures(job) {
  const isLive = LIVE_STATUSES.includes(job.status);
  const mean = effectiveSpeed(job);
  return [
    {
      value: bytes(job.bytes_transferred),
      note: job.total_bytes ? `of ${bytes(job.total_bytes)}` : "total unknown",
    },
    isLive
      ? { value: speed(job.transfer_speed_bps), note: mean === null ? "" : `mean ${speed(mean)}` }
      : { value: speed(mean), note: "mean over the whole run" },
    isLive
      ? { value: duration(job.hub_eta?.seconds), note: timeLeftNote(job) }
      : { value: "ended", note: `by the ${job.ended_by ?? "sender"}` },
    { value: duration(job.duration_seconds), note: isLive ? "so far" : "from start to end" },
  ];
}

const BASES = {
  rate: "at the present pace",
  percent: "as its percent grows now",
  history: "as in earlier runs",
};

/** What the estimate is made from, its range, and the sender's own. @param {Job} job */
function timeLeftNote({ hub_eta: left, eta_seconds: sender }) {
  const parts = left?.basis
    ? [BASES[left.basis], `${duration(left.low)} to ${duration(left.high)}`]
    : [left?.reason ?? "unknown"];
  if (sender) parts.push(`sender's estimate: ${duration(sender)}`);
  return parts.join("; ");
}

/** @param {JobDisk} disk */
function makeDisk(disk) {
  const node = h(
    "li",
    { class: "disk" },
    h("span", { class: "disk-name" }, `Disk ${disk.disk_index}`),
    statusBadge(disk),
    progressBar(null, { label: `Progress of disk ${disk.disk_index}` }),
    h("span", { class: "disk-figures num" }),
    h("p", { class: "error-text", dir: "auto" }),
  );
  updateDisk(node, disk);
  return node;
}

/** @param {HTMLElement} node @param {JobDisk} disk */
function updateDisk(node, disk) {
  const [, badge, bar, figures, error] = childElements(node);
  const total = disk.total_bytes || disk.size_bytes;
  updateStatusBadge(badge, disk);
  updateProgressBar(bar, disk.progress_percent, {
    label: `Progress of disk ${disk.disk_index}`,
    of: disk,
  });
  const rate = disk.status === "transferring" ? ` · ${speed(disk.transfer_speed_bps)}` : "";
  setText(figures, `${bytes(disk.bytes_transferred)}${total ? ` of ${bytes(total)}` : ""}${rate}`);
  setText(error, disk.error_message ?? "");
  error.hidden = !disk.error_message;
}
