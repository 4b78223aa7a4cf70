/** Tabs by the ARIA pattern: arrow keys, Home and End move the focus and select. */

import { h } from "../lib/dom.js";

let instances = 0;

/**
 * @typedef {object} TabsOptions
 * @property {string} label
 * @property {{id: string, label: string, panel: HTMLElement}[]} tabs panels become role=tabpanel
 * @property {string} selected
 * @property {(id: string) => void} [onSelect] called for the user's choice only
 */

/** @param {TabsOptions} options */
export function tabs({ label, tabs: all, selected, onSelect }) {
  instances += 1;
  const prefix = `tabs-${instances}`;
  const buttons = all.map(({ id, label: text, panel }) => {
    Object.assign(panel, { id: `${prefix}-${id}-panel`, tabIndex: 0 });
    panel.setAttribute("role", "tabpanel");
    panel.setAttribute("aria-labelledby", `${prefix}-${id}`);
    panel.classList.add("tab-panel");
    return h(
      "button",
      {
        type: "button",
        role: "tab",
        class: "tab",
        id: `${prefix}-${id}`,
        "aria-controls": panel.id,
        on: { click: () => choose(id) },
      },
      text,
    );
  });
  const list = h(
    "div",
    { class: "tab-list", role: "tablist", "aria-label": label, on: { keydown: move } },
    buttons,
  );

  /** @param {string} id */
  function select(id) {
    const known = all.some((tab) => tab.id === id) ? id : all[0].id;
    all.forEach((tab, index) => {
      const is = tab.id === known;
      buttons[index].setAttribute("aria-selected", String(is));
      buttons[index].tabIndex = is ? 0 : -1;
      tab.panel.hidden = !is;
    });
    return known;
  }

  /** @param {string} id */
  function choose(id) {
    onSelect?.(select(id));
  }

  /** @param {KeyboardEvent} event */
  function move(event) {
    const at = buttons.indexOf(/** @type {HTMLButtonElement} */ (document.activeElement));
    /** @type {Record<string, number>} */
    const targets = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: -1 };
    if (!(event.key in targets) || at < 0) return;
    event.preventDefault();
    const to = (targets[event.key] + buttons.length) % buttons.length;
    buttons[to].focus();
    choose(all[to].id);
  }

  select(selected);
  return { node: h("div", { class: "tabs" }, list, ...all.map((tab) => tab.panel)), select };
}
