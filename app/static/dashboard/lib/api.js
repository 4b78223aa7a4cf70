/** Calls the hub's JSON API, caches responses by their ETag, and tracks whether the hub responds. */

import { isClockKnown, serverNow, updateClock } from "./clock.js";
import { apiUrl } from "./urls.js";

export { serverNow };

const TIMEOUT_MS = 10_000;
const CACHE_CHARACTERS = 4_000_000; // of response bodies; the oldest are dropped first
const UNAVAILABLE = new Set([502, 503, 504]);

/** An error response, from its problem+json; `status` is 0 if the hub did not respond. */
export class ApiError extends Error {
  /** @param {{status: number, title?: string, detail?: string, errors?: object}} problem */
  constructor(problem) {
    super(problem.detail ?? problem.title ?? "The hub could not be reached.");
    this.name = "ApiError";
    this.status = problem.status ?? 0;
    this.title = problem.title ?? "The hub does not respond";
    this.detail = this.message;
    this.errors = problem.errors ?? {};
  }
}

/**
 * Whether the hub or its database is unavailable: the request is repeated, and the banner says so.
 * @param {unknown} error
 */
export const isUnavailable = (error) =>
  error instanceof ApiError && (error.status === 0 || UNAVAILABLE.has(error.status));

/** @param {unknown} error */
export const isNotFound = (error) => error instanceof ApiError && error.status === 404;

/** The message for the user. @param {unknown} error */
export const errorText = (error) => (error instanceof ApiError ? error.detail : String(error));

/**
 * @typedef {object} Response `notModified`: `data` is the same object as in the last response
 * @property {any} data
 * @property {number} status
 * @property {boolean} notModified
 * @property {Date} serverNow
 */

/**
 * GET an address of the API. Throws ApiError, or an AbortError if `signal` was aborted.
 * @param {string} path below /api/v1, with encoded ids: `/jobs/${encodeURIComponent(id)}`
 * @param {Query} [params] empty ones are left out
 * @param {{signal?: AbortSignal}} [options]
 * @returns {Promise<Response>}
 */
export async function get(path, params = {}, { signal } = {}) {
  const url = apiUrl(path, params);
  const early = prefetched.get(url);
  if (early) {
    prefetched.delete(url);
    return early;
  }
  const known = cache.get(url);
  /** @type {Record<string, string>} */
  const headers = { Accept: "application/json" };
  if (known) headers["If-None-Match"] = known.etag;
  // no-store: the browser's cache would turn every 304 into a 200, to be parsed again.
  const { response, text } = await send(url, { headers, cache: "no-store" }, signal);
  if (response.status === 401) signIn();
  if (response.status === 304 && known) {
    store(url, known);
    return { data: known.data, status: 304, notModified: true, serverNow: serverNow() };
  }
  const data = read(response, text);
  const etag = response.headers.get("ETag");
  if (etag) store(url, { etag, data, size: text.length });
  return { data, status: response.status, notModified: false, serverNow: serverNow() };
}

/**
 * POST a body to an address of the API; returns the response's body. Throws ApiError.
 * @param {string} path
 * @param {object} body
 */
export async function post(path, body) {
  const headers = { Accept: "application/json", "Content-Type": "application/json" };
  const init = { method: "POST", headers, body: JSON.stringify(body) };
  const { response, text } = await send(apiUrl(path), init);
  return read(response, text);
}

/**
 * Throws ApiError if the hub does not respond, or an AbortError.
 * @param {string} url
 * @param {RequestInit} init
 * @param {AbortSignal} [signal]
 */
async function send(url, init, signal) {
  const sentAt = performance.now();
  try {
    const response = await fetch(url, { ...init, signal: withTimeout(signal) });
    updateClock(response.headers.get("Date"), sentAt, performance.now());
    const text = response.status === 304 ? "" : await response.text();
    setConnection(!UNAVAILABLE.has(response.status));
    return { response, text };
  } catch (error) {
    if (signal?.aborted) throw error;
    setConnection(false);
    throw new ApiError({ status: 0, detail: "The hub could not be reached." });
  }
}

/** The body of a response. Throws ApiError. @param {globalThis.Response} response @param {string} text */
function read(response, text) {
  const data = parse(text);
  if (!response.ok) throw new ApiError({ ...data, status: response.status });
  if (data === undefined) {
    const detail = "The hub's response is not valid JSON.";
    throw new ApiError({ status: response.status, detail });
  }
  return data;
}

/**
 * Requests sent early, by address. Each is used once.
 * @type {Map<string, Promise<Response>>}
 */
const prefetched = new Map();

/**
 * Sends a request early; the next `get` of the same address returns its response.
 * @param {string} path
 * @param {Query} params
 */
export function prefetch(path, params) {
  const response = get(path, params);
  response.catch(() => {}); // reported by the `get` that uses it
  prefetched.set(apiUrl(path, params), response);
}

let isReloading = false;

/** The token has expired: the reloaded page redirects to the sign-in page, which leads back here. */
function signIn() {
  if (!isReloading) location.reload();
  isReloading = true;
}

/** @typedef {{etag: string, data: any, size: number}} CacheEntry */
/**
 * Response bodies by their address, the least recently used first.
 * @type {Map<string, CacheEntry>}
 */
const cache = new Map();
let cachedCharacters = 0;

/** @param {string} url @param {CacheEntry} entry */
function store(url, entry) {
  cachedCharacters += entry.size - (cache.get(url)?.size ?? 0);
  cache.delete(url);
  cache.set(url, entry);
  for (const [oldest, { size }] of cache) {
    if (cachedCharacters <= CACHE_CHARACTERS || oldest === url) break;
    cache.delete(oldest);
    cachedCharacters -= size;
  }
}

/** @param {string} text */
function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** @param {AbortSignal | undefined} signal */
function withTimeout(signal) {
  const timeout = AbortSignal.timeout(TIMEOUT_MS);
  return signal ? AbortSignal.any([signal, timeout]) : timeout;
}

/**
 * @typedef {{ok: boolean, since: Date | null}} Connection `since` is the time of the last response
 *   before the connection was lost, by the hub's clock; null while connected or if there was none
 */

/** @type {Connection} */
let connection = { ok: true, since: null };
/** @type {Date | null} */
let lastResponseAt = null;
/** @type {Set<(connection: Connection) => void>} */
const listeners = new Set();

/**
 * Calls `fn` now and whenever the connection is lost or restored.
 * @param {(connection: Connection) => void} fn
 * @returns {() => void} stops that
 */
export function onConnection(fn) {
  listeners.add(fn);
  fn(connection);
  return () => listeners.delete(fn);
}

export const connectionState = () => connection;

/** @param {boolean} ok */
function setConnection(ok) {
  if (ok) lastResponseAt = serverNow();
  if (ok === connection.ok) return;
  connection = { ok, since: !ok && isClockKnown() ? lastResponseAt : null };
  for (const fn of [...listeners]) fn(connection);
}
