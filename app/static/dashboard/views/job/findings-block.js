/** Why a completed run is not good. */

import { statusIcon } from "../../components/status.js";
import { h, keyed } from "../../lib/dom.js";
import { lookOf } from "../../lib/looks.js";

/** Hidden for other runs. */
export function findingsBlock() {
  const list = h("ul", { class: "findings" });
  const node = h(
    "div",
    { class: "error-block", dataset: { look: "warning" }, hidden: true },
    statusIcon("warning"),
    h("div", null, h("strong", null, "Completed with a warning"), list),
  );
  return {
    node,
    /** @param {JobDetail} job */
    update(job) {
      node.hidden = lookOf(job) !== "warning" || !job.findings.length;
      keyed(
        list,
        job.findings,
        ({ summary }) => summary,
        ({ summary }) => h("li", { dir: "auto" }, summary),
      );
    },
  };
}
