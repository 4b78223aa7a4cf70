/** Zooms a chart by pointer: drag over a part of it, or use the wheel with Ctrl. */

import { h } from "../../lib/dom.js";

const LEAST_PIXELS = 8; // less is a click
const WHEEL_STEP = 0.8;

/**
 * Listens on the slot of a chart. `window` returns the visible part, `zoom` shows another. Buttons
 * offer the same. Returns a function that stops it.
 * @param {import("./figure.js").ChartFigure} figure
 * @param {{window: () => Span, zoom: (window: Span) => void}} options
 */
export function enableZoom(figure, { window, zoom }) {
  const slot = figure.canvasSlot;
  /** @type {number | null} */
  let from = null;
  /** @type {HTMLElement | null} */
  let mark = null;

  const place = (/** @type {MouseEvent} */ event) =>
    event.clientX - slot.getBoundingClientRect().left;
  const valueAt = (/** @type {number} */ x) => figure.chart()?.valueAt(x) ?? 0;

  /** @param {PointerEvent} event */
  function down(event) {
    if (event.button !== 0 || !figure.chart()) return;
    from = place(event);
    slot.setPointerCapture(event.pointerId);
  }

  /** @param {PointerEvent} event */
  function move(event) {
    if (from === null) return;
    const [left, right] = [from, place(event)].sort((a, b) => a - b);
    if (right - left < LEAST_PIXELS && !mark) return;
    if (!mark) {
      mark = h("div", { class: "zoom-mark" });
      slot.append(mark);
    }
    mark.style.setProperty("left", `${left}px`);
    mark.style.setProperty("width", `${right - left}px`);
  }

  /** @param {PointerEvent} event */
  function up(event) {
    if (from === null) return;
    const [left, right] = [from, place(event)].sort((a, b) => a - b);
    cancel();
    if (right - left < LEAST_PIXELS) return;
    const shown = window();
    const inside = (/** @type {number} */ value) => Math.min(Math.max(value, shown.from), shown.to);
    const next = { from: inside(valueAt(left)), to: inside(valueAt(right)) };
    if (next.to - next.from > 0.1) zoom(atLeast(next));
  }

  function cancel() {
    from = null;
    mark?.remove();
    mark = null;
  }

  /** @param {WheelEvent} event */
  function wheel(event) {
    // Without Ctrl the wheel scrolls the page, also over the chart.
    if (!(event.ctrlKey || event.metaKey) || !figure.chart()) return;
    event.preventDefault();
    const shown = window();
    const span = shown.to - shown.from;
    const centre = Math.min(Math.max((valueAt(place(event)) - shown.from) / span, 0), 1);
    const next = span * (event.deltaY < 0 ? WHEEL_STEP : 1 / WHEEL_STEP);
    const at = shown.from + span * centre;
    zoom(atLeast({ from: at - next * centre, to: at + next * (1 - centre) }));
  }

  /** @type {Record<string, (event: any) => void>} */
  const listeners = {
    pointerdown: down,
    pointermove: move,
    pointerup: up,
    pointercancel: cancel,
    dblclick: () => zoom({ from: 0, to: Infinity }),
  };
  for (const [name, listener] of Object.entries(listeners)) slot.addEventListener(name, listener);
  slot.addEventListener("wheel", wheel, { passive: false });
  return () => {
    for (const [name, listener] of Object.entries(listeners))
      slot.removeEventListener(name, listener);
    slot.removeEventListener("wheel", wheel);
  };
}

const SHORTEST = 10;

/** The window, widened around its centre to the shortest useful one. @param {Span} window */
function atLeast({ from, to }) {
  const missing = Math.max(SHORTEST - (to - from), 0) / 2;
  return { from: from - missing, to: to + missing };
}
