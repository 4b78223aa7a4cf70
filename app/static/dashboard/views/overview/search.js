/** Goes to the job of an id, or says that there is none. */

import { get } from "../../lib/api.js";
import { h, replace } from "../../lib/dom.js";

/** @param {function(string): void} open @returns {HTMLElement} */
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
  const said = h("p", { class: "search-said small", role: "status" });

  async function search(event) {
    event.preventDefault();
    const id = input.value.trim();
    if (!id) return;
    replace(said, "Searching …");
    try {
      // The list and not the job itself: one that is not there is no error.
      const { data } = await get("/jobs", { job_id: id, limit: 1 });
      if (data.items.length) open(id);
      else replace(said, "No job has the id ", h("bdi", { class: "mono wrap-anywhere" }, id), ".");
    } catch (error) {
      replace(said, h("span", { class: "error-text" }, error.detail ?? String(error)));
    }
  }

  return h(
    "form",
    { class: "search", role: "search", on: { submit: search, input: () => replace(said) } },
    input,
    h("button", { type: "submit", class: "button" }, "Find job"),
    said,
  );
}
