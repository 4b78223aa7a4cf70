/** The runs of a machine: one row each, and below it, in plain sight, why it failed. */

import { progressBar, updateProgressBar } from "../../components/progress.js";
import { statusBadge, updateStatusBadge } from "../../components/status.js";
import { timeElement, updateTime } from "../../components/time.js";
import { compareUrl, jobUrl } from "../../lib/base.js";
import { h, keyed, setText } from "../../lib/dom.js";
import { bytes, duration, speed } from "../../lib/format.js";
import { errorBlock } from "./error-block.js";
import { effectiveSpeed, LIVE_STATUSES } from "./runs.js";
import { knownPercent } from "./summary.js";

/** `{node, update(runs)}`; runs newest first. */
export function runList() {
  const node = h("ul", { class: "run-list" });
  return { node, update: (runs) => keyed(node, runs, (run) => run.job_id, makeRow, updateRow) };
}

const errors = new WeakMap(); // the error block of each row

function makeRow(run) {
  const figure = (label) =>
    h("div", { class: "run-figure" }, h("dt", null, label), h("dd", { class: "num" }));
  const error = errorBlock();
  const node = h(
    "li",
    { class: "run" },
    h("div", { class: "run-status" }, statusBadge(run.status)),
    h(
      "div",
      { class: "run-name" },
      h("a", { href: jobUrl(run.job_id) }, h("bdi", null, run.job_id)),
      h("div", { class: "run-kind" }, timeElement(run.started_at), kindText(run)),
      progressBar(null, { label: "Progress" }),
    ),
    h("dl", { class: "run-figures" }, figure("Duration"), figure("Moved"), figure("Mean speed")),
    h(
      "a",
      {
        class: "run-compare",
        href: compareUrl(run.job_id),
        "aria-label": `Compare ${run.job_id} with the runs before`,
      },
      "Compare",
    ),
    error.node,
  );
  errors.set(node, error);
  updateRow(node, run);
  return node;
}

function kindText(run) {
  const parts = [run.job_type, run.backup_type, run.repository_id].filter(Boolean);
  return parts.map((part) => h("bdi", { class: "run-part" }, part));
}

function updateRow(node, run) {
  const [status, name, figures] = node.children;
  const bar = name.lastChild;
  updateStatusBadge(status.firstChild, run.status);
  updateTime(name.children[1].firstChild, run.started_at);
  bar.hidden = !LIVE_STATUSES.includes(run.status);
  updateProgressBar(bar, knownPercent(run), {
    label: `Progress of ${run.job_id}`,
    status: run.status,
  });
  const values = [
    duration(run.duration_seconds),
    bytes(run.bytes_transferred),
    speed(effectiveSpeed(run)),
  ];
  values.forEach((value, index) => setText(figures.children[index].lastChild, value));
  errors.get(node).update(run);
}
