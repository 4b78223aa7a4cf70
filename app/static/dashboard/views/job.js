/** One job: Summary, Performance and Details, live while it runs. */

import { copyable } from "../components/copyable.js";
import { emptyState, errorState, loading } from "../components/states.js";
import { statusBadge, updateStatusBadge } from "../components/status.js";
import { tabs } from "../components/tabs.js";
import { get } from "../lib/api.js";
import { compareUrl, machineUrl, overviewUrl } from "../lib/base.js";
import { h, replace } from "../lib/dom.js";
import { live } from "../lib/live.js";
import { detailsPanel } from "./job/details.js";
import { errorBlock } from "./job/error-block.js";
import { performancePanel } from "./job/performance.js";
import { LIVE_STATUSES } from "./job/runs.js";
import { jobSelector, machineSelector } from "./job/selectors.js";
import { summaryPanel } from "./job/summary.js";

const LIVE_MS = 2000;
const ENDED_MS = 15_000; // it may be revived, and its summary is made a while after its end
const TABS = ["summary", "performance", "details"];

export async function mount(root, { params, query, navigate, setQuery }) {
  const jobId = params.name;
  let tab = tabOf(query);
  let job = null;
  let refreshing = null;
  let every = LIVE_MS;
  const badge = statusBadge("pending");
  const facts = h("p", { class: "job-facts" });
  const selectors = h("div", { class: "selectors no-print" });
  const error = errorBlock();
  const state = h("div", null, loading("Loading the job …"));
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
      tab = id;
      setQuery({ tab: id === TABS[0] ? null : id });
      if (job) showTab();
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
      `Times are in ${Intl.DateTimeFormat().resolvedOptions().timeZone}. Sizes and speeds are in powers of 1,024.`,
    ),
    selectors,
    error.node,
    state,
    view.node,
  );
  badge.hidden = true;
  actions.hidden = true;

  async function refresh({ signal }) {
    const answer = await get(`/jobs/${encodeURIComponent(jobId)}`, {}, { signal });
    const isFirst = job === null;
    job = answer.data;
    if (isFirst) showFirst();
    replace(state);
    showHead();
    panels.summary.update(job);
    await showTab(signal);
    pace();
  }

  async function showTab(signal) {
    if (tab !== "summary") await panels[tab].update(job, { signal });
  }

  function showFirst() {
    badge.hidden = false;
    actions.hidden = false;
    view.node.hidden = false;
    replace(
      selectors,
      machineSelector({ vmName: job.vm_name, navigate }),
      job.vm_name && jobSelector({ vmName: job.vm_name, jobId, navigate }),
    );
    replace(
      facts,
      [
        job.vm_name && h("a", { href: machineUrl(job.vm_name) }, h("bdi", null, job.vm_name)),
        h("bdi", null, job.job_type),
        job.backup_type && h("bdi", null, job.backup_type),
        job.repository_id && h("bdi", null, job.repository_id),
        copyable(jobId, { label: "the job's id", shown: "id" }),
      ]
        .filter(Boolean)
        .map((part) => h("span", { class: "job-fact" }, part)),
    );
  }

  function showHead() {
    updateStatusBadge(badge, job.status);
    error.update(job);
  }

  /** A live job is asked for often, an ended one seldom. */
  function pace() {
    const wanted = LIVE_STATUSES.includes(job.status) ? LIVE_MS : ENDED_MS;
    if (wanted === every) return;
    every = wanted;
    refreshing.stop();
    keepUp({ isFresh: true });
  }

  function keepUp({ isFresh }) {
    let skips = isFresh; // it was this very answer that changed the pace
    refreshing = live(
      async (run) => {
        if (!skips) return refresh(run);
        skips = false;
        return undefined;
      },
      { every, onError },
    );
  }

  function onError(problem, { first }) {
    if (problem.isNotFound) {
      refreshing.stop();
      view.node.hidden = true;
      actions.hidden = true;
      replace(
        state,
        emptyState(
          "There is no such job",
          "The hub has no job of this id.",
          h("a", { class: "button", href: overviewUrl() }, "All jobs"),
        ),
      );
    } else if (first && !job) {
      replace(
        state,
        errorState(problem, () => refreshing.refresh()),
      );
    } else if (!problem.isAway) {
      console.error(problem);
    }
  }

  /** On paper all three tabs follow each other, so all are filled, and shown so that charts have a size. */
  async function printAll() {
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

  keepUp({ isFresh: false });
  return {
    follow(nextQuery) {
      tab = tabOf(nextQuery);
      view.select(tab);
      panels.performance.follow(nextQuery);
      if (job) showTab();
    },
    unmount() {
      refreshing.stop();
      panels.performance.dispose();
    },
  };
}

const tabOf = (query) => (TABS.includes(query.get("tab")) ? query.get("tab") : TABS[0]);
