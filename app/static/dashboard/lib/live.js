/** Keeps a part of a page up to date while somebody can see it. */

import { connectionState, onConnection } from "./api.js";

const SLOWEST_MS = 10_000;

/**
 * Run `refresh` now, and again `every` ms after it ended; not in a hidden tab, more and more seldom
 * while the hub is away, and at once when it is back or the tab is seen again.
 * @param {function({signal: AbortSignal, first: boolean}): Promise<any>} refresh fetches and renders;
 *   `first` until it has once succeeded. What it throws goes to `onError` unless it was aborted.
 * @param {{every?: number, onError?: function(Error, {first: boolean}): void}} [options]
 * @returns {{stop: function(): void, refresh: function(): Promise<void>}} `refresh` drops a run
 *   under way and runs anew
 */
export function live(refresh, { every = 2000, onError = report } = {}) {
  let timer = 0;
  let running = null;
  let first = true;
  let failures = 0;
  let stopped = false;

  async function run() {
    clearTimeout(timer);
    running?.abort();
    const mine = (running = new AbortController());
    try {
      await refresh({ signal: mine.signal, first });
      if (mine.signal.aborted) return;
      first = false;
      failures = 0;
    } catch (error) {
      if (mine.signal.aborted) return;
      failures += 1;
      onError(error, { first });
    }
    running = null;
    plan();
  }

  function plan() {
    clearTimeout(timer);
    if (stopped || document.hidden) return;
    timer = setTimeout(
      run,
      Math.min(every * 2 ** Math.min(failures, 6), Math.max(every, SLOWEST_MS)),
    );
  }

  function seen() {
    if (document.hidden) clearTimeout(timer);
    else if (!running) run();
  }

  document.addEventListener("visibilitychange", seen);
  const forget = onConnection(({ ok }) => {
    if (ok && failures && !running) run();
  });
  run();
  return {
    refresh: () => (stopped ? Promise.resolve() : run()),
    stop() {
      stopped = true;
      clearTimeout(timer);
      running?.abort();
      forget();
      document.removeEventListener("visibilitychange", seen);
    },
  };
}

/** A hub that is away is the banner's to tell; anything else is ours to mend. */
function report(error) {
  if (connectionState().ok && !error.isAway) console.error(error);
}
