/** The machines that the hub knows. */

import { get } from "./api.js";

const PAGE = 500; // the most that the API returns at once

/** All machines, by name. @param {AbortSignal} [signal] */
export async function loadMachines(signal) {
  /** @type {Machine[]} */
  const machines = [];
  /** @type {string | null} */
  let cursor = null;
  do {
    /** @type {{data: Page<Machine>}} */
    const { data } = await get("/machines", { limit: PAGE, cursor }, { signal });
    machines.push(...data.items);
    cursor = data.next_cursor;
  } while (cursor);
  return machines;
}
