/** One node: its newest figures, charts of its metrics, and its state changes. */

import { DASHES } from "../charts/compare.js";
import { lineChart } from "../charts/line.js";
import { copyable } from "../components/copyable.js";
import { kpiCard, updateKpiCard } from "../components/kpi.js";
import { emptyState, errorState, loading } from "../components/states.js";
import { statusBadge, updateStatusBadge } from "../components/status.js";
import { dataTable, tableDisclosure } from "../components/table.js";
import { ageElement, elapsedElement, timeElement, updateTime } from "../components/time.js";
import { get, isNotFound } from "../lib/api.js";
import { h, replace, setAttribute, setText, svg } from "../lib/dom.js";
import {
  bytes,
  count,
  decimal,
  duration,
  gigabytes,
  megabytes,
  megabytesPerSecond,
  percent,
  speed,
  time,
  UNKNOWN,
  visible,
} from "../lib/format.js";
import { live } from "../lib/live.js";
import { fetchHistory, figures, LIMITS, limitReached, linePoints } from "../lib/node-series.js";
import { nodesUrl } from "../lib/urls.js";

const RANGES = [
  { id: "1h", label: "1 h", words: "the last hour", seconds: 3600 },
  { id: "6h", label: "6 h", words: "the last 6 hours", seconds: 21_600 },
  { id: "24h", label: "24 h", words: "the last 24 hours", seconds: 86_400 },
  { id: "7d", label: "7 d", words: "the last 7 days", seconds: 604_800 },
  { id: "30d", label: "30 d", words: "the last 30 days", seconds: 2_592_000 },
];
const STATE_EVERY_MS = 5000;
const CHARTS_EVERY_MS = 15_000;
const POINTS = 360;
const MEGABYTE = 1024 ** 2;

/** @typedef {typeof RANGES[0]} Range */
/** @typedef {(value: number | null | undefined) => string} Format */
/**
 * @typedef {object} ChartDefinition
 * @property {string} title
 * @property {string} unit
 * @property {Format} text
 * @property {number} [factor]
 * @property {[string, string][]} lines metric and name
 */

/** @type {Format} */
const plain = (value) => decimal(value, 2);
/** @type {ChartDefinition[]} */
const CHARTS = [
  { title: "CPU", unit: "%", text: percent, lines: [["cpu_percent", "CPU"]] },
  { title: "Memory", unit: "%", text: percent, lines: [["memory_percent", "Memory"]] },
  { title: "Disk", unit: "%", text: percent, lines: [["disk_percent", "Disk"]] },
  {
    title: "Load average",
    unit: "",
    text: plain,
    lines: [
      ["load_avg_1m", "1 min"],
      ["load_avg_5m", "5 min"],
      ["load_avg_15m", "15 min"],
    ],
  },
  {
    title: "Network",
    unit: "bytes/s",
    text: speed,
    factor: MEGABYTE,
    lines: [
      ["network_rx_rate_mbps", "Receiving"],
      ["network_tx_rate_mbps", "Sending"],
    ],
  },
  {
    title: "Processes and connections",
    unit: "",
    text: count,
    lines: [
      ["process_count", "Processes"],
      ["active_connections", "Connections"],
    ],
  },
];
const METRICS = CHARTS.flatMap(({ lines }) => lines.map(([metric]) => metric));

/** @param {HTMLElement} root @param {ViewContext} context @returns {View} */
export function mount(root, { params, query, setQuery }) {
  const id = params.name;
  const path = `/nodes/${encodeURIComponent(id)}`;
  const head = new Head(id);
  const message = h("div", null, loading("Loading node …"));
  const body = h("div", { class: "page", hidden: true });
  let range = RANGES.find((each) => each.id === query.get("range")) ?? RANGES[0];
  const charts = CHARTS.map((chart) => new Chart(chart, id));
  /** @type {import("../lib/live.js").Live | null} */
  let history = null;
  const events = h("section", { class: "card", hidden: true });
  const historyState = h("div");
  const switcher = rangeSwitch(range, (chosen) => {
    range = chosen;
    grid.classList.add("is-stale");
    setQuery({ range: chosen === RANGES[0] ? null : chosen.id });
    history?.refresh();
  });
  const grid = h(
    "div",
    { class: "grid-2" },
    charts.map(({ node }) => node),
  );
  body.append(
    head.cards,
    h(
      "section",
      null,
      h("div", { class: "section-head" }, h("h2", null, "History"), switcher),
      historyState,
      grid,
    ),
    events,
  );
  root.append(head.node, message, body);

  const state = live(
    async ({ signal }) => {
      const { data } = await get(path, {}, { signal });
      replace(message);
      body.hidden = false;
      head.show(data);
      history ??= chartLoop();
      await showEvents(events, path, signal);
    },
    { every: STATE_EVERY_MS, onError: fail },
  );

  // Starts after the node has been found.
  const chartLoop = () =>
    live(
      async ({ signal }) => {
        const shown = range;
        const answer = await fetchHistory(id, {
          metrics: METRICS,
          seconds: shown.seconds,
          points: POINTS,
          signal,
        });
        grid.classList.remove("is-stale");
        grid.hidden = answer.data.snapshots === 0;
        if (grid.hidden)
          replace(
            historyState,
            h(
              "div",
              { class: "card" },
              emptyState(`No data for ${shown.words}`, "A longer range may show older data."),
            ),
          );
        else replace(historyState);
        if (!grid.hidden) for (const chart of charts) chart.show(answer, shown);
      },
      {
        every: CHARTS_EVERY_MS,
        onError: (error, { first }) =>
          first &&
          replace(
            historyState,
            errorState(error, () => history?.refresh()),
          ),
      },
    );

  /** @type {import("../lib/live.js").ErrorHandler} */
  function fail(error, { first }) {
    if (!first) return;
    if (isNotFound(error))
      replace(
        message,
        emptyState(
          "Node not found",
          `The hub has no node with the ID “${id}”.`,
          h("a", { class: "button", href: nodesUrl() }, "All nodes"),
        ),
      );
    else
      replace(
        message,
        errorState(error, () => location.reload()),
      );
  }

  return {
    unmount() {
      state.stop();
      history?.stop();
      for (const chart of charts) chart.dispose();
    },
  };
}

/** The name, the state, and the newest figures. */
class Head {
  /** @param {string} id */
  constructor(id) {
    this.badge = h("span", { class: "badge", hidden: true });
    this.since = h("p", { class: "muted small" });
    this.node = h(
      "div",
      { class: "page-head" },
      h(
        "div",
        { class: "title-line" },
        h("h1", null, h("bdi", null, visible(id))),
        copyable(id, { label: "node ID", shown: "" }),
        this.badge,
      ),
      this.since,
    );
    this.sinceElement = elapsedElement(null);
    this.age = ageElement(null);
    this.stateWord = h("span", { class: "state-word" });
    const card = (/** @type {string} */ label) => kpiCard(label, UNKNOWN);
    this.figures = {
      cpu: card("CPU"),
      memory: card("Memory"),
      disk: card("Disk"),
      load: card("Load, 1 min"),
      receiving: card("Receiving"),
      sending: card("Sending"),
      processes: card("Processes"),
      uptime: card("Uptime"),
    };
    this.cards = h("div", { class: "kpis node-kpis" }, Object.values(this.figures));
  }

  /** @param {HubNode} node */
  show(node) {
    if (!this.since.childNodes.length)
      replace(
        this.since,
        this.stateWord,
        " for ",
        this.sinceElement,
        " · last snapshot ",
        this.age,
      );
    this.badge.hidden = false;
    updateStatusBadge(this.badge, { status: node.state });
    setText(this.stateWord, node.state);
    this.cards.classList.toggle("is-offline", node.state === "offline");
    updateTime(this.sinceElement, node.state_since);
    updateTime(this.age, node.last_seen_at);
    const { cpu, memory, disk, load, receiving, sending, processes, uptime } = this.figures;
    /** @type {(used: number | null, total: number | null, text: Format) => string} */
    const of = (used, total, text) => (total === null ? "" : `${text(used)} of ${text(total)}`);
    updateKpiCard(cpu, percent(node.cpu_percent), "");
    updateKpiCard(
      memory,
      percent(node.memory_percent),
      of(node.memory_used_mb, node.memory_total_mb, megabytes),
      limitReached("memory_percent", node.memory_percent),
    );
    updateKpiCard(
      disk,
      percent(node.disk_percent),
      of(node.disk_used_gb, node.disk_total_gb, gigabytes),
      limitReached("disk_percent", node.disk_percent),
    );
    updateKpiCard(
      load,
      plain(node.load_avg_1m),
      `5 min ${plain(node.load_avg_5m)} · 15 min ${plain(node.load_avg_15m)}`,
    );
    const sinceStart = (/** @type {number | null} */ value) =>
      value === null ? "" : `${bytes(value)} since its start`;
    updateKpiCard(
      receiving,
      megabytesPerSecond(node.network_rx_rate_mbps),
      sinceStart(node.network_rx_bytes),
    );
    updateKpiCard(
      sending,
      megabytesPerSecond(node.network_tx_rate_mbps),
      sinceStart(node.network_tx_bytes),
    );
    updateKpiCard(
      processes,
      count(node.process_count),
      node.active_connections === null ? "" : `${count(node.active_connections)} connections`,
    );
    updateKpiCard(uptime, duration(node.uptime_seconds), "");
  }
}

/** One chart with its title and its data as a table. */
class Chart {
  /** @type {NodeHistory | null} */
  #data = null;
  #to = 0;
  /** @type {LineSeries[]} */
  #series = [];
  /** @type {ReturnType<typeof lineChart> | null} */
  #chart = null;

  /** @param {ChartDefinition} definition @param {string} nodeId */
  constructor({ title, unit, text, factor, lines }, nodeId) {
    this.title = title;
    this.unit = unit;
    this.text = text;
    this.factor = factor;
    this.lines = lines;
    this.nodeId = nodeId;
    this.figures = h("ul", { class: "node-legend" });
    this.canvas = h("div", { class: "node-chart" });
    this.table = tableDisclosure(() => this.#table());
    this.node = h(
      "figure",
      { class: "card" },
      h("figcaption", { class: "section-head" }, h("h3", null, title), this.figures),
      this.canvas,
      this.table.node,
    );
  }

  /** @param {import("../lib/node-series.js").HistoryAnswer} answer @param {Range} range */
  show({ data, from, to }, range) {
    if (data === this.#data && to === this.#to) return;
    this.#data = data;
    this.#to = to;
    this.#series = this.lines.map(([metric, name]) => ({
      name,
      points: linePoints(data, metric, this.factor),
      unit: this.unit,
    }));
    const label = this.#describe(range);
    const limits = LIMITS[this.lines[0][0]] ?? [];
    const options = { series: this.#series, from, to, label, limits };
    const isEmpty = this.#series.every(({ points }) => !points.length);
    this.table.node.hidden = isEmpty;
    if (isEmpty) this.#showEmpty(range);
    else if (this.#chart) this.#chart.update(options);
    else {
      replace(this.canvas);
      this.#chart = lineChart(this.canvas, options);
    }
    replace(
      this.figures,
      this.#series.map((line, index) => this.#legend(line, index)),
    );
    this.table.update();
  }

  /** @param {Range} range */
  #showEmpty(range) {
    this.dispose();
    this.#chart = null;
    replace(this.canvas, emptyState("No data", `The node reported no values in ${range.words}.`));
  }

  /** @param {Range} range */
  #describe(range) {
    const words = this.#series.map(({ name, points }) => {
      const known = figures(points);
      if (!known) return `${name}: no data`;
      return `${name}: newest ${this.text(known.now)}, mean ${this.text(known.mean)}, highest ${this.text(known.highest)}`;
    });
    return `${this.title} of ${this.nodeId} over ${range.words}. ${words.join(". ")}.`;
  }

  /** The figures of a line, with its name and dashes if there are several. */
  #legend(/** @type {LineSeries} */ { name, points }, /** @type {number} */ index) {
    const known = figures(points);
    const text = known
      ? `mean ${this.text(known.mean)}, highest ${this.text(known.highest)}`
      : "no data";
    if (this.#series.length === 1) return h("li", null, text);
    const dash = DASHES[index];
    const line = svg("line", {
      x1: 0,
      x2: 24,
      y1: 4,
      y2: 4,
      "stroke-dasharray": Array.isArray(dash) ? dash.join(" ") : null,
    });
    return h(
      "li",
      null,
      svg(
        "svg",
        {
          class: `series-${index}`,
          viewBox: "0 0 24 8",
          "aria-hidden": "true",
          focusable: "false",
        },
        line,
      ),
      `${name}: ${text}`,
    );
  }

  #table() {
    /** @type {Map<number, number[]>} */
    const byTime = new Map();
    for (const [index, { points }] of this.#series.entries()) {
      for (const [t, value] of points) {
        if (value === null) continue;
        const values = byTime.get(t) ?? [];
        values[index] = value;
        byTime.set(t, values);
      }
    }
    const rows = [...byTime].sort(([one], [other]) => other - one);
    return dataTable({
      caption: `${this.title}, newest first`,
      columns: ["Time", ...this.#series.map(({ name }) => ({ label: name, class: "num" }))],
      rows: rows.map(([t, values]) => [
        time(new Date(t * 1000)),
        ...this.#series.map((_, index) => this.text(values[index])),
      ]),
    });
  }

  dispose() {
    this.#chart?.dispose();
  }
}

/** Buttons for the range. @param {Range} selected @param {(range: Range) => void} choose */
function rangeSwitch(selected, choose) {
  const buttons = RANGES.map((range) =>
    h(
      "button",
      {
        type: "button",
        class: "chip",
        "aria-pressed": range === selected,
        on: { click: () => press(range) },
      },
      range.label,
    ),
  );
  /** @param {Range} range */
  function press(range) {
    for (const [index, button] of buttons.entries()) {
      setAttribute(button, "aria-pressed", RANGES[index] === range);
    }
    choose(range);
  }
  return h("div", { class: "chips", role: "group", "aria-label": "Range of the charts" }, buttons);
}

/** @param {HTMLElement} section @param {string} path @param {AbortSignal} signal */
async function showEvents(section, path, signal) {
  /** @type {{data: Page<NodeEvent>, notModified: boolean}} */
  const { data, notModified } = await get(`${path}/events`, { limit: 20 }, { signal });
  if (notModified && !section.hidden) return;
  section.hidden = data.items.length === 0;
  replace(
    section,
    h("div", { class: "section-head" }, h("h2", null, "State changes")),
    dataTable({
      caption: "State changes, newest first",
      columns: ["Time", "State", "Reason"],
      rows: data.items.map((event) => [
        timeElement(event.time),
        statusBadge({ status: event.to_state }),
        event.reason,
      ]),
    }),
  );
}
