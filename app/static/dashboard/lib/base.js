/** Where the hub is: at the root of its address, or below the path that a proxy moved it to. */

/** With a slash at its end. @type {string} */
export const BASE = import.meta.url
  .replace(/\/static\/(?!.*\/static\/).*$/, "/")
  .replace(/^[a-z]+:\/\/[^/]+/i, "");

export const jobUrl = (jobId) => `${BASE}jobs/${encodeURIComponent(jobId)}`;
export const compareUrl = (jobId) => `${BASE}compare/${encodeURIComponent(jobId)}`;
export const machineUrl = (vmName) => `${BASE}machines/${encodeURIComponent(vmName)}`;
export const machinesUrl = () => `${BASE}machines`;
export const nodeUrl = (nodeId) => `${BASE}nodes/${encodeURIComponent(nodeId)}`;
export const nodesUrl = () => `${BASE}nodes`;

/** The overview. @param {Object<string,?string>} [filters] its query */
export function overviewUrl(filters = {}) {
  const query = new URLSearchParams(Object.entries(filters).filter(([, value]) => value));
  return query.size ? `${BASE}?${query}` : BASE;
}

/** An address of the API, as for `get` of api.js. */
export function apiUrl(path, params = {}) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(params)) {
    if (value !== null && value !== undefined && value !== "") query.set(name, String(value));
  }
  return `${BASE}api/v1${path}${query.size ? `?${query}` : ""}`;
}
