/** One node: its newest figures, charts of its metrics over a choice of ranges, its state's changes. */

import { DASHES } from "../charts/compare.js";
import { lineChart } from "../charts/line.js";
import { copyable } from "../components/copyable.js";
import { kpiCard, updateKpiCard } from "../components/kpi.js";
import { emptyState, errorState, loading } from "../components/states.js";
import { statusBadge, updateStatusBadge } from "../components/status.js";
import { dataTable, tableDisclosure } from "../components/table.js";
import { ageElement, elapsedElement, timeElement, updateTime } from "../components/time.js";
import { get } from "../lib/api.js";
import { nodesUrl } from "../lib/base.js";
import { h, replace, setAttribute, svg } from "../lib/dom.js";
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
} from "../lib/format.js";
import { live } from "../lib/live.js";
import { fetchHistory, figures, linePoints } from "../lib/node_series.js";

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

const plain = (value) => decimal(value, 2);
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

export async function mount(root, { params, query, setQuery }) {
  const id = params.name;
  const path = `/nodes/${encodeURIComponent(id)}`;
  const head = new Head(id);
  const message = h("div", null, loading("Loading the node …"));
  const body = h("div", { class: "page", hidden: true });
  let range = RANGES.find((each) => each.id === query.get("range")) ?? RANGES[0];
  const charts = CHARTS.map((chart) => new Chart(chart, id));
  let history = null;
  const events = h("section", { class: "card", hidden: true });
  const nothing = h("div");
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
      nothing,
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

  // Begun once the node is known to be there.
  const chartLoop = () =>
    live(
      async ({ signal }) => {
        const asked = range;
        const answer = await fetchHistory(id, {
          metrics: METRICS,
          seconds: asked.seconds,
          points: POINTS,
          signal,
        });
        grid.classList.remove("is-stale");
        grid.hidden = answer.data.snapshots === 0;
        if (grid.hidden)
          replace(
            nothing,
            h(
              "div",
              { class: "card" },
              emptyState(
                `Nothing was reported in ${asked.words}`,
                "A longer range may show what was before.",
              ),
            ),
          );
        else replace(nothing);
        if (!grid.hidden) for (const chart of charts) chart.show(answer, asked);
      },
      {
        every: CHARTS_EVERY_MS,
        onError: (error, { first }) =>
          first &&
          replace(
            nothing,
            errorState(error, () => history.refresh()),
          ),
      },
    );

  function fail(error, { first }) {
    if (!first) return;
    if (error.isNotFound)
      replace(
        message,
        emptyState(
          "There is no such node",
          `No node with the id “${id}” has ever reported here.`,
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
  constructor(id) {
    this.badge = h("span", { class: "badge", hidden: true });
    this.since = h("p", { class: "muted small" });
    this.node = h(
      "div",
      { class: "page-head" },
      h(
        "div",
        { class: "title-line" },
        h("h1", null, h("bdi", null, id)),
        copyable(id, { label: "node id", shown: "" }),
        this.badge,
      ),
      this.since,
    );
    this.sinceElement = elapsedElement(null);
    this.age = ageElement(null);
    const card = (label) => kpiCard(label, UNKNOWN);
    this.figures = {
      cpu: card("CPU"),
      memory: card("Memory"),
      disk: card("Disk"),
      load: card("Load, 1 min"),
      receiving: card("Receiving"),
      sending: card("Sending"),
      processes: card("Processes"),
      uptime: card("Up for"),
    };
    this.cards = h("div", { class: "kpis node-kpis" }, Object.values(this.figures));
  }

  show(node) {
    if (!this.since.childNodes.length)
      replace(
        this.since,
        h("span", { class: "state-word" }),
        " for ",
        this.sinceElement,
        " · last snapshot ",
        this.age,
      );
    this.badge.hidden = false;
    updateStatusBadge(this.badge, node.state);
    this.since.firstChild.textContent = node.state;
    updateTime(this.sinceElement, node.state_since);
    updateTime(this.age, node.last_seen_at);
    const { cpu, memory, disk, load, receiving, sending, processes, uptime } = this.figures;
    const of = (used, total, text) => (total === null ? "" : `${text(used)} of ${text(total)}`);
    updateKpiCard(cpu, percent(node.cpu_percent), "");
    updateKpiCard(
      memory,
      percent(node.memory_percent),
      of(node.memory_used_mb, node.memory_total_mb, megabytes),
    );
    updateKpiCard(
      disk,
      percent(node.disk_percent),
      of(node.disk_used_gb, node.disk_total_gb, gigabytes),
    );
    updateKpiCard(
      load,
      plain(node.load_avg_1m),
      `5 min ${plain(node.load_avg_5m)} · 15 min ${plain(node.load_avg_15m)}`,
    );
    const sinceStart = (value) => (value === null ? "" : `${bytes(value)} since its start`);
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

/** One chart with its title and the same as a table. */
class Chart {
  constructor({ title, unit, text, factor, lines }, nodeId) {
    Object.assign(this, { title, unit, text, factor, lines, nodeId });
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
    this.chart = null;
  }

  show({ data, from, to }, range) {
    if (data === this.data && to === this.to) return;
    this.data = data;
    this.to = to;
    this.series = this.lines.map(([metric, name]) => ({
      name,
      points: linePoints(data, metric, this.factor),
      unit: this.unit,
    }));
    const options = { series: this.series, from, to, label: this.#describe(range) };
    if (this.chart) this.chart.update(options);
    else this.#begin(options);
    replace(
      this.figures,
      this.series.map((line, index) => this.#legend(line, index)),
    );
    this.table.update();
  }

  #begin(options) {
    this.chart = lineChart(this.canvas, options);
    // The table below still shows the figures.
    Promise.resolve(this.chart.ready).catch(() =>
      replace(this.canvas, h("p", { class: "muted" }, "The chart could not be loaded.")),
    );
  }

  #describe(range) {
    const words = this.series.map(({ name, points }) => {
      const known = figures(points);
      if (!known) return `${name}: nothing reported`;
      return `${name}: newest ${this.text(known.now)}, mean ${this.text(known.mean)}, highest ${this.text(known.highest)}`;
    });
    return `${this.title} of ${this.nodeId} over ${range.words}. ${words.join(". ")}.`;
  }

  /** A line's name and dashes, where there are several, and its figures. */
  #legend({ name, points }, index) {
    const known = figures(points);
    const text = known
      ? `mean ${this.text(known.mean)}, highest ${this.text(known.highest)}`
      : "nothing reported";
    if (this.series.length === 1) return h("li", null, text);
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
    const byTime = new Map();
    this.series.forEach(({ points }, index) => {
      for (const [t, value] of points) {
        if (value === null) continue;
        if (!byTime.has(t)) byTime.set(t, []);
        byTime.get(t)[index] = value;
      }
    });
    const times = [...byTime.keys()].sort((one, other) => other - one);
    return dataTable({
      caption: `${this.title}, newest first`,
      columns: ["Time", ...this.series.map(({ name }) => ({ label: name, class: "num" }))],
      rows: times.map((t) => [
        time(new Date(t * 1000)),
        ...this.series.map((_, index) => this.text(byTime.get(t)[index])),
      ]),
    });
  }

  dispose() {
    this.chart?.dispose();
  }
}

/** Buttons for the range, one of them pressed. */
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
  function press(range) {
    RANGES.forEach((each, index) => setAttribute(buttons[index], "aria-pressed", each === range));
    choose(range);
  }
  return h("div", { class: "chips", role: "group", "aria-label": "Range of the charts" }, buttons);
}

async function showEvents(section, path, signal) {
  const { data, notModified } = await get(`${path}/events`, { limit: 20 }, { signal });
  if (notModified && !section.hidden) return;
  section.hidden = data.items.length === 0;
  replace(
    section,
    h("div", { class: "section-head" }, h("h2", null, "Changes of state")),
    dataTable({
      caption: "Changes of state, newest first",
      columns: ["Time", "State", "Reason"],
      rows: data.items.map((event) => [
        timeElement(event.time),
        statusBadge(event.to_state),
        event.reason,
      ]),
    }),
  );
}
