/** Tabs by the ARIA pattern: arrow keys, Home and End move, and what has focus is shown. */

import { h } from "../lib/dom.js";

let made = 0;

/**
 * @param {{label: string, tabs: {id: string, label: string, panel: HTMLElement}[], selected?: string,
 *   onSelect?: function(string): void}} options panels become role=tabpanel and all but one hidden;
 *   `onSelect` is called for the reader's own choice, not for `selected` or `select`
 * @returns {{node: HTMLElement, select: function(string): void}} `node` holds tab list and panels
 */
export function tabs({ label, tabs: all, selected, onSelect }) {
  const prefix = `tabs-${(made += 1)}`;
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

  function choose(id) {
    onSelect?.(select(id));
  }

  function move(event) {
    const steps = { ArrowRight: 1, ArrowLeft: -1, Home: -buttons.length, End: buttons.length };
    const at = buttons.indexOf(document.activeElement);
    if (!(event.key in steps) || at < 0) return;
    event.preventDefault();
    const jump = steps[event.key];
    const to =
      Math.abs(jump) === 1
        ? (at + jump + buttons.length) % buttons.length
        : jump < 0
          ? 0
          : buttons.length - 1;
    buttons[to].focus();
    choose(all[to].id);
  }

  select(selected);
  return { node: h("div", { class: "tabs" }, list, ...all.map((tab) => tab.panel)), select };
}
