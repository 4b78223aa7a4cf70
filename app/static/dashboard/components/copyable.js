/** A text with a button that copies it. */

import { h, replace, setText, svg } from "../lib/dom.js";

// Lines in a square of 16: two sheets, a tick, a cross. Fonts may lack such symbols.
const SHAPES = {
  copy: "M5.5 5.5h8v8h-8zM10.5 5.5v-3h-8v8h3",
  done: "M2.5 8.5l3.5 3.5 7.5-8",
  failed: "M3 3l10 10M13 3L3 13",
};

/**
 * @param {string} text is copied
 * @param {{label?: string, shown?: Node | string}} [options] `label` is part of the button's name;
 *   `shown` is displayed instead of the text
 * @returns {HTMLElement}
 */
export function copyable(text, { label = "text", shown = text } = {}) {
  const status = h("span", { class: "visually-hidden", role: "status" });
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
    setText(status, done ? "Copied" : "Copying failed");
    setTimeout(() => {
      replace(button, icon("copy"));
      setText(status, "");
    }, 1500);
  }
  return h(
    "span",
    { class: "copyable" },
    h("bdi", { class: "copyable-text" }, shown),
    button,
    status,
  );
}

/** @param {keyof typeof SHAPES} name */
function icon(name) {
  return svg(
    "svg",
    { class: "copy-icon", viewBox: "0 0 16 16", "aria-hidden": "true", focusable: "false" },
    svg("path", { d: SHAPES[name] }),
  );
}

/** navigator.clipboard exists only on https and localhost. @param {string} text */
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
