/** The history of a node as points of a line: what is missing is a gap, what is merely uneven is not. */

import { get, serverNow } from "./api.js";

export const OFFLINE_SECONDS = 180; // three snapshots missed
const MINUTE_MS = 60_000;

/**
 * GET the history of the last `seconds`, up to now: also of a node that is offline since.
 * @returns {Promise<{data: Object, notModified: boolean, from: number, to: number}>} seconds since 1970
 */
export async function fetchHistory(nodeId, { metrics, seconds, points, signal }) {
  // Whole minutes, so that the address is the same for a minute and its ETag is of use.
  const to = Math.ceil(serverNow().getTime() / MINUTE_MS) * 60;
  const from = to - seconds;
  const answer = await get(
    `/nodes/${encodeURIComponent(nodeId)}/history`,
    { metrics: metrics.join(","), points, from: instant(from), to: instant(to) },
    { signal },
  );
  return { ...answer, from, to };
}

/**
 * @param {Object} history as the API answers it
 * @param {string} metric
 * @param {number} [factor]
 * @returns {[number, ?number][]} ascending by time in seconds since 1970, a null in each gap
 */
export function linePoints({ series, resolution_seconds: step }, metric, factor = 1) {
  const most = Math.max(OFFLINE_SECONDS, 2.5 * step);
  const points = [];
  let before = null;
  series.t.forEach((t, index) => {
    const value = series[metric].mean[index];
    if (value === null) return;
    if (before !== null && t - before > most) points.push([(t + before) / 2, null]);
    points.push([t, value * factor]);
    before = t;
  });
  return points;
}

/** The points at even steps, for a sparkline: null where there was none for a while. */
export function evenValues(points, from, to, slots) {
  const step = (to - from) / slots;
  const values = Array(slots).fill(null);
  for (const [t, value] of points) {
    const slot = Math.floor((t - from) / step);
    if (value !== null && slot >= 0 && slot < slots) values[slot] = value;
  }
  // One empty slot between two others is a late snapshot.
  return values.map(
    (value, index) =>
      value ??
      (values[index + 1] === undefined || values[index + 1] === null
        ? null
        : (values[index - 1] ?? null)),
  );
}

/** @returns {?{now: number, mean: number, highest: number, lowest: number}} null: nothing was reported */
export function figures(points) {
  const values = points.map(([, value]) => value).filter((value) => value !== null);
  if (!values.length) return null;
  const sum = values.reduce((total, value) => total + value, 0);
  return {
    now: values.at(-1),
    mean: sum / values.length,
    highest: Math.max(...values),
    lowest: Math.min(...values),
  };
}

const instant = (seconds) => new Date(seconds * 1000).toISOString();
