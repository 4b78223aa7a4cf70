/** A field that offers what matches while it is typed into (ARIA's editable combobox with a list). */

import { h, replace } from "../../lib/dom.js";

const MOST_SHOWN = 50;
let made = 0;

/**
 * `load()` gives the options `[{value, label, note?}]` when the list is first opened. `selected` is the
 * text shown at first; `onChoose(value)` is called with the reader's choice.
 */
export function combobox({ label, selected = "", placeholder = "", load, onChoose }) {
  const prefix = `combobox-${(made += 1)}`;
  let shownText = selected;
  let options = null;
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
  // A click would take the focus, and with it the list, before it is seen.
  list.addEventListener("mousedown", (event) => event.preventDefault());

  async function open(typed) {
    if (!options) {
      show([], "Loading …");
      try {
        options = await load();
      } catch (error) {
        show([], error.detail ?? "This could not be loaded.");
        return;
      }
      if (document.activeElement !== input) return;
    }
    const found = matching(options, typed);
    const left = found.length - MOST_SHOWN;
    show(
      found.slice(0, MOST_SHOWN),
      left > 0 ? `${left} more: type to narrow` : found.length ? "" : "Nothing matches",
    );
  }

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

  async function onKey(event) {
    const { key } = event;
    if (key === "ArrowDown" || key === "ArrowUp") {
      event.preventDefault();
      if (list.hidden) await open("");
      mark(moved(active, key === "ArrowDown" ? 1 : -1, shown.length));
    } else if (key === "Enter" && !list.hidden) {
      event.preventDefault();
      const item = shown[active] ?? (shown.length === 1 ? shown[0] : null);
      if (item) choose(item);
    } else if (key === "Escape" && !list.hidden) {
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

/** The options whose label or note holds what was typed, those that begin with it first. */
export function matching(options, typed) {
  const wanted = typed.trim().toLowerCase();
  if (!wanted) return options;
  const found = options.filter(({ label, note }) =>
    `${label} ${note ?? ""}`.toLowerCase().includes(wanted),
  );
  const begins = ({ label }) => label.toLowerCase().startsWith(wanted);
  return [...found.filter(begins), ...found.filter((option) => !begins(option))];
}

/** The place `step` further in a list of `length`, round its ends; -1 is nowhere. */
export function moved(place, step, length) {
  if (!length) return -1;
  if (place < 0) return step > 0 ? 0 : length - 1;
  return (place + step + length) % length;
}
