/** The history of a node as points of a line, with gaps where snapshots are missing. */

import { get, serverNow } from "./api.js";

export const OFFLINE_SECONDS = 180; // three snapshots missed
const MINUTE_MS = 60_000;

/**
 * From how many percent on a node is short of something: the hub's defaults for its list of what needs
 * attention (a rule may set others for a node).
 * @type {Record<string, {look: "warning" | "critical", from: number}[]>} the highest first
 */
export const LIMITS = {
  disk_percent: [
    { look: "critical", from: 95 },
    { look: "warning", from: 90 },
  ],
  memory_percent: [{ look: "warning", from: 95 }],
};

/**
 * How close to its limit a metric is; null if it is not.
 * @param {string} metric
 * @param {number | null | undefined} value
 */
export const limitReached = (metric, value) =>
  LIMITS[metric]?.find(({ from }) => (value ?? 0) >= from)?.look ?? null;

/** @typedef {{data: NodeHistory, notModified: boolean, from: number, to: number}} HistoryAnswer */

/**
 * GET the history of the last `seconds` up to now, also of an offline node.
 * @param {string} nodeId
 * @param {{metrics: string[], seconds: number, points: number, signal: AbortSignal}} options
 * @returns {Promise<HistoryAnswer>} `from` and `to` in seconds since 1970
 */
export async function fetchHistory(nodeId, { metrics, seconds, points, signal }) {
  // Whole minutes, so that the address and its ETag stay the same for a minute.
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
 * @param {NodeHistory} history
 * @param {string} metric
 * @param {number} [factor]
 * @returns {TimePoint[]} ascending by time, with a null in each gap
 */
export function linePoints({ series, resolution_seconds: step }, metric, factor = 1) {
  const most = Math.max(OFFLINE_SECONDS, 2.5 * step);
  /** @type {TimePoint[]} */
  const points = [];
  /** @type {number | null} */
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

/**
 * The points at even steps, for a sparkline, with null in gaps.
 * @param {TimePoint[]} points
 * @param {number} from
 * @param {number} to
 * @param {number} slots
 */
export function evenValues(points, from, to, slots) {
  const step = (to - from) / slots;
  /** @type {(number | null)[]} */
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

/**
 * The newest, mean, highest and lowest value; null without values.
 * @param {TimePoint[]} points
 */
export function figures(points) {
  const values = points.map(([, value]) => value).filter((value) => value !== null);
  if (!values.length) return null;
  const sum = values.reduce((total, value) => total + value, 0);
  return {
    now: values[values.length - 1],
    mean: sum / values.length,
    highest: Math.max(...values),
    lowest: Math.min(...values),
  };
}

/** @param {number} seconds */
const instant = (seconds) => new Date(seconds * 1000).toISOString();
