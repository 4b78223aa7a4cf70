/** The requests of the overview for the filters in its address. */

import { serverNow } from "../../lib/clock.js";
import { toDate } from "../../lib/format.js";
import { JOB_LISTS, JOB_STATUSES } from "../../lib/statuses.js";
import { apiUrl } from "../../lib/urls.js";

/** @type {RunResult[]} */
const RESULTS = ["good", "warning"];
/**
 * Ranges that end now, by their name in the address, and the last night.
 * @type {Record<string, {label: string, seconds: number | null}>}
 */
export const SINCE = {
  "1h": { label: "Last hour", seconds: 3600 },
  "24h": { label: "Last 24 hours", seconds: 86_400 },
  "7d": { label: "Last 7 days", seconds: 604_800 },
  "30d": { label: "Last 30 days", seconds: 2_592_000 },
  night: { label: "Last night", seconds: null },
};
const NIGHT = { from: 18, to: 6 }; // hours in the user's time zone
/** @type {Filters} */
export const NO_FILTERS = {
  status: [],
  result: "",
  text: "",
  type: "",
  machine: "",
  repository: "",
  since: "",
  from: "",
  to: "",
};
const MINUTE_MS = 60_000;
const PAGE = 50;
const SOME_ITEMS = 100;

/**
 * @typedef {{status: JobStatus[], result: RunResult | "", text: string, type: string, machine: string,
 *   repository: string, since: string, from: string, to: string}} Filters `since` is a key of SINCE,
 *   else `from` and `to` are instants
 */

/**
 * Ignores invalid values.
 * @param {URLSearchParams} query
 * @returns {Filters}
 */
export function readFilters(query) {
  const text = (/** @type {string} */ name) => query.get(name) ?? "";
  const instant = (/** @type {string} */ name) => toDate(text(name))?.toISOString() ?? "";
  const statuses = text("status").split(",");
  return {
    status: statuses.flatMap((text) => JOB_STATUSES.filter((status) => status === text)),
    result: RESULTS.find((result) => result === text("result")) ?? "",
    text: text("q"),
    type: text("type"),
    machine: text("machine"),
    repository: text("repository"),
    since: Object.hasOwn(SINCE, text("since")) ? text("since") : "",
    from: instant("from"),
    to: instant("to"),
  };
}

/**
 * The query of GET /jobs and /jobs/summary.
 * @param {Filters} filters
 * @returns {Query}
 */
function toParams({ status, result, type, machine, repository, since, from, to }) {
  return {
    status: status.length ? status.join(",") : null,
    result,
    job_type: type,
    vm_name: machine,
    repository_id: repository,
    ...rangeParams(since, from, to),
  };
}

/**
 * Started in a range; for the last night, ran at some time of it.
 * @param {string} since
 * @param {Instant} from
 * @param {Instant} to
 * @returns {Query}
 */
function rangeParams(since, from, to) {
  if (!since) return { from, to };
  const { seconds } = SINCE[since];
  if (seconds !== null) return { from: sinceInstant(seconds) };
  const night = lastNight();
  return { active_from: night.from.toISOString(), active_to: night.to.toISOString() };
}

/** The night that ended this morning, or ends then, in the user's time zone. */
export function lastNight(now = serverNow()) {
  const [year, month, day] = [now.getFullYear(), now.getMonth(), now.getDate()];
  return {
    from: new Date(year, month, day - 1, NIGHT.from),
    to: new Date(year, month, day, NIGHT.to),
  };
}

/** Whole minutes, so that the address and its ETag stay the same for a minute. @param {number} seconds */
function sinceInstant(seconds) {
  const minute = Math.floor(serverNow().getTime() / MINUTE_MS) * MINUTE_MS;
  return new Date(minute - seconds * 1000).toISOString();
}

/**
 * Those of `statuses` that the filters select. Only completed runs have a result.
 * @param {Filters} filters
 * @param {JobStatus[]} statuses
 */
export function selectedStatuses({ status, result }, statuses) {
  return statuses.filter(
    (each) => (!status.length || status.includes(each)) && (result === "" || each === "completed"),
  );
}

/**
 * Path and query of the counts of jobs, for every status and result.
 * @param {Filters} filters
 * @returns {[string, Query]}
 */
export const countsRequest = (filters) => [
  "/jobs/summary",
  toParams({ ...filters, status: [], result: "" }),
];

/**
 * Path and query of the open items of attention, the worst first.
 * @param {number} [limit]
 * @returns {[string, Query]}
 */
export const attentionRequest = (limit = SOME_ITEMS) => ["/attention", { limit }];

/**
 * Path and query of a page of the jobs of `statuses`.
 * @param {Filters} filters
 * @param {JobStatus[]} statuses
 * @param {string | null} [cursor]
 * @returns {[string, Query]}
 */
export const listRequest = (filters, statuses, cursor = null) => [
  "/jobs",
  {
    ...toParams({ ...filters, status: selectedStatuses(filters, statuses) }),
    q: filters.text,
    limit: PAGE,
    cursor,
  },
];

/** The address of the selected jobs as CSV. @param {Filters} filters */
export const csvUrl = (filters) =>
  apiUrl("/jobs", { ...toParams(filters), q: filters.text, format: "csv" });

/** The first requests of the view. @param {Filters} filters */
export function initialRequests(filters) {
  const lists = JOB_LISTS.map(({ statuses }) => statuses).filter(
    (statuses) => selectedStatuses(filters, statuses).length,
  );
  return [
    attentionRequest(),
    countsRequest(filters),
    ...lists.map((statuses) => listRequest(filters, statuses)),
  ];
}
