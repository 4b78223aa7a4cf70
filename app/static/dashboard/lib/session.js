/** What this browser may do. */

import { get } from "./api.js";

/** @type {Promise<Session> | null} */
let known = null;

/** The session, requested once. @returns {Promise<Session>} */
export function readSession() {
  known ??= get("/session").then(
    ({ data }) => data,
    (error) => {
      known = null;
      throw error;
    },
  );
  return known;
}

/**
 * Whether it may change things. The sign-in cookie only allows reading, whatever its token allows.
 * @param {Session} session
 */
export const mayChange = ({ required, by_cookie: byCookie, scope }) =>
  !required || (scope === "admin" && !byCookie);
