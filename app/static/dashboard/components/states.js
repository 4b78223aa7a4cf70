/** Placeholders for content that is loading, empty or failed. */

import { ApiError } from "../lib/api.js";
import { h } from "../lib/dom.js";

/** @param {string} [what] such as "Loading jobs …" */
export function loading(what = "Loading …") {
  return h(
    "div",
    { class: "state state-loading", role: "status" },
    h("span", { class: "spinner", "aria-hidden": "true" }),
    h("p", null, what),
  );
}

/**
 * @param {string} title
 * @param {string} [detail] why, and what to do
 * @param {...Node} actions links or buttons
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
 * @param {unknown} error an ApiError's title and detail are shown
 * @param {() => void} [retry] adds a button
 */
export function errorState(error, retry) {
  const { title, detail } =
    error instanceof ApiError
      ? error
      : { title: "An error occurred", detail: error instanceof Error ? error.message : `${error}` };
  return h(
    "div",
    { class: "state state-error", role: "alert" },
    h("p", { class: "state-title" }, title),
    h("p", null, detail),
    retry &&
      h(
        "p",
        { class: "state-actions" },
        h("button", { type: "button", class: "button", on: { click: retry } }, "Try again"),
      ),
  );
}
