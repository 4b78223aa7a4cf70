/** One job: Summary, Performance and Details, live while it runs. */

import { copyable } from "../components/copyable.js";
import { emptyState, errorState, loading } from "../components/states.js";
import { statusBadge, updateStatusBadge } from "../components/status.js";
import { tabs } from "../components/tabs.js";
import { get, isNotFound, isUnavailable } from "../lib/api.js";
import { h, replace } from "../lib/dom.js";
import { live } from "../lib/live.js";
import { compareUrl, machineUrl, overviewUrl } from "../lib/urls.js";
import { detailsPanel } from "./job/details.js";
import { errorBlock } from "./job/error-block.js";
import { performancePanel } from "./job/performance.js";
import { LIVE_STATUSES } from "./job/runs.js";
import { jobSelector, machineSelector } from "./job/selectors.js";
import { summaryPanel } from "./job/summary.js";

const LIVE_MS = 2000;
const ENDED_MS = 15_000; // it may be revived, and its summary is made some time after its end
/** @type {("summary" | "performance" | "details")[]} */
const TABS = ["summary", "performance", "details"];

/** @param {HTMLElement} root @param {ViewContext} context @returns {View} */
export function mount(root, { params, query, navigate, setQuery }) {
  const jobId = params.name;
  let tab = tabOf(query);
  /** @type {JobDetail | null} */
  let job = null;
  let every = LIVE_MS;
  const badge = statusBadge("pending");
  const facts = h("p", { class: "job-facts" });
  const selectors = h("div", { class: "selectors no-print" });
  const error = errorBlock();
  const state = h("div", null, loading("Loading job …"));
  const panels = {
    summary: summaryPanel(),
    performance: performancePanel({ jobId, query, setQuery }),
    details: detailsPanel({ jobId }),
  };
  const view = tabs({
    label: "Views of the job",
    selected: tab,
    tabs: TABS.map((id) => ({
      id,
      label: id[0].toUpperCase() + id.slice(1),
      panel: panels[id].node,
    })),
    onSelect: (id) => {
      tab = tabNamed(id);
      setQuery({ tab: id === TABS[0] ? null : id });
      if (job) showTab(job);
    },
  });
  view.node.hidden = true;
  const actions = h(
    "div",
    { class: "button-group no-print" },
    h("a", { class: "button", href: compareUrl(jobId) }, "Compare"),
    h("button", { type: "button", class: "button", on: { click: printAll } }, "Print"),
  );
  replace(
    root,
    h(
      "div",
      { class: "page-head" },
      h("div", { class: "job-title" }, h("h1", null, h("bdi", null, jobId)), badge),
      actions,
    ),
    facts,
    h(
      "p",
      { class: "print-only" },
      `Times are in ${Intl.DateTimeFormat().resolvedOptions().timeZone}. Sizes and speeds use powers of 1,024.`,
    ),
    selectors,
    error.node,
    state,
    view.node,
  );
  badge.hidden = true;
  actions.hidden = true;

  /** @param {RefreshContext} context */
  async function refresh({ signal }) {
    /** @type {{data: JobDetail}} */
    const { data } = await get(`/jobs/${encodeURIComponent(jobId)}`, {}, { signal });
    if (!job) showFirst(data);
    job = data;
    replace(state);
    updateStatusBadge(badge, data.status);
    error.update(data);
    panels.summary.update(data);
    await showTab(data, signal);
    adjustInterval(data);
  }

  /** @param {JobDetail} current @param {AbortSignal} [signal] */
  async function showTab(current, signal) {
    if (tab !== "summary") await panels[tab].update(current, signal);
  }

  /** @param {JobDetail} first */
  function showFirst(first) {
    badge.hidden = false;
    actions.hidden = false;
    view.node.hidden = false;
    replace(
      selectors,
      machineSelector({ vmName: first.vm_name, navigate }),
      first.vm_name && jobSelector({ vmName: first.vm_name, jobId, navigate }),
    );
    replace(
      facts,
      [
        first.vm_name && h("a", { href: machineUrl(first.vm_name) }, h("bdi", null, first.vm_name)),
        h("bdi", null, first.job_type),
        first.backup_type && h("bdi", null, first.backup_type),
        first.repository_id && h("bdi", null, first.repository_id),
        copyable(jobId, { label: "job ID", shown: "ID" }),
      ]
        .filter(Boolean)
        .map((part) => h("span", { class: "job-fact" }, part)),
    );
  }

  /** Polls a live job often and an ended one rarely. @param {JobDetail} current */
  function adjustInterval({ status }) {
    const wanted = LIVE_STATUSES.includes(status) ? LIVE_MS : ENDED_MS;
    if (wanted === every) return;
    every = wanted;
    refreshing.stop();
    refreshing = poll({ isFresh: true });
  }

  /** @param {{isFresh: boolean}} options `isFresh`: the first refresh has just been done */
  function poll({ isFresh }) {
    let skips = isFresh;
    return live(
      async (context) => {
        if (!skips) return refresh(context);
        skips = false;
        return undefined;
      },
      { every, onError },
    );
  }

  /** @type {import("../lib/live.js").ErrorHandler} */
  function onError(problem, { first }) {
    if (isNotFound(problem)) {
      refreshing.stop();
      view.node.hidden = true;
      actions.hidden = true;
      replace(
        state,
        emptyState(
          "Job not found",
          "The hub has no job with this ID.",
          h("a", { class: "button", href: overviewUrl() }, "All jobs"),
        ),
      );
    } else if (first && !job) {
      replace(
        state,
        errorState(problem, () => refreshing.refresh()),
      );
    } else if (!isUnavailable(problem)) {
      console.error(problem);
    }
  }

  /** Prints all three tabs. They have to be visible so that charts have a size. */
  async function printAll() {
    if (!job) return;
    view.node.classList.add("is-printing");
    for (const id of TABS) panels[id].node.hidden = false;
    await Promise.all([panels.performance.update(job), panels.details.update(job)]);
    addEventListener(
      "afterprint",
      () => {
        view.node.classList.remove("is-printing");
        view.select(tab);
      },
      { once: true },
    );
    print();
  }

  let refreshing = poll({ isFresh: false });
  return {
    follow(nextQuery) {
      tab = tabOf(nextQuery);
      view.select(tab);
      panels.performance.follow(nextQuery);
      if (job) showTab(job);
    },
    unmount() {
      refreshing.stop();
      panels.performance.dispose();
    },
  };
}

/** @param {string | null} id */
const tabNamed = (id) => TABS.find((tab) => tab === id) ?? TABS[0];

/** @param {URLSearchParams} query */
const tabOf = (query) => tabNamed(query.get("tab"));
