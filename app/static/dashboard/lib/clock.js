/**
 * The hub's clock, from the Date header of its answers. The browser's own clock may be wrong by
 * hours: it is never asked, only how much time has passed.
 */

let earliest = -Infinity; // bounds of (hub's clock - performance.now()), milliseconds
let latest = Infinity;

/**
 * Learn from an answer. Its Date is the hub's second in which it was written: at the earliest when
 * the request left, at the latest when the answer was here.
 */
export function learnClock(dateHeader, sentAt, receivedAt) {
  const second = Date.parse(dateHeader ?? "");
  if (Number.isNaN(second)) return;
  const low = second - receivedAt;
  const high = second + 1000 - sentAt;
  earliest = Math.max(earliest, low);
  latest = Math.min(latest, high);
  if (earliest > latest) [earliest, latest] = [low, high]; // a clock was set, or the machine slept
}

/** Whether an answer has told the time yet. */
export const knowsClock = () => earliest !== -Infinity;

/** The hub's clock. Until the first answer, the browser's. @returns {Date} */
export function serverNow() {
  if (!knowsClock()) return new Date();
  return new Date((earliest + latest) / 2 + performance.now());
}
