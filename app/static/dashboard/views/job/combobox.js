/** A field that suggests matching options while the user types (ARIA's editable combobox). */

import { ApiError } from "../../lib/api.js";
import { h, replace } from "../../lib/dom.js";

const MOST_SHOWN = 50;
let instances = 0;

/**
 * @typedef {{value: string, label: string, note?: string}} Option
 *
 * @typedef {object} ComboboxOptions
 * @property {string} label
 * @property {string} selected the initial text
 * @property {string} placeholder
 * @property {() => Promise<Option[]>} load called when the list is first opened
 * @property {(value: string) => void} onChoose
 */

/** @param {ComboboxOptions} options */
export function combobox({ label, selected, placeholder, load, onChoose }) {
  instances += 1;
  const prefix = `combobox-${instances}`;
  let shownText = selected;
  /** @type {Option[] | null} */
  let options = null;
  /** @type {Option[]} */
  let shown = [];
  let active = -1;
  const input = h("input", {
    type: "text",
    role: "combobox",
    id: prefix,
    class: "field combobox-input",
    autocomplete: "off",
    spellcheck: "false",
    dir: "auto",
    placeholder,
    "aria-expanded": false,
    "aria-autocomplete": "list",
    "aria-controls": `${prefix}-list`,
    value: selected,
    on: { input: () => open(input.value), keydown: onKey, click: () => open(""), blur: close },
  });
  const list = h("ul", {
    role: "listbox",
    id: `${prefix}-list`,
    class: "combobox-list",
    "aria-label": label,
    hidden: true,
  });
  // Otherwise a click would take the focus and close the list before the click is handled.
  list.addEventListener("mousedown", (event) => event.preventDefault());

  /** @param {string} typed */
  async function open(typed) {
    if (!options) {
      options = await loadOptions();
      if (!options || document.activeElement !== input) return;
    }
    const found = matching(options, typed);
    const left = found.length - MOST_SHOWN;
    const more = left > 0 ? `${left} more: type to narrow the list` : "";
    show(found.slice(0, MOST_SHOWN), found.length ? more : "No match");
  }

  async function loadOptions() {
    show([], "Loading …");
    try {
      return await load();
    } catch (error) {
      show([], error instanceof ApiError ? error.detail : "The list could not be loaded.");
      return null;
    }
  }

  /** @param {Option[]} items @param {string} remark */
  function show(items, remark) {
    shown = items;
    replace(
      list,
      items.map((item, index) =>
        h(
          "li",
          {
            role: "option",
            id: `${prefix}-${index}`,
            "aria-selected": false,
            class: "combobox-option",
            on: { click: () => choose(item) },
          },
          h("bdi", { class: "combobox-name" }, item.label),
          item.note && h("span", { class: "combobox-note" }, item.note),
        ),
      ),
      remark &&
        h(
          "li",
          {
            role: "option",
            "aria-disabled": "true",
            "aria-selected": false,
            class: "combobox-remark",
          },
          remark,
        ),
    );
    list.hidden = false;
    input.setAttribute("aria-expanded", "true");
    mark(-1);
  }

  /** @param {number} index */
  function mark(index) {
    list.children[active]?.setAttribute("aria-selected", "false");
    active = index;
    const item = active < 0 ? null : list.children[active];
    if (!item) {
      input.removeAttribute("aria-activedescendant");
      return;
    }
    item.setAttribute("aria-selected", "true");
    input.setAttribute("aria-activedescendant", item.id);
    item.scrollIntoView({ block: "nearest" });
  }

  /** @param {Option} item */
  function choose(item) {
    shownText = item.label;
    close();
    onChoose(item.value);
  }

  function close() {
    list.hidden = true;
    input.setAttribute("aria-expanded", "false");
    mark(-1);
    input.value = shownText;
  }

  /** @param {KeyboardEvent} event */
  async function onKey(event) {
    const { key } = event;
    if (key === "ArrowDown" || key === "ArrowUp") {
      event.preventDefault();
      if (list.hidden) await open("");
      mark(moved(active, key === "ArrowDown" ? 1 : -1, shown.length));
    } else if (!list.hidden) onKeyInList(event);
  }

  /** @param {KeyboardEvent} event */
  function onKeyInList(event) {
    if (event.key === "Enter") {
      event.preventDefault();
      const item = shown.length === 1 ? shown[0] : shown[active];
      if (item) choose(item);
    } else if (event.key === "Escape") {
      event.stopPropagation();
      close();
      input.select();
    }
  }

  return h(
    "div",
    { class: "combobox" },
    h("label", { for: prefix, class: "label" }, label),
    h("div", { class: "combobox-box" }, input, list),
  );
}

/**
 * The options whose label or note contains the typed text, those that start with it first.
 * @template {{label: string, note?: string}} T
 * @param {T[]} options
 * @param {string} typed
 */
export function matching(options, typed) {
  const wanted = typed.trim().toLowerCase();
  if (!wanted) return options;
  const found = options.filter(({ label, note }) =>
    `${label} ${note ?? ""}`.toLowerCase().includes(wanted),
  );
  const begins = (/** @type {T} */ { label }) => label.toLowerCase().startsWith(wanted);
  return [...found.filter(begins), ...found.filter((option) => !begins(option))];
}

/**
 * The index `step` further in a list of `length`, with wrap-around; -1: none.
 * @param {number} place
 * @param {number} step
 * @param {number} length
 */
export function moved(place, step, length) {
  if (!length) return -1;
  if (place < 0) return step > 0 ? 0 : length - 1;
  return (place + step + length) % length;
}
