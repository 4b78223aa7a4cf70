/** The runs of a machine: one row each, with the error below it. */

import { jobName, updateJobName } from "../../components/job-name.js";
import { progressBar, updateProgressBar } from "../../components/progress.js";
import { statusBadge, updateStatusBadge } from "../../components/status.js";
import { startElement, updateStart } from "../../components/time.js";
import { childElements, h, keyed, setAttribute, setText } from "../../lib/dom.js";
import { bytes, duration, speed } from "../../lib/format.js";
import { runKey, runName } from "../../lib/runs.js";
import { compareUrl, jobUrl } from "../../lib/urls.js";
import { errorBlock } from "./error-block.js";
import { effectiveSpeed, LIVE_STATUSES } from "./runs.js";

export function runList() {
  const node = h("ul", { class: "run-list" });
  return {
    node,
    /** @param {Job[]} runs newest first */
    update: (runs) => keyed(node, runs, runKey, makeRow, updateRow),
  };
}

/** @type {WeakMap<HTMLElement, ReturnType<typeof makeParts>>} */
const parts = new WeakMap();

/** @param {Job} run */
const makeParts = (run) => ({
  badge: statusBadge(run),
  link: h("a", null, jobName()),
  compare: h("a", { class: "run-compare" }, "Compare"),
  started: startElement(run),
  bar: progressBar(null, { label: "Progress" }),
  figures: ["Duration", "Moved", "Mean speed"].map((label) =>
    h("div", { class: "run-figure" }, h("dt", null, label), h("dd", { class: "num" })),
  ),
  error: errorBlock(),
});

/** @param {Job} run */
function makeRow(run) {
  const part = makeParts(run);
  const node = h(
    "li",
    { class: "run" },
    h("div", { class: "run-status" }, part.badge),
    h(
      "div",
      { class: "run-name" },
      part.link,
      h("div", { class: "run-kind" }, part.started, kindText(run)),
      part.bar,
    ),
    h("dl", { class: "run-figures" }, part.figures),
    part.compare,
    part.error.node,
  );
  parts.set(node, part);
  updateRow(node, run);
  return node;
}

/** @param {Job} run */
function kindText(run) {
  const parts = [run.job_type, run.backup_type, run.repository_id].filter(Boolean);
  return parts.map((part) => h("bdi", { class: "run-part" }, part));
}

/** @param {HTMLElement} node @param {Job} run */
function updateRow(node, run) {
  const part = parts.get(node);
  if (!part) return;
  updateStatusBadge(part.badge, run);
  updateJobName(childElements(part.link)[0], run);
  setAttribute(part.link, "href", jobUrl(run));
  setAttribute(part.compare, "href", compareUrl(run));
  setAttribute(part.compare, "aria-label", `Compare ${runName(run)} with earlier runs`);
  updateStart(part.started, run);
  part.bar.hidden = !LIVE_STATUSES.includes(run.status);
  updateProgressBar(part.bar, run.progress_percent, {
    label: `Progress of ${runName(run)}`,
    of: run,
  });
  const values = [
    duration(run.duration_seconds),
    bytes(run.bytes_transferred),
    speed(effectiveSpeed(run)),
  ];
  for (const [index, value] of values.entries()) {
    setText(childElements(part.figures[index])[1], value);
  }
  part.error.update(run);
}
