/** Asks for what the overview shows first while the rest of its modules is still being loaded. */

import { askAhead } from "./lib/api.js";
import { BASE } from "./lib/base.js";
import { firstAsked, readFilters } from "./views/overview/asked.js";

if (location.pathname === BASE) {
  for (const [path, params] of firstAsked(readFilters(new URLSearchParams(location.search))))
    askAhead(path, params);
}
