/** Asks the hub's JSON API, keeps what it answered with its ETag, and knows whether it is there. */

import { apiUrl } from "./base.js";
import { knowsClock, learnClock, serverNow } from "./clock.js";

export { serverNow };

const TIMEOUT_MS = 10_000;
const KEPT_CHARACTERS = 4_000_000; // of bodies kept for their ETag; the oldest go first
const AWAY = new Set([502, 503, 504]);

/** An answer that is an error, by its problem+json; `status` 0 where the hub did not answer. */
export class ApiError extends Error {
  /** @param {{status: number, title?: string, detail?: string, errors?: Object}} problem */
  constructor(problem) {
    super(problem.detail ?? problem.title ?? "The hub could not be reached.");
    this.name = "ApiError";
    this.status = problem.status ?? 0;
    this.title = problem.title ?? "The hub did not answer";
    this.detail = this.message;
    this.errors = problem.errors ?? {};
  }

  /** The hub or its database is away: it will be tried again, and the banner says so. */
  get isAway() {
    return this.status === 0 || AWAY.has(this.status);
  }

  get isNotFound() {
    return this.status === 404;
  }
}

/**
 * GET an address of the API.
 * @param {string} path below /api/v1, ids in it encoded: `/jobs/${encodeURIComponent(id)}`
 * @param {Object<string, string|number|null|undefined>} [params] empty ones are left out
 * @param {{signal?: AbortSignal}} [options]
 * @returns {Promise<{data: any, status: number, notModified: boolean, serverNow: Date}>}
 *   `notModified`: the very object of the last answer to this address.
 * @throws {ApiError}; an AbortError when `signal` was aborted
 */
export async function get(path, params = {}, { signal } = {}) {
  const url = apiUrl(path, params);
  const asked = ahead.get(url);
  if (ahead.delete(url)) return asked;
  const known = kept.get(url);
  const headers = { Accept: "application/json" };
  if (known) headers["If-None-Match"] = known.etag;
  const sentAt = performance.now();
  let response;
  let text;
  try {
    // no-store: the browser's own cache would turn every 304 into a 200 and parse it again.
    response = await fetch(url, { headers, cache: "no-store", signal: withTimeout(signal) });
    learnClock(response.headers.get("Date"), sentAt, performance.now());
    text = response.status === 304 ? "" : await response.text();
  } catch (error) {
    if (signal?.aborted) throw error;
    setConnection(false);
    throw new ApiError({ status: 0, detail: "The hub could not be reached." });
  }
  setConnection(!AWAY.has(response.status));
  if (response.status === 401) signIn();
  if (response.status === 304 && known) {
    keep(url, known);
    return { data: known.data, status: 304, notModified: true, serverNow: serverNow() };
  }
  const data = parse(text);
  if (!response.ok) throw new ApiError({ ...data, status: response.status });
  if (data === undefined)
    throw new ApiError({ status: response.status, detail: "The hub's answer is no JSON." });
  const etag = response.headers.get("ETag");
  if (etag) keep(url, { etag, data, size: text.length });
  return { data, status: response.status, notModified: false, serverNow: serverNow() };
}

// Asked before anybody needed it, by address. Each is used once.
const ahead = new Map();

/** GET an address whose answer the next `get` of it is to find. */
export function askAhead(path, params) {
  const asked = get(path, params);
  asked.catch(() => {}); // it is told to whoever gets it
  ahead.set(apiUrl(path, params), asked);
}

let isLeaving = false;

/** The token has ended: loaded anew, the page leads to the sign-in page, and that back here. */
function signIn() {
  if (!isLeaving) location.reload();
  isLeaving = true;
}

// Bodies by their address, the least recently used first.

const kept = new Map();
let keptCharacters = 0;

function keep(url, entry) {
  keptCharacters += entry.size - (kept.get(url)?.size ?? 0);
  kept.delete(url);
  kept.set(url, entry);
  for (const [oldest, { size }] of kept) {
    if (keptCharacters <= KEPT_CHARACTERS || oldest === url) break;
    kept.delete(oldest);
    keptCharacters -= size;
  }
}

function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function withTimeout(signal) {
  const timeout = AbortSignal.timeout(TIMEOUT_MS);
  return signal ? AbortSignal.any([signal, timeout]) : timeout;
}

// The connection.

let connection = { ok: true, since: null };
let lastAnswerAt = null;
const listeners = new Set();

/**
 * Call `fn({ok, since})` now and whenever the hub goes away or comes back; `since` is the last
 * answer before it went (the hub's clock, null: there was none), or null while it is there.
 * @returns {function(): void} stop listening
 */
export function onConnection(fn) {
  listeners.add(fn);
  fn(connection);
  return () => listeners.delete(fn);
}

/** @returns {{ok: boolean, since: ?Date}} */
export const connectionState = () => connection;

function setConnection(ok) {
  if (ok) lastAnswerAt = serverNow();
  if (ok === connection.ok) return;
  connection = { ok, since: ok ? null : knowsClock() ? lastAnswerAt : null };
  for (const fn of [...listeners]) fn(connection);
}
