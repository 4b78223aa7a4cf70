/** All jobs: those in progress first, then the others, with counts and filters kept in the address. */

import { jobRow, jobRowHead, updateJobRow } from "../components/job_row.js";
import { emptyState, errorState, loading } from "../components/states.js";
import { statusIcon } from "../components/status.js";
import { get } from "../lib/api.js";
import { jobUrl } from "../lib/base.js";
import { h, replace, setAttribute, setText } from "../lib/dom.js";
import { count } from "../lib/format.js";
import { live } from "../lib/live.js";
import { PagedList } from "../lib/pages.js";
import { JOB_STATUSES, LIVE_STATUSES } from "../lib/statuses.js";
import {
  chosenStatuses,
  countsAsked,
  listAsked,
  OTHER_STATUSES,
  readFilters,
} from "./overview/asked.js";
import { activeFilters, FilterForm } from "./overview/filters.js";
import { searchForm } from "./overview/search.js";

// Where the reader was, for when "back" leads here again.
let left = { search: null, lists: [], scroll: 0 };

export async function mount(root, { query, navigate, setQuery, restores }) {
  const view = new Overview(readFilters(query), { navigate, setQuery });
  root.append(view.node);
  root.classList.add("overview");
  if (restores && left.search === location.search) view.restore(left);
  const search = location.search;
  view.start();
  return {
    unmount() {
      left = { ...view.remember(), search };
      view.stop();
    },
  };
}

class Overview {
  constructor(filters, { navigate, setQuery }) {
    this.filters = filters;
    this.setQuery = setQuery;
    this.lists = [
      new Section(
        "In progress",
        LIVE_STATUSES,
        () => this.filters,
        () => this.#render(),
      ),
      new Section(
        "Ended and waiting",
        OTHER_STATUSES,
        () => this.filters,
        () => this.#render(),
      ),
    ];
    this.counts = new StatusChips((statuses) => this.#choose({ status: statuses }));
    this.form = new FilterForm(filters, (changes) => this.#choose(changes));
    this.message = h("div", null, loading("Loading jobs …"));
    this.sections = h(
      "div",
      { class: "page", hidden: true },
      this.lists.map(({ node }) => node),
    );
    this.node = document.createDocumentFragment();
    this.node.append(
      h(
        "div",
        { class: "page-head" },
        h("h1", null, "Jobs"),
        searchForm((id) => navigate(jobUrl(id))),
      ),
      h("div", { class: "overview-filters" }, this.counts.node, this.form.node),
      this.message,
      this.sections,
    );
    this.summary = null;
  }

  start() {
    this.counts.show(null, this.filters.status);
    this.loop = live(({ signal }) => this.#refresh(signal), {
      onError: (error, { first }) => first && this.#fail(error),
    });
  }

  stop() {
    this.loop.stop();
    for (const list of this.lists) list.stop();
  }

  remember() {
    return { lists: this.lists.map((list) => list.pages.remember()), scroll: scrollY };
  }

  restore({ lists, scroll }) {
    this.lists.forEach((list, index) => list.pages.restore(lists[index]));
    replace(this.message);
    this.sections.hidden = false;
    for (const list of this.lists) list.show(true);
    requestAnimationFrame(() => scrollTo(0, scroll));
  }

  async #refresh(signal) {
    const summary = get(...countsAsked(this.filters), { signal }).then(({ data }) => {
      this.summary = data;
      this.#render();
    });
    await Promise.all([summary, ...this.lists.map((list) => list.refresh(signal))]);
  }

  #choose(changes) {
    this.filters = { ...this.filters, ...changes };
    this.setQuery(this.#address());
    this.form.show(this.filters);
    this.counts.show(this.summary, this.filters.status);
    for (const list of this.lists) list.reset();
    this.sections.classList.add("is-stale");
    this.sections.setAttribute("aria-busy", "true");
    this.loop.refresh();
  }

  #address() {
    const { status, ...others } = this.filters;
    return { ...others, status: status.join(",") };
  }

  #render() {
    this.counts.show(this.summary, this.filters.status);
    const asked = this.lists.filter((list) => list.statuses().length);
    if (!asked.every((list) => list.pages.isLoaded)) return;
    this.sections.classList.remove("is-stale");
    this.sections.removeAttribute("aria-busy");
    const isEmpty = asked.every((list) => list.pages.isEmpty);
    for (const list of this.lists) list.show(asked.includes(list) && !isEmpty, this.summary);
    this.sections.hidden = isEmpty;
    if (isEmpty && !this.message.dataset.empty) replace(this.message, this.#nothing());
    else if (!isEmpty) replace(this.message);
    this.message.dataset.empty = isEmpty ? "yes" : "";
  }

  #nothing() {
    if (!activeFilters(this.filters)) {
      return emptyState(
        "No job has reported yet",
        "Jobs appear here by themselves with their first update.",
      );
    }
    const all = { status: [], type: "", machine: "", repository: "", since: "", from: "", to: "" };
    return emptyState(
      "No job matches these filters",
      "",
      h(
        "button",
        { type: "button", class: "button", on: { click: () => this.#choose(all) } },
        "Clear the filters",
      ),
    );
  }

  #fail(error) {
    this.message.dataset.empty = "";
    this.sections.hidden = true;
    replace(
      this.message,
      errorState(error, () => this.loop.refresh()),
    );
  }
}

/** One of the two lists: a table of jobs of some statuses. */
class Section {
  constructor(title, statuses, filters, onChange) {
    this.title = title;
    this.all = statuses;
    this.filters = filters;
    this.pages = new PagedList({
      fetchPage: (cursor, signal) =>
        get(...listAsked(this.filters(), this.all, cursor), { signal }),
      key: (job) => job.job_id,
      make: jobRow,
      update: updateJobRow,
      onChange,
      moreLabel: "Show more jobs",
    });
    this.head = h("h2", null, title);
    this.nothing = h("p", { class: "muted", hidden: true }, "Nothing is in progress.");
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
      this.nothing,
      this.table,
      this.pages.foot,
    );
  }

  /** Those of its statuses that are asked for. */
  statuses() {
    return chosenStatuses(this.filters(), this.all);
  }

  async refresh(signal) {
    if (this.statuses().length) await this.pages.refresh(signal);
  }

  reset() {
    this.pages.reset();
  }

  stop() {
    this.pages.stop();
  }

  show(isShown, summary) {
    const { isEmpty } = this.pages;
    const isOther = this.all !== LIVE_STATUSES;
    this.node.hidden = !isShown || (isEmpty && isOther);
    this.table.hidden = isEmpty;
    this.nothing.hidden = !isEmpty;
    if (!summary || !isShown) return;
    const title = this.filters().status.length ? this.statuses().join(", ") : this.title;
    const total = this.statuses().reduce((sum, status) => sum + summary.by_status[status], 0);
    setText(this.head, `${title[0].toUpperCase()}${title.slice(1)} (${count(total)})`);
    setAttribute(this.table, "aria-rowcount", total + 1);
  }
}

/** Counts by status, each a switch of the filter. */
class StatusChips {
  constructor(choose) {
    this.chosen = [];
    const toggle = (status) =>
      choose(
        this.chosen.includes(status)
          ? this.chosen.filter((each) => each !== status)
          : [...this.chosen, status],
      );
    this.all = chip("All", null, () => choose([]));
    this.chips = JOB_STATUSES.map((status) => chip(status, status, () => toggle(status)));
    this.node = h(
      "div",
      { class: "chips", role: "group", "aria-label": "Filter by status" },
      this.all,
      this.chips,
    );
  }

  show(summary, chosen) {
    this.chosen = chosen;
    const figures = [summary?.total, ...JOB_STATUSES.map((status) => summary?.by_status[status])];
    [this.all, ...this.chips].forEach((node, index) => {
      const isOn = index ? chosen.includes(JOB_STATUSES[index - 1]) : chosen.length === 0;
      setAttribute(node, "aria-pressed", isOn);
      setText(node.lastChild, summary ? count(figures[index]) : "");
      node.classList.toggle("is-zero", figures[index] === 0);
    });
  }
}

function chip(label, status, click) {
  return h(
    "button",
    {
      type: "button",
      class: "chip",
      dataset: { look: status },
      "aria-pressed": "false",
      on: { click },
    },
    status && statusIcon(status),
    h("span", { class: "chip-label" }, label),
    h("span", { class: "chip-count num" }),
  );
}
