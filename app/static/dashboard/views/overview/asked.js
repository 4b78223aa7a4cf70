/** What the overview asks the hub for, by the filters in its address. */

import { serverNow } from "../../lib/clock.js";
import { toDate } from "../../lib/format.js";
import { JOB_STATUSES, LIVE_STATUSES } from "../../lib/statuses.js";

export const OTHER_STATUSES = JOB_STATUSES.filter((status) => !LIVE_STATUSES.includes(status));
export const SINCE = {
  "1h": ["Last hour", 3600],
  "24h": ["Last 24 hours", 86_400],
  "7d": ["Last 7 days", 604_800],
  "30d": ["Last 30 days", 2_592_000],
};
const MINUTE_MS = 60_000;
const PAGE = 50;

/**
 * @typedef {{status: string[], type: string, machine: string, repository: string, since: string,
 *   from: string, to: string}} Filters `since` is a key of SINCE, else `from` and `to` are instants
 */

/** @param {URLSearchParams} query @returns {Filters} what makes no sense is left out */
export function readFilters(query) {
  const text = (name) => query.get(name) ?? "";
  const instant = (name) => toDate(text(name))?.toISOString() ?? "";
  return {
    status: text("status")
      .split(",")
      .filter((status) => JOB_STATUSES.includes(status)),
    type: text("type"),
    machine: text("machine"),
    repository: text("repository"),
    since: text("since") in SINCE ? text("since") : "",
    from: instant("from"),
    to: instant("to"),
  };
}

/** @param {Filters} filters @returns {Object} the query of GET /jobs */
function toParams({ status, type, machine, repository, since, from, to }) {
  return {
    status: status.length ? status.join(",") : null,
    job_type: type,
    vm_name: machine,
    repository_id: repository,
    from: since ? sinceInstant(SINCE[since][1]) : from,
    to: since ? null : to,
  };
}

/** Whole minutes, so that the address is the same for a minute and its ETag is of use. */
function sinceInstant(seconds) {
  const minute = Math.floor(serverNow().getTime() / MINUTE_MS) * MINUTE_MS;
  return new Date(minute - seconds * 1000).toISOString();
}

/** Those of `statuses` that the filters ask for. */
export function chosenStatuses({ status }, statuses) {
  return status.length ? statuses.filter((each) => status.includes(each)) : statuses;
}

/** Path and query of the counts of the jobs: of every status, as each is a switch. */
export const countsAsked = (filters) => ["/jobs/summary", toParams({ ...filters, status: [] })];

/** Path and query of a page of the jobs of `statuses`. */
export const listAsked = (filters, statuses, cursor = null) => [
  "/jobs",
  { ...toParams({ ...filters, status: chosenStatuses(filters, statuses) }), limit: PAGE, cursor },
];

/** All that the first view asks for. */
export function firstAsked(filters) {
  const lists = [LIVE_STATUSES, OTHER_STATUSES].filter(
    (statuses) => chosenStatuses(filters, statuses).length,
  );
  return [countsAsked(filters), ...lists.map((statuses) => listAsked(filters, statuses))];
}
