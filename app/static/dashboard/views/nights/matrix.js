/**
 * A grid with a row for each series and a column for each day.
 *
 * Rows have one height and are drawn in blocks when they come near the viewport, so that 1,000 of
 * them cost no more than a screenful. There is one tab stop; the arrow keys move in the grid.
 */

import { h, replace } from "../../lib/dom.js";
import { bytes, duration } from "../../lib/format.js";
import { jobUrl, machineUrl } from "../../lib/urls.js";
import { seriesName, stateColour, stateIcon, stateText } from "./states.js";

const BLOCK = 10; // rows
const NEAR = "600px";
const PAGE_ROWS = 10; // of the page keys

/**
 * @typedef {object} MatrixOptions
 * @property {(text: string) => void} onDetail the cell that is pointed at or focused
 * @property {(day: string) => void} onNight the day whose head was chosen
 */

export class Matrix {
  /** @param {MatrixOptions} options */
  constructor({ onDetail, onNight }) {
    this.onDetail = onDetail;
    this.onNight = onNight;
    /** @type {Nights | null} */
    this.nights = null;
    /** @type {NightsItem[]} */
    this.rows = [];
    /** The cell with the tab stop. Row 0 is the head, column 0 the names. */
    this.at = { row: 0, column: 1 };
    this.head = h("div", { role: "rowgroup", class: "matrix-head" });
    this.body = h("div", { role: "presentation", class: "matrix-body" });
    this.grid = h(
      "div",
      {
        role: "grid",
        class: "matrix-grid",
        "aria-label": "Series by day",
        on: {
          keydown: (/** @type {KeyboardEvent} */ event) => this.#onKey(event),
          focusin: (/** @type {FocusEvent} */ event) => this.#onFocus(event.target),
          pointerover: (/** @type {PointerEvent} */ event) => this.#tell(event.target),
        },
      },
      this.head,
      this.body,
    );
    this.node = h("div", { class: "matrix card scroll-box" }, this.grid);
    this.observer = new IntersectionObserver((entries) => this.#fillNear(entries), {
      root: this.node,
      rootMargin: NEAR,
    });
  }

  stop() {
    this.observer.disconnect();
  }

  /** @param {Nights} nights @param {NightsItem[]} rows those of its items to show */
  show(nights, rows) {
    const hadFocus = this.grid.contains(document.activeElement);
    const isFirst = this.nights === null;
    this.nights = nights;
    this.rows = rows;
    this.grid.style.setProperty("--days", String(nights.days.length));
    this.grid.setAttribute("aria-rowcount", String(rows.length + 1));
    this.grid.setAttribute("aria-colcount", String(nights.days.length + 1));
    this.at.row = Math.min(this.at.row, rows.length);
    this.at.column = Math.min(this.at.column, nights.days.length);
    replace(this.head, this.#makeHead(nights.days));
    this.observer.disconnect();
    const blocks = [];
    for (let first = 0; first < rows.length; first += BLOCK) {
      const length = Math.min(BLOCK, rows.length - first);
      const block = h("div", { role: "rowgroup", class: "matrix-block", dataset: { first } });
      block.style.setProperty("--rows", String(length));
      blocks.push(block);
    }
    replace(this.body, blocks);
    for (const block of blocks) this.observer.observe(block);
    if (isFirst) this.at = { row: Math.min(1, rows.length), column: nights.days.length };
    this.#moveTo(this.at.row, this.at.column, hadFocus);
  }

  /** Shows the newest days, where not all fit. */
  scrollToNewest() {
    this.node.scrollLeft = this.node.scrollWidth;
  }

  /** Marks the column of a day. @param {number} day */
  mark(day) {
    for (const cell of this.head.querySelectorAll("button"))
      cell.setAttribute("aria-pressed", String(cell.dataset.column === String(day + 1)));
  }

  /** @param {number} day */
  focusDay(day) {
    for (const cell of this.head.querySelectorAll("button"))
      cell.setAttribute("aria-pressed", "false");
    this.#moveTo(0, day + 1, true);
  }

  /** @param {IntersectionObserverEntry[]} entries */
  #fillNear(entries) {
    for (const { target, isIntersecting } of entries)
      if (isIntersecting) this.#fill(/** @type {HTMLElement} */ (target));
  }

  /** @param {HTMLElement} block */
  #fill(block) {
    if (block.childElementCount || !this.nights) return;
    const first = Number(block.dataset.first);
    const { days } = this.nights;
    block.append(
      ...this.rows
        .slice(first, first + BLOCK)
        .map((item, index) => makeRow(item, days, first + index + 1)),
    );
    this.observer.unobserve(block);
  }

  /** @param {string[]} days */
  #makeHead(days) {
    return h(
      "div",
      { role: "row", class: "matrix-row", "aria-rowindex": 1 },
      h("span", { role: "columnheader", class: "matrix-name" }, "Series"),
      days.map((day, index) => {
        const { weekday, number, long } = dayTexts(day);
        return h(
          "span",
          { role: "columnheader", class: "matrix-day" },
          h(
            "button",
            {
              type: "button",
              tabindex: -1,
              title: `${long}: show as a timeline`,
              "aria-pressed": false,
              dataset: { row: 0, column: index + 1 },
              on: { click: () => this.onNight(day) },
            },
            h("span", { "aria-hidden": true }, weekday),
            h("span", { class: "num", "aria-hidden": true }, number),
            h("span", { class: "visually-hidden" }, `${long}: show as a timeline`),
          ),
        );
      }),
    );
  }

  /** @param {number} row @param {number} column @returns {HTMLElement | null} */
  #cell(row, column) {
    if (row > 0) {
      const block = this.body.children[Math.floor((row - 1) / BLOCK)];
      if (block) this.#fill(/** @type {HTMLElement} */ (block));
    }
    return this.grid.querySelector(`[data-row="${row}"][data-column="${column}"]`);
  }

  /** @param {number} row @param {number} column @param {boolean} focuses */
  #moveTo(row, column, focuses) {
    const cell = this.#cell(row, column);
    if (!cell) return;
    this.grid.querySelector('[data-row][tabindex="0"]')?.setAttribute("tabindex", "-1");
    cell.tabIndex = 0;
    this.at = { row, column };
    if (!focuses) return;
    cell.focus({ preventScroll: true });
    cell.scrollIntoView({ block: "nearest", inline: "nearest" });
  }

  /** @param {EventTarget | null} target */
  #onFocus(target) {
    const cell = cellOf(target);
    if (!cell) return;
    this.#moveTo(Number(cell.dataset.row), Number(cell.dataset.column), false);
    this.#tell(target);
  }

  /** @param {EventTarget | null} target */
  #tell(target) {
    const cell = cellOf(target);
    const text = cell?.getAttribute("aria-label") ?? cell?.title;
    if (!cell || !text) return;
    cell.title = text;
    this.onDetail(text);
  }

  /** @param {KeyboardEvent} event */
  #onKey(event) {
    if (event.altKey || event.metaKey) return;
    const { row, column } = this.at;
    const last = this.nights?.days.length ?? 0;
    const end = this.rows.length;
    /** @type {Record<string, [number, number]>} */
    const targets = {
      ArrowUp: [row - 1, column],
      ArrowDown: [row + 1, column],
      ArrowLeft: [row, column - 1],
      ArrowRight: [row, column + 1],
      PageUp: [row - PAGE_ROWS, column],
      PageDown: [row + PAGE_ROWS, column],
      Home: [event.ctrlKey ? 0 : row, 0],
      End: [event.ctrlKey ? end : row, last],
    };
    if (!(event.key in targets)) return;
    event.preventDefault();
    const [toRow, toColumn] = targets[event.key];
    const bounded = Math.max(0, Math.min(toRow, end));
    // The head has no button in the column of names.
    this.#moveTo(bounded, Math.max(bounded ? 0 : 1, Math.min(toColumn, last)), true);
  }
}

/** @param {EventTarget | null} target @returns {HTMLElement | null} */
const cellOf = (target) => (target instanceof Element ? target.closest("[data-row]") : null);

/** @param {NightsItem} item @param {string[]} days @param {number} row */
function makeRow(item, days, row) {
  const name = seriesName(item);
  const most = Math.max(...item.bytes.map((it) => it ?? 0));
  return h(
    "div",
    { role: "row", class: "matrix-row", "aria-rowindex": row + 1 },
    h(
      "span",
      { role: "rowheader", class: "matrix-name" },
      h(
        "a",
        {
          href:
            item.vm_name === null
              ? jobUrl({ job_id: item.job_id ?? "" })
              : machineUrl(item.vm_name),
          tabindex: -1,
          title: name,
          dataset: { row, column: 0 },
        },
        h("bdi", null, item.vm_name ?? item.job_id),
        h(
          "span",
          { class: "muted" },
          ` · ${[item.job_type, item.repository_id, item.backup_type].filter(Boolean).join(" · ")}`,
        ),
      ),
    ),
    days.map((day, index) => makeCell(item, index, `${dayTexts(day).long}, ${name}`, row, most)),
  );
}

/**
 * A cell of each state, to be copied: there are thousands of them.
 * @type {Map<string, HTMLElement>}
 */
const cells = new Map();

/** @param {NightState | null} state @param {boolean} isLink */
function emptyCell(state, isLink) {
  const key = `${state} ${isLink}`;
  let known = cells.get(key);
  if (!known) {
    const props = {
      class: "night",
      tabindex: -1,
      dataset: { state, look: state && stateColour(state) },
    };
    const icon = state && stateIcon(state);
    const inner = isLink ? h("a", props, icon) : h("span", { ...props, role: "img" }, icon);
    known = h("span", { role: "gridcell" }, inner);
    cells.set(key, known);
  }
  return /** @type {HTMLElement} */ (known.cloneNode(true));
}

/**
 * @param {NightsItem} item
 * @param {number} day
 * @param {string} where
 * @param {number} row
 * @param {number} most bytes of a day of the row
 */
function makeCell(item, day, where, row, most) {
  const state = item.state[day];
  const jobId = item.run_job_id[day];
  const cell = emptyCell(state, jobId !== null);
  const inner = /** @type {HTMLElement} */ (cell.firstElementChild);
  inner.setAttribute("aria-label", `${where}: ${cellText(item, day)}`);
  inner.dataset.row = String(row);
  inner.dataset.column = String(day + 1);
  if (jobId !== null) {
    const run = item.run[day] ?? 1;
    inner.setAttribute("href", jobUrl({ job_id: jobId, run, runs: run }));
  }
  if (most && state === "good")
    inner.style.setProperty("--share", String((item.bytes[day] ?? 0) / most));
  return cell;
}

/** @param {NightsItem} item @param {number} day */
function cellText(item, day) {
  const runs = item.runs[day];
  const parts = [
    stateText(item.state[day]),
    item.bytes[day] !== null && bytes(item.bytes[day]),
    item.seconds[day] !== null && duration(item.seconds[day]),
    runs > 1 && `${runs} runs, ${item.failures[day]} of them failed`,
  ];
  return parts.filter(Boolean).join(", ");
}

// A date has no zone: it is taken and shown as one of UTC.
const WEEKDAY = new Intl.DateTimeFormat("en", { weekday: "narrow", timeZone: "UTC" });
const LONG = new Intl.DateTimeFormat("en-GB", {
  weekday: "short",
  day: "numeric",
  month: "short",
  timeZone: "UTC",
});
/** @type {Map<string, {weekday: string, number: string, long: string}>} */
const dayCache = new Map();

/** @param {string} day "2026-11-30" */
export function dayTexts(day) {
  let known = dayCache.get(day);
  if (!known) {
    const date = new Date(`${day}T00:00:00Z`);
    known = { weekday: WEEKDAY.format(date), number: day.slice(8), long: LONG.format(date) };
    dayCache.set(day, known);
  }
  return known;
}
