/** A text with a button that copies it. */

import { h, replace, setText, svg } from "../lib/dom.js";

// In a square of 16, in lines: two sheets, a tick, a cross. A font may have no such signs.
const SHAPES = {
  copy: "M5.5 5.5h8v8h-8zM10.5 5.5v-3h-8v8h3",
  done: "M2.5 8.5l3.5 3.5 7.5-8",
  failed: "M3 3l10 10M13 3L3 13",
};

/**
 * @param {string} text what is copied
 * @param {{label?: string, shown?: Node|string}} [options] `label` names it in the button's name;
 *   `shown` stands instead of the text
 * @returns {HTMLElement}
 */
export function copyable(text, { label = "text", shown = text } = {}) {
  const said = h("span", { class: "visually-hidden", role: "status" });
  const button = h(
    "button",
    {
      type: "button",
      class: "copy",
      "aria-label": `Copy ${label}`,
      title: `Copy ${label}`,
      on: { click: copy },
    },
    icon("copy"),
  );
  async function copy() {
    const done = await write(text);
    replace(button, icon(done ? "done" : "failed"));
    setText(said, done ? "Copied" : "Copying failed");
    setTimeout(() => {
      replace(button, icon("copy"));
      setText(said, "");
    }, 1500);
  }
  return h(
    "span",
    { class: "copyable" },
    h("bdi", { class: "copyable-text" }, shown),
    button,
    said,
  );
}

function icon(name) {
  return svg(
    "svg",
    { class: "copy-icon", viewBox: "0 0 16 16", "aria-hidden": "true", focusable: "false" },
    svg("path", { d: SHAPES[name] }),
  );
}

/** navigator.clipboard is there only on https and localhost. */
async function write(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = h("textarea", { class: "visually-hidden", "aria-hidden": "true", value: text });
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    return done;
  }
}
