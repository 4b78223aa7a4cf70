/** Updates every age on the page once a second, by the hub's clock. */

import { serverNow } from "./clock.js";
import { setText } from "./dom.js";
import { age, duration } from "./format.js";

/** @type {Record<string, (instant: string, now: Date) => string>} */
const TEXT = {
  age: (instant, now) => age(instant, now),
  elapsed: (instant, now) => duration(Math.max(0, (now.getTime() - Date.parse(instant)) / 1000)),
};

/** Writes the text of one <time data-tick="age|elapsed">. @param {HTMLTimeElement} node */
export function renderTick(node) {
  const text = TEXT[node.dataset.tick ?? ""];
  if (text && node.dateTime) setText(node, text(node.dateTime, serverNow()));
}

/** To be called once per page. */
export function startTicker() {
  setInterval(() => {
    if (document.hidden) return;
    /** @type {NodeListOf<HTMLTimeElement>} */
    const ticking = document.querySelectorAll("time[data-tick]");
    for (const node of ticking) renderTick(node);
  }, 1000);
}
