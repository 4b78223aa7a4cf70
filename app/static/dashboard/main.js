/** The page around the views: which one is shown, its title and focus, and whether the hub is there. */

import { emptyState, errorState, loading } from "./components/states.js";
import { ApiError, get, onConnection } from "./lib/api.js";
import { BASE } from "./lib/base.js";
import { h, replace } from "./lib/dom.js";
import { clock, utc } from "./lib/format.js";
import { live } from "./lib/live.js";
import { startTicker } from "./lib/ticker.js";

const SITE = "Telemetry Hub";
const SLOW_MS = 250; // before that, "loading" would only flicker

// Each view is loaded when it is first shown. `name` is the rest of the path, decoded.
const ROUTES = [
  { pattern: /^(?:jobs\/?)?$/, nav: "jobs", load: () => import("./views/overview.js") },
  { pattern: /^jobs\/([^/]+)$/, nav: "jobs", load: () => import("./views/job.js") },
  { pattern: /^compare\/([^/]+)$/, nav: "jobs", load: () => import("./views/compare.js") },
  { pattern: /^machines\/?$/, nav: "machines", load: () => import("./views/machines.js") },
  { pattern: /^machines\/([^/]+)$/, nav: "machines", load: () => import("./views/machine.js") },
  { pattern: /^nodes\/?$/, nav: "nodes", load: () => import("./views/nodes.js") },
  { pattern: /^nodes\/([^/]+)$/, nav: "nodes", load: () => import("./views/node.js") },
];

const main = document.getElementById("main");
let shown = { path: null, unmount() {} };
let turn = 0; // a view that is ready after another was asked for is dropped

/** @param {string} href an address of this page @param {{replace?: boolean}} [options] */
function navigate(href, { replace: replaces = false } = {}) {
  const url = new URL(href, location.href);
  history[replaces ? "replaceState" : "pushState"](null, "", url);
  return show({ moves: true });
}

/**
 * Change parts of the query without leaving the view.
 * @param {Object<string, ?string>} changes null or "" takes one out
 * @param {{push?: boolean}} [options] `push`: "back" returns to what was before
 */
function setQuery(changes, { push = false } = {}) {
  const url = new URL(location.href);
  for (const [name, value] of Object.entries(changes)) {
    if (value === null || value === undefined || value === "") url.searchParams.delete(name);
    else url.searchParams.set(name, value);
  }
  if (url.href !== location.href)
    history[push ? "pushState" : "replaceState"](history.state, "", url);
}

/** Show the view of the present address. `moves`: the reader went there, so focus follows. */
async function show({ moves, restores = false }) {
  const mine = (turn += 1);
  shown.unmount();
  shown = { path: location.pathname, unmount() {} };
  const path = location.pathname.slice(BASE.length);
  const route = ROUTES.find(({ pattern }) => pattern.test(path));
  markNav(route?.nav);
  if (moves && !restores) scrollTo(0, 0);
  const root = h("div", { class: "page" });
  const slow = setTimeout(
    () => mine === turn && !root.isConnected && replace(main, loading()),
    SLOW_MS,
  );
  try {
    const name = route && decode(route.pattern.exec(path)[1]);
    if (name === null || !route) {
      replace(
        main,
        h(
          "div",
          { class: "page" },
          h("h1", null, "Not found"),
          emptyState(
            "There is nothing at this address",
            "",
            h("a", { class: "button", href: BASE }, "All jobs"),
          ),
        ),
      );
      return settle(moves);
    }
    const { mount } = await load(route);
    if (mine !== turn) return;
    replace(main, root);
    const context = {
      params: { name, id: name },
      query: new URLSearchParams(location.search),
      restores,
    };
    const view = await mount(root, { ...context, navigate, setQuery });
    if (mine !== turn) view?.unmount();
    else Object.assign(shown, { unmount: () => view?.unmount(), follow: view?.follow });
  } catch (error) {
    if (mine !== turn) return;
    if (!(error instanceof ApiError)) console.error(error);
    replace(
      main,
      h(
        "div",
        { class: "page" },
        h("h1", null, "Not shown"),
        errorState(error, () => show({ moves: true })),
      ),
    );
    if (error.isAway) shown.unmount = whenBack(() => show({ moves: false }));
  } finally {
    clearTimeout(slow);
  }
  if (mine === turn) settle(moves);
}

/** The module of a view. One that cannot be fetched means that the hub is away. */
async function load(route) {
  try {
    return await route.load();
  } catch (error) {
    if (error instanceof TypeError) throw new ApiError({ status: 0 });
    throw error;
  }
}

/** Ask for something small until it is answered. @returns {function(): void} stop asking */
function whenBack(then) {
  const asking = live(async ({ signal }) => {
    await get("/health", {}, { signal });
    asking.stop();
    then();
  });
  return asking.stop;
}

/** The other views, so that they open at once, and also while the hub is away. */
function loadOthers() {
  for (const route of ROUTES) route.load().catch(() => {}); // it will be tried again when it is needed
}

/** Title and focus come from the view's heading. */
function settle(moves) {
  const heading = main.querySelector("h1");
  document.title = heading?.textContent ? `${heading.textContent} – ${SITE}` : SITE;
  if (!heading) return;
  heading.tabIndex = -1;
  if (moves) heading.focus({ preventScroll: true });
}

/** "Back" and "forward": a view that can follow its own address stays. */
function goBack() {
  if (shown.path === location.pathname && shown.follow)
    shown.follow(new URLSearchParams(location.search));
  else show({ moves: true, restores: true });
}

function decode(text) {
  try {
    return text === undefined ? undefined : decodeURIComponent(text);
  } catch {
    return null;
  }
}

function markNav(current) {
  for (const link of document.querySelectorAll("[data-nav]")) {
    if (link.dataset.nav === current) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
}

/** The page's own links are relative to where it was loaded, and would be read anew in each view. */
function fixLinks() {
  for (const link of document.querySelectorAll('a[href]:not([href^="#"]), link[rel="icon"]'))
    link.setAttribute("href", link.href);
  for (const form of document.forms) form.setAttribute("action", form.action);
}

/** A plain click on a link to one of the views stays on the page. */
function follow(event) {
  const link = event.target.closest?.("a[href]");
  if (
    !link ||
    event.defaultPrevented ||
    event.button !== 0 ||
    link.target ||
    link.hasAttribute("download")
  )
    return;
  if (event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
  const url = new URL(link.href);
  const path = url.pathname.slice(BASE.length);
  if (url.origin !== location.origin || !url.pathname.startsWith(BASE) || url.hash) return;
  if (!ROUTES.some(({ pattern }) => pattern.test(path))) return;
  event.preventDefault();
  navigate(url.href);
}

function showConnection({ ok, since }) {
  const banner = document.getElementById("connection");
  banner.classList.toggle("is-away", !ok);
  if (ok) return replace(banner);
  const when =
    since && h("time", { datetime: since.toISOString(), title: utc(since) }, clock(since));
  return replace(
    banner,
    h(
      "p",
      null,
      h("strong", null, since ? ["Not updating since ", when, "."] : "The hub does not answer."),
      since && " The hub does not answer.",
      " This page catches up by itself when it is back.",
    ),
  );
}

/** Where the hub asks for tokens, the browser was given a cookie that can be handed back. */
async function showSession() {
  const { data } = await get("/session").catch(() => ({ data: {} }));
  const form = document.getElementById("session");
  form.hidden = !data.by_cookie;
  form.title = data.name ? `Signed in as ${data.name}` : "";
}

fixLinks();
document.addEventListener("click", follow);
addEventListener("popstate", goBack);
// The fragment of the skip link would otherwise be an address of its own.
document.querySelector(".skip-link").addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});
onConnection(showConnection);
startTicker();
show({ moves: false }).then(() =>
  setTimeout(() => Promise.all([showSession(), loadOthers()]), 1000),
);
