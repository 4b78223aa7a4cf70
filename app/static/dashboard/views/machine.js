/** One machine: its success rate, runs with their errors, and trends. */

import { donutLabel, donutOption } from "../charts/donut.js";
import { kpiCard, updateKpiCard } from "../components/kpi.js";
import { emptyState, errorState, loading } from "../components/states.js";
import { statusIcon } from "../components/status.js";
import { dataTable } from "../components/table.js";
import { get } from "../lib/api.js";
import { childElements, h, replace, setAttribute, setText } from "../lib/dom.js";
import {
  bytes,
  count,
  duration,
  share,
  shortTime,
  speed,
  UNKNOWN,
  visible,
} from "../lib/format.js";
import { live } from "../lib/live.js";
import {
  countLooks,
  lookCount,
  lookFilter,
  lookOf,
  lookText,
  RUN_LOOKS,
  readLook,
} from "../lib/looks.js";
import { compareUrl, machinesUrl } from "../lib/urls.js";
import { chartFigure } from "./job/figure.js";
import { runList } from "./job/run-list.js";
import { countEnds, effectiveSpeed, lastCompleted, repositories } from "./job/runs.js";
import { jobSelector, machineSelector } from "./job/selectors.js";
import { trendCharts } from "./job/trends.js";

const LAST_RUNS = 30;
const PAGE = 30;
const EVERY_MS = 2000;

/** @param {HTMLElement} root @param {ViewContext} context @returns {View} */
export function mount(root, { params, query, navigate, setQuery }) {
  const vmName = params.name;
  let repository = query.get("repository");
  let look = readLook(query);
  let pages = 1;
  const state = h("div", null, loading("Loading machine …"));
  const body = h("div", { class: "page", hidden: true });
  const repositoryField = h("select", {
    class: "select",
    on: { change: () => choose({ repository: repositoryField.value || null }) },
  });
  const repositoryLabel = h(
    "label",
    { class: "labelled" },
    h("span", null, "Repository"),
    repositoryField,
  );
  const cards = machineCards();
  const compare = h("a", { class: "button no-print" }, "Compare the last run");
  const donut = statusDonut({
    choose: (chosen) => choose({ look: chosen === look ? null : chosen }),
  });
  const trends = trendCharts({ navigate });
  const listTitle = h("h2", null, "Runs");
  const runs = runList();
  const listState = h("div");
  const more = h(
    "button",
    {
      type: "button",
      class: "button no-print",
      hidden: true,
      on: {
        click: () => {
          pages += 1;
          refreshing.refresh();
        },
      },
    },
    "Show more runs",
  );
  const showAll = h(
    "button",
    {
      type: "button",
      class: "button no-print",
      hidden: true,
      on: { click: () => choose({ look: null }) },
    },
    "Show all statuses",
  );

  replace(
    root,
    h("div", { class: "page-head" }, h("h1", null, h("bdi", null, visible(vmName))), compare),
    h(
      "div",
      { class: "selectors no-print" },
      machineSelector({ vmName, navigate }),
      jobSelector({ vmName, navigate }),
      repositoryLabel,
    ),
    state,
    body,
  );
  replace(
    body,
    cards.node,
    h("div", { class: "machine-charts" }, h("div", { class: "card" }, donut.node), trends.node),
    h(
      "section",
      null,
      h("div", { class: "section-head" }, listTitle, showAll),
      runs.node,
      listState,
      h("p", { class: "list-more" }, more),
    ),
  );

  /** @param {{repository?: string | null, look?: RunLook | null}} changes */
  function choose(changes) {
    if (changes.repository !== undefined) repository = changes.repository;
    if (changes.look !== undefined) look = changes.look;
    pages = 1;
    setQuery({ repository, ...lookFilter(look) });
    refreshing.refresh();
  }

  /** @param {RefreshContext} context */
  async function refresh({ signal }) {
    const filters = { vm_name: vmName, repository_id: repository };
    const [summary, last, all, listed] = await Promise.all([
      get("/jobs/summary", filters, { signal }),
      get("/jobs", { ...filters, limit: LAST_RUNS }, { signal }),
      // The choice of repositories does not depend on the selected one.
      repository ? get("/jobs", { vm_name: vmName, limit: LAST_RUNS }, { signal }) : null,
      loadRuns({ ...filters, ...lookFilter(look) }, pages, signal),
    ]);
    /** @type {Job[]} */
    const recent = last.data.items;
    if (!recent.length && !repository) {
      body.hidden = true;
      compare.hidden = true;
      replace(
        state,
        emptyState(
          "No jobs for this machine",
          "Check the spelling of its name. Its jobs may also have been deleted.",
          h("a", { class: "button", href: machinesUrl() }, "All machines"),
        ),
      );
      return;
    }
    replace(state);
    body.hidden = false;
    const newest = recent[0];
    compare.hidden = !newest;
    if (newest) setAttribute(compare, "href", compareUrl(newest));
    showRepositories(repositories((all ?? last).data.items));
    cards.update(recent);
    showRuns(listed);
    await Promise.all([donut.update(countLooks(summary.data), look), trends.update(recent)]);
  }

  /** @param {string[]} names */
  function showRepositories(names) {
    const offered = repository && !names.includes(repository) ? [repository, ...names] : names;
    repositoryLabel.hidden = offered.length < 2 && !repository;
    const options = [["", "All repositories"], ...offered.map((name) => [name, name])];
    const key = JSON.stringify(options);
    if (repositoryField.dataset.options !== key) {
      repositoryField.dataset.options = key;
      replace(
        repositoryField,
        options.map(([value, name]) => h("option", { value }, name)),
      );
    }
    repositoryField.value = repository ?? "";
  }

  /** @param {{items: Job[], hasMore: boolean}} runs */
  function showRuns({ items, hasMore }) {
    setText(listTitle, look ? `Runs: ${lookText(look)}` : "Runs");
    runs.update(items);
    replace(
      listState,
      !items.length &&
        emptyState(
          look ? `No runs: ${lookText(look)}` : "No runs",
          "Choose another status or repository.",
        ),
    );
    more.hidden = !hasMore;
    showAll.hidden = !look;
  }

  const refreshing = live(refresh, {
    every: EVERY_MS,
    onError: (error, { first }) =>
      first &&
      replace(
        state,
        errorState(error, () => refreshing.refresh()),
      ),
  });
  return {
    unmount() {
      refreshing.stop();
      donut.dispose();
      trends.dispose();
    },
  };
}

/**
 * The first `pages` pages of runs.
 * @param {Query} filters
 * @param {number} pages
 * @param {AbortSignal} signal
 */
async function loadRuns(filters, pages, signal) {
  /** @type {Job[]} */
  const items = [];
  /** @type {string | null} */
  let cursor = null;
  for (let page = 0; page < pages && (page === 0 || cursor); page += 1) {
    /** @type {{data: Page<Job>}} */
    const { data } = await get("/jobs", { ...filters, limit: PAGE, cursor }, { signal });
    items.push(...data.items);
    cursor = data.next_cursor;
  }
  return { items, hasMore: cursor !== null };
}

function machineCards() {
  const cards = ["Last backup size", "Duration", "Effective speed", "Success rate"].map((name) =>
    kpiCard(name, UNKNOWN, ""),
  );
  return {
    node: h("div", { class: "kpis" }, cards),
    /** @param {Job[]} runs */
    update(runs) {
      for (const [index, { value, note }] of machineFigures(runs).entries()) {
        updateKpiCard(cards[index], value, note);
      }
    },
  };
}

/** The figures of the four cards. @param {Job[]} runs the newest ones */
export function machineFigures(runs) {
  const last = lastCompleted(runs);
  const when = last
    ? `${lookText(lookOf(last))} ${shortTime(last.completed_at)}`
    : noneText(runs.length);
  const ends = countEnds(runs);
  return [
    { value: bytes(last?.bytes_transferred), note: when },
    { value: duration(last?.duration_seconds), note: last ? "of that run" : "" },
    {
      value: speed(last && effectiveSpeed(last)),
      note: last ? "bytes ÷ duration of that run" : "",
    },
    {
      value: share(ends.good, ends.ended),
      note: endsText(ends),
    },
  ];
}

/** @param {number} runs that have not completed */
const noneText = (runs) =>
  runs > 1 ? `none of the last ${count(runs)} runs completed` : "the only run has not completed";

/** "8 good, 1 with a warning, of the last 10 ended runs". @param {ReturnType<typeof countEnds>} ends */
function endsText({ good, warning, ended, live: alive }) {
  const rest = alive ? `; ${alive} not ended` : "";
  if (!ended) return `no run has ended yet${rest}`;
  const warnings = warning ? `, ${lookCount(warning, "warning")},` : "";
  const of = ended === 1 ? "of one run that ended" : `of the last ${ended} runs that ended`;
  return `${good} good${warnings} ${of}${rest}`;
}

/**
 * Runs by status, with a legend of buttons that filter the list.
 * @param {{choose: (look: RunLook) => void}} options
 */
function statusDonut({ choose }) {
  const figure = chartFigure({
    title: "Runs by status",
    kind: "chart-donut",
    onClick: ({ name }) => {
      const look = RUN_LOOKS.find((one) => one === name);
      if (look) choose(look);
    },
  });
  const legend = h("ul", { class: "donut-legend" });
  let drawn = "";
  figure.canvasSlot.after(legend);
  const buttons = new Map(
    RUN_LOOKS.map((look) => {
      const number = h("span", { class: "num" });
      const node = h(
        "button",
        {
          type: "button",
          class: "legend-item",
          dataset: { look },
          "aria-pressed": "false",
          on: { click: () => choose(look) },
        },
        h("span", { class: "slice", "aria-hidden": "true" }),
        statusIcon(look),
        h("span", { class: "legend-name" }, lookText(look)),
        number,
      );
      legend.append(h("li", null, node));
      return [look, { node, number }];
    }),
  );
  return {
    node: figure.node,
    dispose: figure.dispose,
    /** @param {ByLook} byLook @param {RunLook | null} selected */
    async update(byLook, selected) {
      const text = JSON.stringify([byLook, selected]);
      if (text === drawn) return;
      drawn = text;
      for (const [look, { node, number }] of buttons) {
        setText(number, count(byLook[look] ?? 0));
        setAttribute(node, "aria-pressed", String(look === selected));
      }
      for (const [index, look] of RUN_LOOKS.entries()) {
        childElements(legend)[index].hidden = !byLook[look] && look !== selected;
      }
      await figure.show(
        (theme) => donutOption(byLook, { selected }, theme),
        donutLabel(byLook),
        () =>
          dataTable({
            caption: "Runs by status",
            columns: ["Status", { label: "Runs", class: "num" }],
            rows: RUN_LOOKS.map((look) => [lookText(look), count(byLook[look] ?? 0)]),
          }),
      );
    },
  };
}
