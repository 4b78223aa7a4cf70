/** What stands around the chart of a run: its buttons, choices and legend. */

import { LAYERS } from "../../charts/speed.js";
import { h, replace } from "../../lib/dom.js";
import { count } from "../../lib/format.js";

const LAYER_NAMES = {
  band: "Lowest to highest",
  mean: "Mean",
  progress: "Progress",
  phases: "Phases",
};

/** The text of a whole number within bounds, else null: anyone can write an address. */
export function wholeNumber(text, least, most) {
  const number = /^\d{1,4}$/.test(text ?? "") ? Number(text) : NaN;
  return number >= least && number <= most ? String(number) : null;
}

/** A button that shows `sign` and is called `label`; without a sign it shows that. */
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

/** A choice: `{node, fill(options, selected)}`, options `[value, name]`. */
export function select(label, onChange) {
  const field = h("select", { class: "select", on: { change: () => onChange(field.value) } });
  let filledWith = "";
  return {
    node: h("label", { class: "labelled" }, h("span", null, label), field),
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

/** How many points may be asked for; `chosen` is offered whatever it is. */
export function pointChoices(chosen) {
  const offered = ["1000", "5000"];
  if (chosen && !offered.includes(chosen)) offered.push(chosen);
  return [["", "To fit"], ...offered.map((number) => [number, count(Number(number))])];
}

/** What the marks mean, and switches for those that can be left out. */
export function legend(shown, draw) {
  const toggle = (layer) =>
    h(
      "button",
      {
        type: "button",
        class: "legend-item",
        "aria-pressed": "true",
        on: {
          click: ({ currentTarget }) => {
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
    { class: "legend", role: "group", "aria-label": "What the chart shows" },
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
  const item = (layer) => node.children[1 + LAYERS.indexOf(layer)];
  return { node, band: item("band"), mean: item("mean").lastChild };
}
