/** Tables of data, and lists of a name and a value. */

import { h } from "../lib/dom.js";

/**
 * A plain table in a box that scrolls sideways where it has to, by keyboard too.
 * @param {{caption: string, columns: (string|{label: string, class?: string})[], rows: any[][],
 *   captionHidden?: boolean, class?: string}} options a column of class "num" is right-aligned; cells
 *   are what `h` takes as children
 * @returns {HTMLElement}
 */
export function dataTable({ caption, columns, rows, captionHidden = true, class: kind = "" }) {
  const heads = columns.map((column) => (typeof column === "string" ? { label: column } : column));
  return scrollBox(
    caption,
    h(
      "table",
      { class: ["table", kind] },
      h("caption", { class: captionHidden && "visually-hidden" }, caption),
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

/** A box that scrolls sideways; focusable, so that the arrow keys reach what is cut off. */
export function scrollBox(label, ...children) {
  return h(
    "div",
    { class: "scroll-box", role: "region", "aria-label": label, tabindex: 0 },
    children,
  );
}

/**
 * Names and values.
 * @param {[string, any][]} pairs a value is what `h` takes as a child; null leaves the pair out
 * @returns {HTMLElement}
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

/** "Show as table", closed at first; `make` builds the table when it is first opened. */
export function tableDisclosure(make, { summary = "Show as table" } = {}) {
  const node = h("details", { class: "disclosure" }, h("summary", null, summary));
  const body = h("div", { class: "disclosure-body" });
  node.append(body);
  const fill = () => node.open && body.replaceChildren(make());
  node.addEventListener("toggle", fill);
  return { node, update: fill };
}
