/** The error message of a failed or stalled job. */

import { statusIcon } from "../../components/status.js";
import { h, setText } from "../../lib/dom.js";

/** Hidden without a message. */
export function errorBlock() {
  const text = h("p", { dir: "auto" });
  const node = h("div", { class: "error-block", hidden: true }, statusIcon("failed"), text);
  return {
    node,
    /** @param {Job} job */
    update({ status, error_message: message }) {
      const look = status === "failed" || status === "cancelled" ? "failed" : "stalled";
      if (node.dataset.look !== look) node.firstChild?.replaceWith(statusIcon(look));
      node.dataset.look = look;
      setText(text, message ?? "");
      node.hidden = !message;
    },
  };
}
