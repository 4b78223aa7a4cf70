/** Keeps a part of a page up to date while it is visible. */

import { connectionState, isUnavailable, onConnection } from "./api.js";

const SLOWEST_MS = 10_000;

/** @typedef {(error: unknown, context: {first: boolean}) => void} ErrorHandler */
/**
 * @typedef {object} Live
 * @property {() => void} stop
 * @property {() => Promise<void>} refresh aborts a running refresh and starts another
 */

/**
 * Runs `refresh` now, and again `every` ms after it ended: not in a hidden tab, with growing
 * intervals while it fails, and at once when the hub responds again or the tab becomes visible.
 * @param {(context: RefreshContext) => Promise<unknown>} refresh fetches and renders; `first` until
 *   it has succeeded once. Its errors go to `onError` unless it was aborted.
 * @param {{every?: number, onError?: ErrorHandler}} [options]
 * @returns {Live}
 */
export function live(refresh, { every = 2000, onError = report } = {}) {
  /** @type {number | undefined} */
  let timer;
  /** @type {AbortController | null} */
  let running = null;
  let first = true;
  let failures = 0;
  let stopped = false;

  async function run() {
    clearTimeout(timer);
    running?.abort();
    running = new AbortController();
    const { signal } = running;
    try {
      await refresh({ signal, first });
      if (signal.aborted) return;
      first = false;
      failures = 0;
    } catch (error) {
      if (signal.aborted) return;
      failures += 1;
      onError(error, { first });
    }
    running = null;
    schedule();
  }

  function schedule() {
    clearTimeout(timer);
    if (stopped || document.hidden) return;
    timer = setTimeout(
      run,
      Math.min(every * 2 ** Math.min(failures, 6), Math.max(every, SLOWEST_MS)),
    );
  }

  function onVisibility() {
    if (document.hidden) clearTimeout(timer);
    else if (!running) run();
  }

  document.addEventListener("visibilitychange", onVisibility);
  const stopListening = onConnection(({ ok }) => {
    if (ok && failures && !running) run();
  });
  run();
  return {
    refresh: () => (stopped ? Promise.resolve() : run()),
    stop() {
      stopped = true;
      clearTimeout(timer);
      running?.abort();
      stopListening();
      document.removeEventListener("visibilitychange", onVisibility);
    },
  };
}

/** The banner reports a hub that does not respond; any other error is a bug. @type {ErrorHandler} */
function report(error) {
  if (connectionState().ok && !isUnavailable(error)) console.error(error);
}
