/** Tables of data, and lists of names and values. */

import { h } from "../lib/dom.js";

/**
 * A table in a box that scrolls sideways if necessary, also by keyboard.
 * @param {{caption: string, columns: (string | Column)[], rows: Child[][]}} options a column of class
 *   "num" is right-aligned
 */
export function dataTable({ caption, columns, rows }) {
  const heads = columns.map((column) => (typeof column === "string" ? { label: column } : column));
  return scrollBox(
    caption,
    h(
      "table",
      { class: "table" },
      h("caption", { class: "visually-hidden" }, caption),
      h(
        "thead",
        null,
        h(
          "tr",
          null,
          heads.map((head) => h("th", { scope: "col", class: head.class }, head.label)),
        ),
      ),
      h(
        "tbody",
        null,
        rows.map((row) =>
          h(
            "tr",
            null,
            row.map((cell, index) => h("td", { class: heads[index]?.class }, cell)),
          ),
        ),
      ),
    ),
  );
}

/**
 * A box that scrolls sideways; focusable, so that the arrow keys work.
 * @param {string} label
 * @param {...Child} children
 */
export function scrollBox(label, ...children) {
  return h(
    "div",
    { class: "scroll-box", role: "region", "aria-label": label, tabindex: 0 },
    children,
  );
}

/**
 * Names and values.
 * @param {Child[][]} pairs of a name and a value; a null or undefined value leaves the pair out
 */
export function definitions(pairs) {
  return h(
    "dl",
    { class: "definitions" },
    pairs
      .filter(([, value]) => value !== null && value !== undefined)
      .map(([name, value]) => h("div", null, h("dt", null, name), h("dd", null, value))),
  );
}

/** A closed "Show as table"; `make` builds the table when it is opened. @param {() => Node | string} make */
export function tableDisclosure(make) {
  const node = h("details", { class: "disclosure" }, h("summary", null, "Show as table"));
  const body = h("div", { class: "disclosure-body" });
  node.append(body);
  const fill = () => node.open && body.replaceChildren(make());
  node.addEventListener("toggle", fill);
  return { node, update: fill };
}
