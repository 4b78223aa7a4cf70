/**
 * The hub's clock, from the Date header of its responses. The browser's clock may be wrong by
 * hours, so only the time that has passed is taken from it.
 */

let earliest = -Infinity; // bounds of (hub's clock - performance.now()), milliseconds
let latest = Infinity;

/**
 * Updates the clock from a response. Its Date is the second in which it was written: between the
 * sending of the request and the arrival of the response.
 * @param {string | null} dateHeader
 * @param {number} sentAt by performance.now()
 * @param {number} receivedAt by performance.now()
 */
export function updateClock(dateHeader, sentAt, receivedAt) {
  const second = Date.parse(dateHeader ?? "");
  if (Number.isNaN(second)) return;
  const low = second - receivedAt;
  const high = second + 1000 - sentAt;
  earliest = Math.max(earliest, low);
  latest = Math.min(latest, high);
  if (earliest > latest) [earliest, latest] = [low, high]; // a clock was set, or the machine slept
}

/** Whether the hub's time is known. */
export const isClockKnown = () => earliest !== -Infinity;

/** The hub's clock. Before the first response, the browser's. @returns {Date} */
export function serverNow() {
  if (!isClockKnown()) return new Date();
  return new Date((earliest + latest) / 2 + performance.now());
}
