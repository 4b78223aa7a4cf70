/** The buttons, choices and legend around the chart of a run. */

import { LAYERS } from "../../charts/speed.js";
import { childElements, h, replace } from "../../lib/dom.js";
import { count } from "../../lib/format.js";

/** @type {Record<Layer, string>} */
const LAYER_NAMES = {
  band: "Lowest to highest",
  mean: "Mean",
  progress: "Progress",
  phases: "Phases",
};

/**
 * The text of a whole number within bounds, else null.
 * @param {string | null} text from the address
 * @param {number} least
 * @param {number} most
 */
export function wholeNumber(text, least, most) {
  const number = /^\d{1,4}$/.test(text ?? "") ? Number(text) : NaN;
  return number >= least && number <= most ? String(number) : null;
}

/**
 * A button that shows `sign`, or `label` without one.
 * @param {string} label
 * @param {string | null} sign
 * @param {() => void} onClick
 */
export function button(label, sign, onClick) {
  return h(
    "button",
    {
      type: "button",
      class: "button",
      "aria-label": sign && label,
      title: sign && label,
      on: { click: onClick },
    },
    sign ?? label,
  );
}

/** A select element with its label. @param {string} label @param {(value: string) => void} onChange */
export function select(label, onChange) {
  const field = h("select", { class: "select", on: { change: () => onChange(field.value) } });
  let filledWith = "";
  return {
    node: h("label", { class: "labelled" }, h("span", null, label), field),
    /** @param {[string, string][]} options values and names @param {string} selected */
    fill(options, selected) {
      const text = JSON.stringify(options);
      if (text !== filledWith) {
        replace(
          field,
          options.map(([value, name]) => h("option", { value }, name)),
        );
        filledWith = text;
      }
      field.value = selected;
    },
  };
}

/**
 * The choices of the number of points, including `chosen`.
 * @param {string | null} chosen
 * @returns {[string, string][]}
 */
export function pointChoices(chosen) {
  const offered = ["1000", "5000"];
  if (chosen && !offered.includes(chosen)) offered.push(chosen);
  const numbers = offered.map((n) => /** @type {[string, string]} */ ([n, count(Number(n))]));
  return [["", "Automatic"], ...numbers];
}

/**
 * The legend, with switches for the optional layers.
 * @param {Record<Layer, boolean>} shown
 * @param {() => void} draw
 */
export function legend(shown, draw) {
  const toggle = (/** @type {Layer} */ layer) =>
    h(
      "button",
      {
        type: "button",
        class: "legend-item",
        "aria-pressed": "true",
        on: {
          click: (/** @type {{currentTarget: HTMLElement}} */ { currentTarget }) => {
            shown[layer] = !shown[layer];
            currentTarget.setAttribute("aria-pressed", String(shown[layer]));
            draw();
          },
        },
      },
      h("span", { class: `swatch swatch-${layer}`, "aria-hidden": "true" }),
      h("span", { class: "num" }, LAYER_NAMES[layer]),
    );
  const node = h(
    "div",
    { class: "legend", role: "group", "aria-label": "Layers of the chart" },
    h(
      "span",
      { class: "legend-item is-fixed" },
      h("span", { class: "swatch swatch-speed", "aria-hidden": "true" }),
      "Speed",
    ),
    LAYERS.map(toggle),
    h(
      "span",
      { class: "legend-item is-fixed" },
      h("span", { class: "swatch swatch-gap", "aria-hidden": "true" }),
      "Gap",
    ),
  );
  const item = (/** @type {Layer} */ layer) => childElements(node)[1 + LAYERS.indexOf(layer)];
  return { node, band: item("band"), mean: childElements(item("mean"))[1] };
}
