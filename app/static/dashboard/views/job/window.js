/** The part of a run that a chart shows. Pure. */

export const SHORTEST = 10; // seconds; updates are 5 apart

/**
 * The window that shows `share` times as much around `centre` (0 to 1), within 0 to `end`.
 * @param {Span} window
 * @param {number} share
 * @param {number} end
 * @param {number} [centre]
 */
export function zoomed(window, share, end, centre = 0.5) {
  const span = window.to - window.from;
  const wanted = Math.min(Math.max(span * share, SHORTEST), Math.max(end, SHORTEST));
  const at = window.from + span * centre;
  return within({ from: at - wanted * centre, to: at + wanted * (1 - centre) }, end);
}

/**
 * The window moved by `share` of its length, within 0 to `end`.
 * @param {Span} window
 * @param {number} share
 * @param {number} end
 */
export function panned(window, share, end) {
  const by = (window.to - window.from) * share;
  return within({ from: window.from + by, to: window.to + by }, end);
}

/** The window moved into 0 to `end`, and cut if it is longer. @param {Span} window @param {number} end */
export function within({ from, to }, end) {
  const span = Math.min(to - from, Math.max(end, SHORTEST));
  const start = Math.min(Math.max(from, 0), Math.max(end - span, 0));
  return { from: start, to: start + span };
}

/**
 * The window, or null if it shows the whole run, so that a live chart continues to grow.
 * @param {Span} window
 * @param {number} end
 */
export function nullIfWhole(window, end) {
  return window.from <= 0.5 && window.to >= end - 0.5 ? null : window;
}

/**
 * The window in the query; null unless both are numbers in order.
 * @param {string | null} from
 * @param {string | null} to
 */
export function parseWindow(from, to) {
  const window = { from: Number.parseFloat(from ?? ""), to: Number.parseFloat(to ?? "") };
  return window.from >= 0 && window.to - window.from >= 1 && Number.isFinite(window.to)
    ? window
    : null;
}

/** The window for the query, in tenths of a second. @param {Span | null} window */
export function windowQuery(window) {
  const text = (/** @type {number} */ seconds) => String(Math.round(seconds * 10) / 10);
  return { from: window && text(window.from), to: window && text(window.to) };
}

/**
 * The window for the API, as instants. The hub widens them to whole steps.
 * @param {Span | null} window
 * @param {Instant} startedAt
 * @returns {Query}
 */
export function windowParams(window, startedAt) {
  if (!window) return {};
  const at = (/** @type {number} */ seconds) =>
    new Date(Date.parse(startedAt) + seconds * 1000).toISOString();
  return { from: at(window.from), to: at(window.to) };
}
