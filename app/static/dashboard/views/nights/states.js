/** What a day of a series may be: as a mark, a colour and a word. */

import { lookColour, statusIcon } from "../../components/status.js";
import { h, svg } from "../../lib/dom.js";

/** In the order of the legend. @type {NightState[]} */
export const NIGHT_STATES = [
  "good",
  "warning",
  "failed",
  "missing",
  "running",
  "stalled",
  "cancelled",
];

/** @type {Record<NightState, string>} */
const LOOKS = {
  good: "completed",
  warning: "warning",
  failed: "failed",
  missing: "failed",
  running: "running",
  stalled: "stalled",
  cancelled: "cancelled",
};
const QUESTION =
  "M5 5.6C5 3.7 6.3 2.5 8.1 2.5S11.2 3.6 11.2 5.3c0 1.4-.8 2.1-1.6 2.8-.6.5-.7.7-.7 1.5H7.1c0-1.6.5-2.2 1.3-2.9.7-.6 1-.9 1-1.4 0-.6-.5-1.1-1.3-1.1s-1.3.5-1.3 1.4zM7 11h2v2.3H7z";

/** The tokens of the colour of a state. @param {NightState} state */
export const stateColour = (state) => lookColour(LOOKS[state]);

/** @param {NightState | null} state */
export const stateText = (state) => {
  if (state === null) return "nothing expected";
  return state === "warning" ? "with a warning" : state;
};

/** @param {NightState} state */
export function stateIcon(state) {
  if (state !== "missing") return statusIcon(LOOKS[state]);
  return svg(
    "svg",
    { class: "status-icon", viewBox: "0 0 16 16", "aria-hidden": "true", focusable: "false" },
    svg("path", { d: QUESTION, "fill-rule": "evenodd" }),
  );
}

/** How often each state is among some. @param {(NightState | null)[]} states */
export function countStates(states) {
  /** @type {Record<NightState, number>} */
  const counts = {
    good: 0,
    warning: 0,
    failed: 0,
    missing: 0,
    running: 0,
    stalled: 0,
    cancelled: 0,
  };
  for (const state of states) if (state) counts[state] += 1;
  return counts;
}

/** What the marks of the matrix mean. */
export function legend() {
  return h(
    "ul",
    { class: "night-legend small", "aria-label": "Legend" },
    NIGHT_STATES.map((state) =>
      h(
        "li",
        null,
        h(
          "span",
          { class: "night", dataset: { state, look: stateColour(state) } },
          stateIcon(state),
        ),
        stateText(state),
      ),
    ),
    h("li", null, h("span", { class: "night" }), stateText(null)),
    h("li", { class: "muted" }, "Stronger colour: more bytes, compared with other days of the row"),
  );
}

/** "db1 · backup · repo-a". @param {NightsItem} item */
export const seriesName = (item) =>
  [item.vm_name ?? item.job_id, item.job_type, item.repository_id, item.backup_type]
    .filter(Boolean)
    .join(" · ");
