/**
 * What needs attention, and all jobs: those that are stalled, running, pending and ended, with counts,
 * and filters in the address.
 */

import { jobRow, jobRowHead, updateJobRow } from "../components/job-row.js";
import { emptyState, errorState, loading } from "../components/states.js";
import { statusIcon } from "../components/status.js";
import { get } from "../lib/api.js";
import { childElements, h, replace, setAttribute, setText } from "../lib/dom.js";
import { count } from "../lib/format.js";
import { live } from "../lib/live.js";
import { PagedList } from "../lib/paged-list.js";
import { runKey } from "../lib/runs.js";
import { JOB_LISTS, JOB_STATUSES } from "../lib/statuses.js";
import { jobUrl } from "../lib/urls.js";
import { AttentionPanel } from "./overview/attention.js";
import { activeFilters, FilterForm } from "./overview/filters.js";
import {
  countsRequest,
  csvUrl,
  listRequest,
  NO_FILTERS,
  readFilters,
  selectedStatuses,
} from "./overview/requests.js";
import { searchForm } from "./overview/search.js";

/**
 * @import { SavedPage } from "../lib/paged-list.js"
 * @import { SavedItems } from "./overview/attention.js"
 * @import { Filters } from "./overview/requests.js"
 *
 * @typedef {{lists: SavedPage[][], items: SavedItems | null, scroll: number}} Position
 */

/**
 * The position when the view was left, for "back".
 * @type {Position & {search: string | null}}
 */
let saved = { search: null, lists: [], items: null, scroll: 0 };

/** @param {HTMLElement} root @param {ViewContext} context @returns {View} */
export function mount(root, { query, restores, ...context }) {
  const view = new Overview(readFilters(query), context);
  root.append(view.node);
  root.classList.add("overview");
  if (restores && saved.search === location.search) view.restore(saved);
  view.start();
  return {
    follow(nextQuery) {
      view.follow(readFilters(nextQuery));
      return true;
    },
    unmount() {
      saved = { ...view.save(), search: view.search };
      view.stop();
    },
  };
}

/** @type {{label: string, filters: Partial<Filters>}[]} */
const PRESETS = [
  { label: "Last night", filters: { since: "night" } },
  { label: "Failed in the last 24 hours", filters: { status: ["failed"], since: "24h" } },
];

const DENSE = "hub-dense-rows"; // in localStorage

function isDense() {
  try {
    return localStorage.getItem(DENSE) === "yes";
  } catch {
    return false; // storage is off
  }
}

/** A button for rows of one line, which this browser keeps. @param {(isDense: boolean) => void} onChange */
function denseSwitch(onChange) {
  const button = h(
    "button",
    {
      type: "button",
      class: "button button-quiet",
      "aria-pressed": isDense(),
      on: { click: toggle },
    },
    "Dense rows",
  );
  function toggle() {
    const next = button.getAttribute("aria-pressed") !== "true";
    button.setAttribute("aria-pressed", String(next));
    try {
      if (next) localStorage.setItem(DENSE, "yes");
      else localStorage.removeItem(DENSE);
    } catch {
      // Storage is off: only this page remembers.
    }
    onChange(next);
  }
  return button;
}

class Overview {
  /**
   * @param {Filters} filters
   * @param {Pick<ViewContext, "navigate" | "setQuery" | "updateTitle">} context
   */
  constructor(filters, { navigate, setQuery, updateTitle }) {
    this.filters = filters;
    this.search = location.search;
    this.setQuery = setQuery;
    this.lists = JOB_LISTS.map(
      (list) =>
        new Section(
          list,
          () => this.filters,
          () => this.#render(),
        ),
    );
    this.attention = new AttentionPanel({
      onCount: updateTitle,
      refresh: () => this.loop?.refresh(),
    });
    this.counts = new StatusChips((changes) => this.#choose(changes));
    this.form = new FilterForm(filters, (changes) => this.#choose(changes));
    this.csv = h("a", { class: "button button-quiet", download: "" }, "Save as CSV");
    this.presets = h(
      "div",
      { class: "presets no-print" },
      PRESETS.map(({ label, filters: preset }) =>
        h(
          "button",
          {
            type: "button",
            class: "button button-quiet",
            on: { click: () => this.#choose({ ...NO_FILTERS, ...preset }) },
          },
          label,
        ),
      ),
      denseSwitch((isDense) => this.sections.classList.toggle("is-dense", isDense)),
      this.csv,
    );
    this.message = h("div", null, loading("Loading jobs …"));
    this.sections = h(
      "div",
      { class: ["page", isDense() && "is-dense"], hidden: true },
      this.lists.map(({ node }) => node),
    );
    this.node = document.createDocumentFragment();
    this.node.append(
      h(
        "div",
        { class: "page-head" },
        h("h1", null, "Jobs"),
        searchForm((id) => navigate(jobUrl({ job_id: id }))),
      ),
      this.attention.node,
      h("div", { class: "overview-filters" }, this.counts.node, this.form.node, this.presets),
      this.message,
      this.sections,
    );
    /** @type {JobSummary | null} */
    this.summary = null;
    /** @type {import("../lib/live.js").Live | null} */
    this.loop = null;
  }

  start() {
    this.counts.show(null, this.filters);
    this.loop = live(({ signal }) => this.#refresh(signal), {
      onError: (error, { first }) => first && this.#fail(error),
    });
  }

  stop() {
    this.loop?.stop();
    for (const list of this.lists) list.stop();
  }

  save() {
    return {
      lists: this.lists.map((list) => list.pages.save()),
      items: this.attention.save(),
      scroll: scrollY,
    };
  }

  /** @param {Position} position */
  restore({ lists, items, scroll }) {
    this.attention.restore(items);
    for (const [index, list] of this.lists.entries()) list.pages.restore(lists[index]);
    replace(this.message);
    this.sections.hidden = false;
    for (const [index, list] of this.lists.entries())
      list.show(lists[index].some((page) => page.count > 0));
    requestAnimationFrame(() => scrollTo(0, scroll));
  }

  /** @param {AbortSignal} signal */
  async #refresh(signal) {
    const summary = get(...countsRequest(this.filters), { signal }).then(({ data }) => {
      this.summary = data;
      this.#render();
    });
    const attention = this.attention.refresh(signal);
    await Promise.all([attention, summary, ...this.lists.map((list) => list.refresh(signal))]);
  }

  /** @param {Partial<Filters>} changes */
  #choose(changes) {
    this.filters = { ...this.filters, ...changes };
    this.setQuery(this.#address(), { push: true });
    this.#apply();
  }

  /** "Back" and "forward" between filters. @param {Filters} filters */
  follow(filters) {
    this.filters = filters;
    this.form.since.value = ""; // also if a custom range was being entered
    this.#apply();
  }

  #apply() {
    this.search = location.search;
    this.form.show(this.filters);
    this.counts.show(this.summary, this.filters);
    for (const list of this.lists) list.reset();
    this.sections.classList.add("is-stale");
    this.sections.setAttribute("aria-busy", "true");
    this.loop?.refresh();
  }

  #address() {
    const { status, text, ...others } = this.filters;
    return { ...others, q: text, status: status.join(",") };
  }

  #render() {
    this.counts.show(this.summary, this.filters);
    setAttribute(this.csv, "href", csvUrl(this.filters));
    const selected = this.lists.filter((list) => list.statuses().length);
    if (!selected.every((list) => list.pages.isLoaded)) return;
    this.sections.classList.remove("is-stale");
    this.sections.removeAttribute("aria-busy");
    const isEmpty = selected.every((list) => list.pages.isEmpty);
    for (const list of this.lists) list.show(selected.includes(list) && !isEmpty, this.summary);
    this.sections.hidden = isEmpty;
    if (isEmpty && !this.message.dataset.empty) replace(this.message, this.#emptyState());
    else if (!isEmpty) replace(this.message);
    this.message.dataset.empty = isEmpty ? "yes" : "";
  }

  #emptyState() {
    if (!activeFilters(this.filters)) {
      return emptyState(
        "No job has reported yet",
        "A job appears here when it sends its first update.",
      );
    }
    return emptyState(
      "No job matches these filters",
      "",
      h(
        "button",
        { type: "button", class: "button", on: { click: () => this.#choose(NO_FILTERS) } },
        "Clear filters",
      ),
    );
  }

  /** @param {unknown} error */
  #fail(error) {
    this.message.dataset.empty = "";
    this.sections.hidden = true;
    replace(
      this.message,
      errorState(error, () => this.loop?.refresh()),
    );
  }
}

/** One of the lists: a table of jobs of some statuses. */
class Section {
  /**
   * @param {typeof JOB_LISTS[0]} list
   * @param {() => Filters} filters
   * @param {() => void} onChange
   */
  constructor({ title, statuses }, filters, onChange) {
    this.title = title;
    this.all = statuses;
    this.filters = filters;
    /** @type {PagedList<Job>} */
    this.pages = new PagedList({
      fetchPage: (cursor, signal) =>
        get(...listRequest(this.filters(), this.all, cursor), { signal }),
      key: runKey,
      make: jobRow,
      update: updateJobRow,
      onChange,
      moreLabel: "Show more jobs",
    });
    this.head = h("h2", null, title);
    this.table = h(
      "div",
      { class: "job-table card", role: "table", "aria-label": title },
      h("div", { role: "rowgroup" }, jobRowHead()),
      this.pages.body,
    );
    this.node = h(
      "section",
      { hidden: true },
      h("div", { class: "section-head" }, this.head),
      this.table,
      this.pages.foot,
    );
  }

  /** Those of its statuses that the filters select. */
  statuses() {
    return selectedStatuses(this.filters(), this.all);
  }

  /** @param {AbortSignal} signal */
  async refresh(signal) {
    if (this.statuses().length) await this.pages.refresh(signal);
  }

  reset() {
    this.pages.reset();
  }

  stop() {
    this.pages.stop();
  }

  /** @param {boolean} isShown @param {JobSummary | null} [summary] */
  show(isShown, summary) {
    const { isEmpty } = this.pages;
    this.node.hidden = !isShown || isEmpty;
    if (!summary || !isShown) return;
    const { result } = this.filters();
    const capital = this.#title();
    if (this.filters().text) {
      // The hub does not count the jobs that contain a text.
      setText(this.head, capital);
      setAttribute(this.table, "aria-rowcount", -1);
      return;
    }
    const total = result
      ? summary.by_result[result]
      : this.statuses().reduce((sum, status) => sum + summary.by_status[status], 0);
    setText(this.head, `${capital} (${count(total)})`);
    setAttribute(this.table, "aria-rowcount", total + 1);
  }

  #title() {
    const { status, result } = this.filters();
    if (result) return `Completed ${result === "warning" ? "with" : "without"} a warning`;
    const title = status.length ? this.statuses().join(", ") : this.title;
    return `${title[0].toUpperCase()}${title.slice(1)}`;
  }
}

/** @typedef {Pick<Filters, "status" | "result">} Chosen */

/** Counts by status, and of warnings, as toggle buttons of the filter. */
class StatusChips {
  /** @param {(changes: Chosen) => void} choose */
  constructor(choose) {
    /** @type {Chosen} */
    this.chosen = { status: [], result: "" };
    const toggle = (/** @type {JobStatus} */ status) => {
      const before = this.chosen.result ? [] : this.chosen.status;
      const after = before.filter((each) => each !== status);
      choose({ status: after.length < before.length ? after : [...before, status], result: "" });
    };
    this.all = chip("All", null, () => choose({ status: [], result: "" }));
    this.chips = JOB_STATUSES.map((status) => chip(status, status, () => toggle(status)));
    this.warning = chip("With a warning", "warning", () =>
      choose({ status: [], result: this.chosen.result === "warning" ? "" : "warning" }),
    );
    const completed = JOB_STATUSES.indexOf("completed");
    this.node = h(
      "div",
      { class: "chips", role: "group", "aria-label": "Filter by status" },
      this.all,
      this.chips.toSpliced(completed + 1, 0, this.warning),
    );
  }

  /** @param {JobSummary | null} summary @param {Chosen} chosen */
  show(summary, chosen) {
    this.chosen = chosen;
    const { status: statuses, result } = chosen;
    updateChip(this.all, !statuses.length && !result, summary?.total);
    updateChip(this.warning, result === "warning", summary?.by_result.warning);
    for (const [index, status] of JOB_STATUSES.entries()) {
      updateChip(this.chips[index], statuses.includes(status), summary?.by_status[status]);
    }
  }
}

/** @param {HTMLElement} node @param {boolean} isOn @param {number | undefined} number */
function updateChip(node, isOn, number) {
  setAttribute(node, "aria-pressed", isOn);
  setText(childElements(node).slice(-1)[0], number === undefined ? "" : count(number));
  node.classList.toggle("is-zero", number === 0);
}

/** @param {string} label @param {RunLook | null} look @param {() => void} click */
function chip(label, look, click) {
  return h(
    "button",
    {
      type: "button",
      class: "chip",
      dataset: { look },
      "aria-pressed": "false",
      on: { click },
    },
    look && statusIcon(look),
    h("span", { class: "chip-label" }, label),
    h("span", { class: "chip-count num" }),
  );
}
