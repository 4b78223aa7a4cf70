/** Machines × nights: what became of the last days of each series, and one night as a timeline. */

import { emptyState, errorState, loading } from "../components/states.js";
import { get } from "../lib/api.js";
import { h, replace, setText } from "../lib/dom.js";
import { count } from "../lib/format.js";
import { live } from "../lib/live.js";
import { apiUrl } from "../lib/urls.js";
import { Matrix } from "./nights/matrix.js";
import { countStates, legend, NIGHT_STATES, seriesName, stateText } from "./nights/states.js";
import { timeline } from "./nights/timeline.js";

const EVERY_MS = 60_000;
const FIRST_PAGE = 100; // more than a screen, and quick
const PAGE = 500;
const DAYS = ["14", "30", "90"];
const BEGINS = ["12", "0"];
const ROWS = { all: "All", trouble: "With trouble" };
const ZONE = Intl.DateTimeFormat().resolvedOptions().timeZone || "UTC";

/** @param {HTMLElement} root @param {ViewContext} context @returns {View} */
export function mount(root, { query, setQuery }) {
  const chosen = {
    days: known(DAYS, query.get("days"), "30"),
    begins: known(BEGINS, query.get("begins"), "12"),
    rows: known(Object.keys(ROWS), query.get("rows"), "all"),
    q: query.get("q") ?? "",
    night: query.get("night"),
  };
  /** @type {Nights | null} */
  let shown = null;
  /** @type {{stop: () => void} | null} */
  let night = null;
  const state = h("div", null, loading("Loading nights …"));
  const about = h("p", { class: "muted small", role: "status" });
  const detail = h("p", { class: "night-detail small" });
  const csv = h("a", { class: "button", download: "" }, "CSV");
  const timelineBox = h("section", { class: "card", hidden: true });
  const matrix = new Matrix({
    onDetail: (text) => setText(detail, text),
    onNight: (day) => showNight(day, { push: true }),
  });
  const filter = h("input", {
    type: "search",
    class: "field",
    value: chosen.q,
    autocomplete: "off",
    spellcheck: "false",
    on: { input: () => choose({ q: filter.value }) },
  });
  matrix.node.hidden = true;
  replace(
    root,
    h(
      "div",
      { class: "page-head" },
      h("h1", null, "Machines × nights"),
      h(
        "div",
        { class: "night-controls no-print" },
        labelled("Name contains", filter),
        select("Rows", chosen.rows, ROWS, (rows) => choose({ rows })),
        select(
          "Range",
          chosen.days,
          texts(DAYS, (days) => `${days} days`),
          (days) => choose({ days }, { fetches: true }),
        ),
        select(
          "A day begins",
          chosen.begins,
          { 12: "at noon: nights", 0: "at midnight" },
          (begins) => choose({ begins }, { fetches: true }),
        ),
        csv,
      ),
    ),
    h("div", { class: "night-about" }, about, legend(), detail),
    state,
    matrix.node,
    timelineBox,
  );

  /** @param {Partial<typeof chosen>} changes @param {{fetches?: boolean}} [options] */
  function choose(changes, { fetches = false } = {}) {
    Object.assign(chosen, changes);
    setQuery(changes);
    if (fetches) refreshing.refresh();
    else render();
  }

  function render() {
    if (!shown) return;
    const rows = shown.items.filter((item) => matches(item, chosen));
    matrix.show(shown, rows);
    matrix.node.hidden = rows.length === 0;
    setText(about, aboutText(shown, rows.length));
    csv.href = apiUrl("/series/nights", { ...params(chosen), format: "csv" });
    if (rows.length) replace(state);
    else if (shown.items.length)
      replace(state, emptyState("No series matches", "Change the text or show all rows."));
    else replace(state, emptyState("No series yet", "A series appears when its first run begins."));
  }

  /** @param {string | null} day @param {{push?: boolean}} [options] */
  function showNight(day, { push = false } = {}) {
    night?.stop();
    night = null;
    chosen.night = day;
    if (push) setQuery({ night: day }, { push: true });
    const at = shown?.days.indexOf(day ?? "") ?? -1;
    timelineBox.hidden = at < 0;
    if (!shown || at < 0) return;
    matrix.mark(at);
    night = timeline(timelineBox, {
      day: shown.days[at],
      from: new Date(shown.bounds[at]),
      to: new Date(shown.bounds[at + 1]),
      zone: shown.zone,
      onClose: () => {
        showNight(null, { push: true });
        matrix.focusDay(at);
      },
    });
    if (push) timelineBox.querySelector("h2")?.focus();
  }

  const refreshing = live(
    async ({ signal, first }) => {
      /** @param {Nights} nights */
      const draw = (nights) => {
        const isNew = !shown || shown.days.join() !== nights.days.join();
        shown = nights;
        render();
        if (isNew) matrix.scrollToNewest();
        if (isNew && chosen.night) showNight(chosen.night);
      };
      await loadNights(params(chosen), first, draw, signal);
    },
    {
      every: EVERY_MS,
      onError: (error, { first }) =>
        first &&
        replace(
          state,
          errorState(error, () => refreshing.refresh()),
        ),
    },
  );
  return {
    unmount() {
      refreshing.stop();
      night?.stop();
      matrix.stop();
    },
    follow(next) {
      const same =
        DAYS.includes(next.get("days") ?? "30") && chosen.days === (next.get("days") ?? "30");
      if (!same || chosen.begins !== (next.get("begins") ?? "12")) return false;
      showNight(next.get("night"));
      return true;
    },
  };
}

/** @param {{days: string, begins: string}} chosen */
const params = ({ days, begins }) => ({ days, zone: ZONE, begins_hour: begins });

/**
 * Fetches all series. The first time it draws the first page at once.
 * @param {Query} query
 * @param {boolean} first
 * @param {(nights: Nights) => void} draw
 * @param {AbortSignal} signal
 */
async function loadNights(query, first, draw, signal) {
  /** @type {NightsItem[]} */
  const items = [];
  let limit = FIRST_PAGE;
  let cursor = null;
  let isSame = true;
  do {
    const { data, notModified } = await get(
      "/series/nights",
      { ...query, limit, cursor },
      { signal },
    );
    items.push(...data.items);
    isSame &&= notModified;
    cursor = data.next_cursor;
    limit = PAGE;
    if (cursor === null ? !isSame || first : first) draw({ ...data, items: [...items] });
  } while (cursor !== null);
}

/** @param {NightsItem} item @param {{q: string, rows: string}} chosen */
function matches(item, { q, rows }) {
  if (rows === "trouble" && !item.state.some((it) => it === "failed" || it === "missing"))
    return false;
  return seriesName(item).toLowerCase().includes(q.trim().toLowerCase());
}

/** @param {Nights} nights @param {number} rows */
function aboutText({ items, zone, begins_hour: begins, next_cursor: more }, rows) {
  const newest = countStates(items.map((item) => item.state.at(-1) ?? null));
  const parts = NIGHT_STATES.filter((state) => newest[state]).map(
    (state) => `${count(newest[state])} ${stateText(state)}`,
  );
  const all = `${count(items.length)}${more ? "+" : ""} series`;
  const which = rows === items.length ? all : `${count(rows)} of ${all}`;
  const clock = begins ? "from noon to noon" : "from midnight to midnight";
  return `${which}. Days ${clock}, time zone ${zone}. The newest: ${parts.join(", ") || "nothing yet"}.`;
}

/** @param {string[]} allowed @param {string | null} value @param {string} otherwise */
const known = (allowed, value, otherwise) =>
  value !== null && allowed.includes(value) ? value : otherwise;

/** @param {string[]} values @param {(value: string) => string} text */
const texts = (values, text) => Object.fromEntries(values.map((value) => [value, text(value)]));

/** @param {string} label @param {HTMLElement} field */
const labelled = (label, field) => h("label", { class: "labelled" }, h("span", null, label), field);

/**
 * @param {string} label
 * @param {string} value
 * @param {Record<string, string>} options
 * @param {(value: string) => void} onChange
 */
function select(label, value, options, onChange) {
  const field = h(
    "select",
    { class: "select", on: { change: () => onChange(field.value) } },
    Object.entries(options).map(([each, text]) =>
      h("option", { value: each, selected: each === value }, text),
    ),
  );
  return labelled(label, field);
}
