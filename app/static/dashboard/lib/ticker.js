/** Once a second brings every age on the page up to date, by the hub's clock. */

import { serverNow } from "./clock.js";
import { setText } from "./dom.js";
import { age, duration, toDate } from "./format.js";

const TEXT = {
  age: (date, now) => age(date, now),
  elapsed: (date, now) => duration(Math.max(0, (now - toDate(date)) / 1000)),
};

/** Write the text of one <time data-tick="age|elapsed">. */
export function renderTick(node) {
  const text = TEXT[node.dataset.tick];
  if (text && node.dateTime) setText(node, text(node.dateTime, serverNow()));
}

/** Begin; once a page. */
export function startTicker() {
  setInterval(() => {
    if (!document.hidden) document.querySelectorAll("time[data-tick]").forEach(renderTick);
  }, 1000);
}
