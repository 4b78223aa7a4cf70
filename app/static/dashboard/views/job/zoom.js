/** Zooming a chart by pointer: drag over a part of it, or turn the wheel with Ctrl held. */

import { h } from "../../lib/dom.js";

const LEAST_PIXELS = 8; // less is a click
const WHEEL_STEP = 0.8;

/**
 * Listens on the slot of a `chartFigure`. `window()` is what is shown, `zoom(window)` shows another.
 * The same is there as buttons. Returns a function that stops it.
 */
export function enableZoom(figure, { window, zoom }) {
  const slot = figure.canvasSlot;
  let from = null;
  let mark = null;

  const place = (event) => event.clientX - slot.getBoundingClientRect().left;
  const valueAt = (x) => figure.chart().valueAt(x);

  function down(event) {
    if (event.button !== 0 || !figure.chart()) return;
    from = place(event);
    slot.setPointerCapture(event.pointerId);
  }

  function move(event) {
    if (from === null) return;
    const [left, right] = [from, place(event)].sort((a, b) => a - b);
    if (right - left < LEAST_PIXELS && !mark) return;
    if (!mark) slot.append((mark = h("div", { class: "zoom-mark" })));
    mark.style.setProperty("left", `${left}px`);
    mark.style.setProperty("width", `${right - left}px`);
  }

  function up(event) {
    if (from === null) return;
    const [left, right] = [from, place(event)].sort((a, b) => a - b);
    cancel();
    if (right - left < LEAST_PIXELS) return;
    const shown = window();
    const inside = (value) => Math.min(Math.max(value, shown.from), shown.to);
    const next = { from: inside(valueAt(left)), to: inside(valueAt(right)) };
    if (next.to - next.from > 0.1) zoom(atLeast(next));
  }

  function cancel() {
    from = null;
    mark?.remove();
    mark = null;
  }

  function wheel(event) {
    // Without a key the wheel scrolls the page, also above the chart.
    if (!(event.ctrlKey || event.metaKey) || !figure.chart()) return;
    event.preventDefault();
    const shown = window();
    const span = shown.to - shown.from;
    const centre = Math.min(Math.max((valueAt(place(event)) - shown.from) / span, 0), 1);
    const next = span * (event.deltaY < 0 ? WHEEL_STEP : 1 / WHEEL_STEP);
    const at = shown.from + span * centre;
    zoom(atLeast({ from: at - next * centre, to: at + next * (1 - centre) }));
  }

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

/** The window, widened around its middle to the shortest that makes sense. */
function atLeast({ from, to }) {
  const missing = Math.max(SHORTEST - (to - from), 0) / 2;
  return { from: from - missing, to: to + missing };
}
