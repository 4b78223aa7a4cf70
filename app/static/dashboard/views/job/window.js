/** The part of a run that a chart shows, `{from, to}` in elapsed seconds. Pure. */

export const SHORTEST = 10; // seconds; updates are 5 apart

/** The window that shows `share` times as much around `centre` (0 to 1 of it), within 0 to `end`. */
export function zoomed(window, share, end, centre = 0.5) {
  const span = window.to - window.from;
  const wanted = Math.min(Math.max(span * share, SHORTEST), Math.max(end, SHORTEST));
  const at = window.from + span * centre;
  return within({ from: at - wanted * centre, to: at + wanted * (1 - centre) }, end);
}

/** The window moved by `share` of its length, within the run. */
export function panned(window, share, end) {
  const by = (window.to - window.from) * share;
  return within({ from: window.from + by, to: window.to + by }, end);
}

/** The window moved into 0 to `end`, cut where it is longer. */
export function within({ from, to }, end) {
  const span = Math.min(to - from, Math.max(end, SHORTEST));
  const start = Math.min(Math.max(from, 0), Math.max(end - span, 0));
  return { from: start, to: start + span };
}

/** Null if it shows all of the run: a live chart then goes on growing. */
export function unlessWhole(window, end) {
  return window.from <= 0.5 && window.to >= end - 0.5 ? null : window;
}

/** From the query's texts; null unless both are numbers in order. */
export function parseWindow(from, to) {
  const window = { from: Number.parseFloat(from), to: Number.parseFloat(to) };
  return window.from >= 0 && window.to - window.from >= 1 && Number.isFinite(window.to)
    ? window
    : null;
}

/** For the query: tenths of a second. */
export function windowQuery(window) {
  const text = (seconds) => String(Math.round(seconds * 10) / 10);
  return { from: window && text(window.from), to: window && text(window.to) };
}

/** For the API: instants. The hub widens them to whole steps. */
export function windowParams(window, startedAt) {
  if (!window) return {};
  const at = (seconds) => new Date(Date.parse(startedAt) + seconds * 1000).toISOString();
  return { from: at(window.from), to: at(window.to) };
}
