/** The filter form of the overview. */

import { h, replace, setAttribute, setText } from "../../lib/dom.js";
import { time, toDate, zone } from "../../lib/format.js";
import { loadMachines } from "../../lib/machines.js";
import { lastNight, NO_FILTERS, SINCE } from "./requests.js";

/** @import { Filters } from "./requests.js" */

const MINUTE_MS = 60_000;

/** The number of active filters. @param {Filters} filters */
export function activeFilters({ status, ...others }) {
  return (status.length ? 1 : 0) + Object.values(others).filter(Boolean).length;
}

/** All filters except status and result. Calls `choose` when a field is left or Enter is pressed. */
export class FilterForm {
  /** @param {Filters} filters @param {(changes: Partial<Filters>) => void} choose */
  constructor(filters, choose) {
    this.choose = choose;
    this.machines = h("datalist", { id: "filter-machines" });
    this.fields = {
      type: field("Type", { maxlength: 255, placeholder: "any" }),
      machine: field("Machine", { maxlength: 255, placeholder: "any", list: "filter-machines" }),
      repository: field("Repository", { maxlength: 255, placeholder: "any" }),
      text: field("Contains", { maxlength: 255, placeholder: "id, machine, error …" }),
      from: field("From", { type: "datetime-local", step: 60 }),
      to: field("Until", { type: "datetime-local", step: 60 }),
    };
    this.since = h(
      "select",
      { class: "select" },
      h("option", { value: "" }, "Any time"),
      Object.entries(SINCE).map(([key, { label }]) => h("option", { value: key }, label)),
      h("option", { value: "custom" }, "From … until …"),
    );
    this.custom = h(
      "div",
      { class: "filter-custom" },
      this.fields.from.node,
      this.fields.to.node,
      h("p", { class: "muted small" }, zone()),
    );
    this.night = h("p", { class: "muted small" });
    this.clear = h(
      "button",
      { type: "button", class: "button button-quiet", on: { click: () => this.#clear() } },
      "Clear filters",
    );
    this.node = h(
      "details",
      { class: "filters", open: matchMedia("(min-width: 48rem)").matches },
      h("summary", null, "More filters"),
      h(
        "form",
        {
          class: "filter-form",
          on: {
            submit: (/** @type {Event} */ event) => this.#submit(event),
            change: (/** @type {Event} */ event) => this.#onChange(event),
          },
        },
        this.fields.text.node,
        this.fields.type.node,
        this.fields.machine.node,
        this.fields.repository.node,
        h("label", { class: "labelled" }, h("span", null, "Started"), this.since),
        this.custom,
        this.night,
        this.clear,
        this.machines,
        h(
          "button",
          { type: "submit", class: "visually-hidden", tabindex: -1, "aria-hidden": "true" },
          "Apply",
        ),
      ),
    );
    this.fields.machine.input.addEventListener("focus", () => this.#suggest(), { once: true });
    this.show(filters);
    if (activeFilters({ ...filters, status: [], result: "" })) this.node.open = true;
  }

  /** @param {Filters} filters */
  show(filters) {
    const isCustom = Boolean(filters.from || filters.to) && !filters.since;
    const { text, type, machine, repository, from, to } = this.fields;
    setAttribute(text.input, "value", filters.text);
    setAttribute(type.input, "value", filters.type);
    setAttribute(machine.input, "value", filters.machine);
    setAttribute(repository.input, "value", filters.repository);
    setAttribute(from.input, "value", toLocal(filters.from));
    setAttribute(to.input, "value", toLocal(filters.to));
    if (!(this.since.value === "custom" && !filters.since))
      this.since.value = filters.since || (isCustom ? "custom" : "");
    this.custom.hidden = this.since.value !== "custom";
    this.night.hidden = this.since.value !== "night";
    setText(this.night, nightText());
    this.clear.hidden = activeFilters(filters) === 0;
  }

  /** @param {Event} event */
  #submit(event) {
    event.preventDefault();
    this.#apply();
  }

  /** @param {Event} event */
  #onChange(event) {
    if (event.target === this.since && this.since.value === "custom") {
      this.custom.hidden = false;
      this.fields.from.input.focus();
      return;
    }
    this.#apply();
  }

  #apply() {
    const { text, type, machine, repository, ...range } = this.fields;
    const isCustom = this.since.value === "custom";
    const from = isCustom ? fromLocal(range.from.input.value) : "";
    const to = isCustom ? fromLocal(range.to.input.value) : "";
    const isOrdered = !from || !to || from < to;
    this.fields.to.input.setCustomValidity(
      isOrdered ? "" : "The end must be later than the start.",
    );
    if (!isOrdered) {
      this.fields.to.input.reportValidity();
      return;
    }
    this.choose({
      text: text.input.value.trim(),
      type: type.input.value.trim(),
      machine: machine.input.value,
      repository: repository.input.value,
      since: isCustom ? "" : this.since.value,
      from,
      to,
    });
  }

  #clear() {
    this.since.value = "";
    this.choose(NO_FILTERS);
    this.fields.text.input.focus();
  }

  /** Suggests the names of machines when the field gets the focus. */
  async #suggest() {
    try {
      const machines = await loadMachines();
      replace(
        this.machines,
        machines.map((machine) => h("option", { value: machine.vm_name })),
      );
    } catch {
      // The user can type the name without suggestions.
    }
  }
}

function nightText() {
  const { from, to } = lastNight();
  const minutes = (/** @type {Date} */ at) => time(at).slice(0, 16);
  return `Ran between ${minutes(from)} and ${minutes(to)}, ${zone()}`;
}

/** @param {string} label @param {object} props */
function field(label, props) {
  const input = h("input", {
    class: "field",
    type: "text",
    autocomplete: "off",
    spellcheck: "false",
    ...props,
  });
  return { input, node: h("label", { class: "labelled" }, h("span", null, label), input) };
}

/** An instant as the value of a datetime-local, in the user's time zone. @param {Instant} text */
function toLocal(text) {
  const at = toDate(text);
  if (!at) return "";
  return new Date(at.getTime() - at.getTimezoneOffset() * MINUTE_MS).toISOString().slice(0, 16);
}

/** @param {string} text */
function fromLocal(text) {
  return toDate(text)?.toISOString() ?? "";
}
