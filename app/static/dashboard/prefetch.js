/** Requests the first data of the overview while its modules are still being loaded. */

import { prefetch } from "./lib/api.js";
import { BASE } from "./lib/urls.js";
import { initialRequests, readFilters } from "./views/overview/requests.js";

if (location.pathname === BASE) {
  for (const [path, params] of initialRequests(readFilters(new URLSearchParams(location.search))))
    prefetch(path, params);
}
