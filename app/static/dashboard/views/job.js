/** One job: Summary, Performance and Details, live while it runs. */

import { copyable } from "../components/copyable.js";
import { jobName, updateJobName } from "../components/job-name.js";
import { errorState, loading } from "../components/states.js";
import { statusBadge, updateStatusBadge } from "../components/status.js";
import { tabs } from "../components/tabs.js";
import { get, isNotFound, isUnavailable } from "../lib/api.js";
import { h, replace, setAttribute } from "../lib/dom.js";
import { visible } from "../lib/format.js";
import { live } from "../lib/live.js";
import { readRun } from "../lib/runs.js";
import { compareUrl, jobUrl, machineUrl } from "../lib/urls.js";
import { detailsPanel } from "./job/details.js";
import { errorBlock } from "./job/error-block.js";
import { findingsBlock } from "./job/findings-block.js";
import { notFoundState } from "./job/not-found.js";
import { performancePanel } from "./job/performance.js";
import { LIVE_STATUSES } from "./job/runs.js";
import { jobSelector, machineSelector, runSelector } from "./job/selectors.js";
import { summaryPanel } from "./job/summary.js";

const LIVE_MS = 2000;
const ENDED_MS = 15_000; // it may be revived, and its summary is made some time after its end
/** @type {("summary" | "performance" | "details")[]} */
const TABS = ["summary", "performance", "details"];

/** @param {HTMLElement} root @param {ViewContext} context @returns {View} */
export function mount(root, { params, query, navigate, setQuery, updateTitle, reload }) {
  const jobId = params.name;
  let wantedRun = readRun(query);
  let tab = tabOf(query);
  /** @type {JobDetail | null} */
  let job = null;
  let every = LIVE_MS;
  const name = jobName({ job_id: jobId, run: wantedRun ?? 1, runs: wantedRun ?? 1 }); // at least
  const badge = statusBadge({ status: "pending" });
  const facts = h("p", { class: "job-facts" });
  const selectors = h("div", { class: "selectors no-print" });
  const error = errorBlock();
  const findings = findingsBlock();
  const state = h("div", null, loading("Loading job …"));
  const panels = {
    summary: summaryPanel(),
    performance: performancePanel({ query, setQuery }),
    details: detailsPanel(),
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
  const compare = h("a", { class: "button" }, "Compare");
  const actions = h(
    "div",
    { class: "button-group no-print" },
    compare,
    h("button", { type: "button", class: "button", on: { click: printAll } }, "Print"),
  );
  replace(
    root,
    h(
      "div",
      { class: "page-head" },
      h("div", { class: "job-title" }, h("h1", null, name), badge),
      actions,
    ),
    facts,
    selectors,
    error.node,
    findings.node,
    state,
    view.node,
  );
  badge.hidden = true;
  actions.hidden = true;

  /** @param {RefreshContext} context */
  async function refresh({ signal }) {
    /** @type {{data: JobDetail}} */
    const { data } = await get(
      `/jobs/${encodeURIComponent(jobId)}`,
      { run: wantedRun },
      { signal },
    );
    if (job && data.run !== job.run) {
      leave(job);
      return;
    }
    if (data.runs !== job?.runs) showHead(data);
    job = data;
    replace(state);
    updateStatusBadge(badge, data);
    error.update(data);
    findings.update(data);
    panels.summary.update(data);
    await showTab(data, signal);
    adjustInterval(data);
  }

  /** @param {JobDetail} current @param {AbortSignal} [signal] */
  async function showTab(current, signal) {
    if (tab !== "summary") await panels[tab].update(current, signal);
  }

  /**
   * A newer run has begun. The page of an only run stays with it; the page of a job's newest run
   * begins again with the new one.
   * @param {JobDetail} current
   */
  function leave(current) {
    if (current.runs > 1) {
      setQuery({ from: null, to: null, disk: null }); // of the run that was shown
      reload();
    } else {
      wantedRun = current.run;
      setQuery({ run: wantedRun });
      refreshing.refresh();
    }
  }

  /** What depends on the job and on how many runs it has. @param {JobDetail} current */
  function showHead(current) {
    updateJobName(name, current);
    updateTitle();
    setAttribute(compare, "href", compareUrl(current));
    badge.hidden = false;
    actions.hidden = false;
    view.node.hidden = false;
    replace(
      selectors,
      machineSelector({ vmName: current.vm_name, navigate }),
      current.vm_name && jobSelector({ vmName: current.vm_name, jobId, navigate }),
      current.runs > 1 && runSelector({ job: current, open: openRun }),
    );
    replace(
      facts,
      [
        current.vm_name &&
          h("a", { href: machineUrl(current.vm_name) }, h("bdi", null, visible(current.vm_name))),
        h("bdi", null, current.job_type),
        current.backup_type && h("bdi", null, current.backup_type),
        current.repository_id && h("bdi", null, current.repository_id),
        current.runs > 1 && runFact(current),
        copyable(jobId, { label: "job ID", shown: "ID" }),
      ]
        .filter(Boolean)
        .map((part) => h("span", { class: "job-fact" }, part)),
    );
  }

  /** Which of the runs the page shows. @param {Job} current */
  function runFact({ runs }) {
    if (wantedRun === null) return `newest of ${runs} runs`;
    return [
      `one of ${runs} runs, `,
      h("a", { href: jobUrl({ job_id: jobId }) }, "show the newest"),
    ];
  }

  /** Opens the same tab of another run. @param {number} run */
  function openRun(run) {
    if (job) navigate(jobUrl({ ...job, run }, { tab: tab === TABS[0] ? null : tab }));
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
      replace(state, notFoundState(problem, { jobId, run: wantedRun }));
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
      if (readRun(nextQuery) !== wantedRun) return false;
      tab = tabOf(nextQuery);
      view.select(tab);
      panels.performance.follow(nextQuery);
      if (job) showTab(job);
      return true;
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
