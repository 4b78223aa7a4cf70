/** What stands where there is nothing to show: yet, at all, or because of an error. */

import { ApiError } from "../lib/api.js";
import { h } from "../lib/dom.js";

/** @param {string} [what] "Loading jobs …" @returns {HTMLElement} */
export function loading(what = "Loading …") {
  return h(
    "div",
    { class: "state state-loading", role: "status" },
    h("span", { class: "spinner", "aria-hidden": "true" }),
    h("p", null, what),
  );
}

/**
 * @param {string} title what is not there
 * @param {string} [detail] why, and what to do
 * @param {...Node} actions links or buttons
 * @returns {HTMLElement}
 */
export function emptyState(title, detail = "", ...actions) {
  return h(
    "div",
    { class: "state state-empty" },
    h("p", { class: "state-title" }, title),
    detail && h("p", null, detail),
    actions.length > 0 && h("p", { class: "state-actions" }, actions),
  );
}

/**
 * @param {Error} error an ApiError's own words are shown
 * @param {function(): void} [retry] adds a button
 * @returns {HTMLElement}
 */
export function errorState(error, retry) {
  const known = error instanceof ApiError;
  return h(
    "div",
    { class: "state state-error", role: "alert" },
    h(
      "p",
      { class: "state-title" },
      known && error.status
        ? error.title
        : known
          ? "The hub does not answer"
          : "This could not be shown",
    ),
    h("p", null, known ? error.detail : String(error?.message ?? error)),
    retry &&
      h(
        "p",
        { class: "state-actions" },
        h("button", { type: "button", class: "button", on: { click: retry } }, "Try again"),
      ),
  );
}
