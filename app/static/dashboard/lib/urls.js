/** Addresses of the hub, which is at the root of its host or below a path that a proxy adds. */

/** Ends with a slash. @type {string} */
export const BASE = import.meta.url
  .replace(/\/static\/(?!.*\/static\/).*$/, "/")
  .replace(/^[a-z]+:\/\/[^/]+/i, "");

/**
 * What an address names: a run, or a job, whose newest run is shown. An only run has the plain
 * address of its job.
 * @typedef {Pick<Job, "job_id"> & Partial<Pick<Job, "run" | "runs">>} Linked
 */

/** @param {Linked} job @param {Query} [query] more of the query */
export const jobUrl = (job, query = {}) => withRun("jobs", job, query);
/** @param {Linked} job */
export const compareUrl = (job) => withRun("compare", job);
/** @param {string} vmName */
export const machineUrl = (vmName) => `${BASE}machines/${encodeURIComponent(vmName)}`;
export const machinesUrl = () => `${BASE}machines`;
/** @param {string} nodeId */
export const nodeUrl = (nodeId) => `${BASE}nodes/${encodeURIComponent(nodeId)}`;
export const nodesUrl = () => `${BASE}nodes`;

/** The overview. @param {Query} [filters] its query */
export const overviewUrl = (filters = {}) => withQuery(BASE, filters);

/**
 * An address of the API, as for `get` of api.js.
 * @param {string} path
 * @param {Query} [params]
 */
export const apiUrl = (path, params = {}) => withQuery(`${BASE}api/v1${path}`, params);

/** @param {string} view @param {Linked} job @param {Query} [query] */
function withRun(view, { job_id: id, run, runs = 1 }, query = {}) {
  const named = runs > 1 ? { run } : {};
  return withQuery(`${BASE}${view}/${encodeURIComponent(id)}`, { ...named, ...query });
}

/** @param {string} url @param {Query} params */
function withQuery(url, params) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(params)) {
    if (value !== null && value !== undefined && value !== "") query.set(name, String(value));
  }
  return query.size ? `${url}?${query}` : url;
}
