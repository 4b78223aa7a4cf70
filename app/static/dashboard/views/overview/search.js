/** A field that opens the job with the entered ID. */

import { errorText, get } from "../../lib/api.js";
import { h, replace } from "../../lib/dom.js";

/** @param {(id: string) => void} open */
export function searchForm(open) {
  const input = h("input", {
    class: "field",
    type: "search",
    name: "id",
    maxlength: 255,
    placeholder: "Job id",
    "aria-label": "Job id",
    autocomplete: "off",
    spellcheck: "false",
    autocapitalize: "off",
    required: true,
  });
  const status = h("p", { class: "search-status small", role: "status" });

  /** @param {Event} event */
  async function search(event) {
    event.preventDefault();
    const id = input.value.trim();
    if (!id) return;
    replace(status, "Searching …");
    try {
      // The list instead of the job: the result may be empty without an error.
      const { data } = await get("/jobs", { job_id: id, limit: 1 });
      if (data.items.length) open(id);
      else
        replace(status, "No job has the ID ", h("bdi", { class: "mono wrap-anywhere" }, id), ".");
    } catch (error) {
      replace(status, h("span", { class: "error-text" }, errorText(error)));
    }
  }

  return h(
    "form",
    { class: "search", role: "search", on: { submit: search, input: () => replace(status) } },
    input,
    h("button", { type: "submit", class: "button" }, "Find job"),
    status,
  );
}
