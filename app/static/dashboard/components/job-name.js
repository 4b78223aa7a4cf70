/** The id of a job, and which of its runs it is. */

import { childElements, h, setText } from "../lib/dom.js";
import { visible } from "../lib/format.js";
import { runText } from "../lib/runs.js";

/** @import { JobRun } from "../lib/runs.js" */

/** "nightly · run 2", or "nightly" for an only run. @param {JobRun} [job] */
export function jobName(job) {
  const node = h("span", null, h("bdi"), h("span", { class: "run-number" }));
  if (job) updateJobName(node, job);
  return node;
}

/** @param {HTMLElement} node @param {JobRun} job */
export function updateJobName(node, job) {
  const [id, run] = childElements(node);
  const text = runText(job);
  setText(id, visible(job.job_id));
  setText(run, text && ` · ${text}`);
}
