/** The state of a page whose job or run does not exist. */

import { emptyState } from "../../components/states.js";
import { errorText } from "../../lib/api.js";
import { h } from "../../lib/dom.js";
import { jobUrl, overviewUrl } from "../../lib/urls.js";

/**
 * @param {unknown} error the answer of the hub
 * @param {{jobId: string, run: number | null}} wanted `run`: null is the newest
 */
export function notFoundState(error, { jobId, run }) {
  const [title, href, label] =
    run === null
      ? ["Job not found", overviewUrl(), "All jobs"]
      : ["Run not found", jobUrl({ job_id: jobId }), "Newest run"];
  return emptyState(title, errorText(error), h("a", { class: "button", href }, label));
}
