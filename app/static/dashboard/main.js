/** The page around the views: routes, title and focus, and the connection to the hub. */

import { emptyState, errorState, loading } from "./components/states.js";
import { ApiError, get, isUnavailable, onConnection } from "./lib/api.js";
import { h, replace, setText } from "./lib/dom.js";
import { clock, utc, zone } from "./lib/format.js";
import { live } from "./lib/live.js";
import { readSession } from "./lib/session.js";
import { startTicker } from "./lib/ticker.js";
import { BASE } from "./lib/urls.js";

const SITE = "Telemetry Hub";
const SLOW_MS = 250; // a shorter "loading" would flicker

/**
 * Each view is loaded when it is first shown. `name` is the rest of the path, decoded.
 * @typedef {(root: HTMLElement, context: ViewContext) => View} Mount
 * @type {{pattern: RegExp, nav: string, load: () => Promise<{mount: Mount}>}[]}
 */
const ROUTES = [
  { pattern: /^(?:jobs\/?)?$/, nav: "jobs", load: () => import("./views/overview.js") },
  { pattern: /^jobs\/([^/]+)$/, nav: "jobs", load: () => import("./views/job.js") },
  { pattern: /^compare\/([^/]+)$/, nav: "jobs", load: () => import("./views/compare.js") },
  { pattern: /^machines\/?$/, nav: "machines", load: () => import("./views/machines.js") },
  // A name may have slashes, and a user may write them plainly.
  { pattern: /^machines\/(.+)$/, nav: "machines", load: () => import("./views/machine.js") },
  { pattern: /^nights\/?$/, nav: "nights", load: () => import("./views/nights.js") },
  { pattern: /^nodes\/?$/, nav: "nodes", load: () => import("./views/nodes.js") },
  { pattern: /^nodes\/([^/]+)$/, nav: "nodes", load: () => import("./views/node.js") },
];

/** @param {string} id */
const element = (id) => /** @type {HTMLElement} */ (document.getElementById(id));

const main = element("main");
/** `mark` is shown before the page's title. @type {View & {path: string | null, mark: string}} */
let shown = { path: null, mark: "", unmount() {} };
let lastNavigation = 0; // a view that is ready after a later navigation is dropped

/** @param {string} href an address of this page */
function navigate(href) {
  history.pushState(null, "", new URL(href, location.href));
  return show({ moves: true });
}

/**
 * Changes parts of the query without leaving the view; null or "" removes one.
 * @param {Query} changes
 * @param {{push?: boolean}} [options] `push`: "back" undoes the change
 */
function setQuery(changes, { push = false } = {}) {
  const url = new URL(location.href);
  for (const [name, value] of Object.entries(changes)) {
    if (value === null || value === undefined || value === "") url.searchParams.delete(name);
    else url.searchParams.set(name, String(value));
  }
  if (url.href !== location.href)
    history[push ? "pushState" : "replaceState"](history.state, "", url);
}

/**
 * Shows the view of the current address.
 * @param {{moves: boolean, restores?: boolean}} options `moves`: the user went there, so focus follows
 */
async function show({ moves, restores = false }) {
  lastNavigation += 1;
  const navigation = lastNavigation;
  const isCurrent = () => navigation === lastNavigation;
  shown.unmount();
  shown = { path: location.pathname, mark: "", unmount() {} };
  if (moves && !restores) scrollTo(0, 0);
  const root = h("div", { class: "page" });
  const slow = setTimeout(() => {
    if (isCurrent() && !root.isConnected) replace(main, loading());
  }, SLOW_MS);
  try {
    await showView(root, isCurrent, restores);
  } catch (error) {
    if (isCurrent()) showError(error);
  } finally {
    clearTimeout(slow);
  }
  if (isCurrent()) finishNavigation(moves);
}

/** @param {HTMLElement} root @param {() => boolean} isCurrent @param {boolean} restores */
async function showView(root, isCurrent, restores) {
  const path = location.pathname.slice(BASE.length);
  const route = ROUTES.find(({ pattern }) => pattern.test(path));
  markNav(route?.nav);
  const name = route && decode(route.pattern.exec(path)?.[1] ?? "");
  if (!route || name === null) {
    showNotFound();
    return;
  }
  const { mount } = await load(route);
  if (!isCurrent()) return;
  replace(main, root);
  const query = new URLSearchParams(location.search);
  const view = mount(root, {
    params: { name: name ?? "" },
    query,
    restores,
    navigate,
    setQuery,
    updateTitle,
    reload: () => show({ moves: main.contains(document.activeElement) }),
  });
  Object.assign(shown, { unmount: () => view.unmount(), follow: view.follow });
}

function showNotFound() {
  const link = h("a", { class: "button", href: BASE }, "All jobs");
  const state = emptyState("There is no page at this address", "", link);
  replace(main, h("div", { class: "page" }, h("h1", null, "Not found"), state));
}

/** @param {unknown} error */
function showError(error) {
  if (!(error instanceof ApiError)) console.error(error);
  const state = errorState(error, () => show({ moves: true }));
  replace(main, h("div", { class: "page" }, h("h1", null, "Error"), state));
  if (isUnavailable(error)) shown.unmount = retryWhenConnected(() => show({ moves: false }));
}

/** A module that cannot be fetched means that the hub does not respond. @param {typeof ROUTES[0]} route */
async function load(route) {
  try {
    return await route.load();
  } catch (error) {
    if (error instanceof TypeError) throw new ApiError({ status: 0 });
    throw error;
  }
}

/**
 * Polls the hub until it responds.
 * @param {() => void} then
 * @returns {() => void} stops that
 */
function retryWhenConnected(then) {
  const polling = live(async ({ signal }) => {
    await get("/health", {}, { signal });
    polling.stop();
    then();
  });
  return polling.stop;
}

/** Loads the other views, so that they open at once, even while the hub does not respond. */
function loadOthers() {
  for (const route of ROUTES) route.load().catch(() => {}); // tried again when it is needed
}

function updateTitle(mark = shown.mark) {
  shown.mark = mark;
  const heading = main.querySelector("h1");
  const title = heading?.textContent ? `${heading.textContent} – ${SITE}` : SITE;
  document.title = mark + title;
}

/** Takes title and focus from the view's heading. @param {boolean} moves */
function finishNavigation(moves) {
  updateTitle();
  const heading = main.querySelector("h1");
  if (!heading) return;
  heading.tabIndex = -1;
  if (moves) heading.focus({ preventScroll: true });
}

/** "Back" and "forward": a view that can follow its address stays. */
function goBack() {
  const isSame = shown.path === location.pathname;
  if (isSame && shown.follow?.(new URLSearchParams(location.search))) return;
  show({ moves: true, restores: true });
}

/** @param {string} text */
function decode(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return null;
  }
}

/** @param {string | undefined} current */
function markNav(current) {
  /** @type {NodeListOf<HTMLElement>} */
  const links = document.querySelectorAll("[data-nav]");
  for (const link of links) {
    if (link.dataset.nav === current) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
}

/** Makes the page's links absolute: they are relative to the address at which it was loaded. */
function fixLinks() {
  /** @type {NodeListOf<HTMLAnchorElement | HTMLLinkElement>} */
  const links = document.querySelectorAll('a[href]:not([href^="#"]), link[rel="icon"]');
  for (const link of links) link.setAttribute("href", link.href);
  for (const form of document.forms) form.setAttribute("action", form.action);
}

/** A plain click on a link to a view does not reload the page. @param {MouseEvent} event */
function follow(event) {
  /** @type {HTMLAnchorElement | null} */
  const link = event.target instanceof Element ? event.target.closest("a[href]") : null;
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

/** @param {import("./lib/api.js").Connection} connection */
function showConnection({ ok, since }) {
  const banner = element("connection");
  banner.classList.toggle("is-disconnected", !ok);
  if (ok) return replace(banner);
  const when =
    since && h("time", { datetime: since.toISOString(), title: utc(since) }, clock(since));
  return replace(
    banner,
    h(
      "p",
      null,
      h("strong", null, since ? ["Not updated since ", when, "."] : "The hub does not respond."),
      since && " The hub does not respond.",
      " This page updates automatically when the hub responds again.",
    ),
  );
}

/** Shows "Sign out" to a browser that has signed in by a cookie. */
async function showSession() {
  const session = await readSession().catch(() => null);
  const form = element("session");
  form.hidden = !session?.by_cookie;
  form.title = session?.name ? `Signed in as ${session.name}` : "";
}

/** Names the time zone on every page. */
function showZone() {
  setText(element("zone"), zone());
  setText(element("zone-note"), `Times are in ${zone()}.`);
}

fixLinks();
showZone();
document.addEventListener("click", follow);
addEventListener("popstate", goBack);
// Otherwise the fragment of the skip link would become part of the address.
document.querySelector(".skip-link")?.addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});
onConnection(showConnection);
startTicker();
show({ moves: false }).then(() =>
  setTimeout(() => Promise.all([showSession(), loadOthers()]), 1000),
);
