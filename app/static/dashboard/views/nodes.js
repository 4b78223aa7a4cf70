/** All nodes: whether each still reports, and how it fared in the last hour. */

import { sparkline } from "../charts/spark.js";
import { emptyState, errorState, loading } from "../components/states.js";
import { statusBadge, updateStatusBadge } from "../components/status.js";
import { ageElement, updateTime } from "../components/time.js";
import { get } from "../lib/api.js";
import { nodeUrl } from "../lib/base.js";
import { h, replace, setText } from "../lib/dom.js";
import { decimal, megabytesPerSecond, percent } from "../lib/format.js";
import { live } from "../lib/live.js";
import { evenValues, fetchHistory, figures, linePoints } from "../lib/node_series.js";
import { PagedList } from "../lib/pages.js";

const PAGE = 50;
const NODES_EVERY_MS = 5000; // a node reports once a minute
const SPARKS_EVERY_MS = 30_000;
const SPARK_SECONDS = 3600;
const SPARK_SLOTS = 30;
const SPARKS_AT_ONCE = 4;

const load = (value) => decimal(value, 2);
const METRICS = [
  { metric: "cpu_percent", name: "CPU", text: percent, max: 100 },
  { metric: "memory_percent", name: "Memory", text: percent, max: 100 },
  { metric: "disk_percent", name: "Disk", text: percent, max: 100 },
  { metric: "load_avg_1m", name: "Load", text: load },
];
const COLUMNS = ["State", "Node", ...METRICS.map(({ name }) => name), "Network", "Last snapshot"];

export async function mount(root) {
  const sparks = new Sparks();
  const list = new PagedList({
    fetchPage: (cursor, signal) => get("/nodes", { limit: PAGE, cursor }, { signal }),
    key: (node) => node.node_id,
    make: (node) => sparks.watch(nodeRow(node)),
    update: updateNodeRow,
    onChange: show,
    moreLabel: "Show more nodes",
  });
  const message = h("div", null, loading("Loading nodes …"));
  const head = h(
    "div",
    { class: "node-head", role: "row" },
    COLUMNS.map((name) => h("span", { role: "columnheader" }, name)),
  );
  const table = h(
    "div",
    { class: "node-table card", role: "table", "aria-label": "Nodes", hidden: true },
    h("div", { role: "rowgroup" }, head),
    list.body,
  );
  root.append(
    h(
      "div",
      { class: "page-head" },
      h("h1", null, "Nodes"),
      h("p", { class: "muted small" }, "The lines show the last hour."),
    ),
    message,
    h("div", null, table, list.foot),
  );

  function show() {
    if (!list.isLoaded) return;
    table.hidden = list.isEmpty;
    if (!list.isEmpty) replace(message);
    else
      replace(
        message,
        emptyState(
          "No node has reported yet",
          "A node appears here by itself with its first snapshot.",
        ),
      );
  }

  const loop = live(({ signal }) => list.refresh(signal), {
    every: NODES_EVERY_MS,
    onError: (error, { first }) =>
      first &&
      replace(
        message,
        errorState(error, () => loop.refresh()),
      ),
  });
  sparks.start();
  return {
    unmount() {
      loop.stop();
      sparks.stop();
      list.stop();
    },
  };
}

// A row.

const parts = new WeakMap();

function nodeRow(node) {
  const cell = (kind, ...children) =>
    h("div", { class: ["node-cell", kind], role: "cell" }, children);
  const part = {
    id: node.node_id,
    badge: statusBadge(node.state),
    age: ageElement(null),
    network: h("span", { class: "node-network num small" }),
    metrics: METRICS.map(() => ({
      value: h("span", { class: "num" }),
      line: h("span", { class: "node-spark" }),
    })),
  };
  const row = h(
    "div",
    { class: "node-row", role: "row" },
    cell("node-state", part.badge),
    cell(
      "node-name",
      h("a", { class: "job-link", href: nodeUrl(node.node_id) }, h("bdi", null, node.node_id)),
    ),
    METRICS.map(({ name }, index) =>
      cell(
        "node-metric",
        h("span", { class: "node-label" }, name),
        part.metrics[index].value,
        part.metrics[index].line,
      ),
    ),
    cell("node-net", h("span", { class: "node-label" }, "Network"), part.network),
    cell("node-age", part.age),
  );
  parts.set(row, part);
  updateNodeRow(row, node);
  return row;
}

function updateNodeRow(row, node) {
  const part = parts.get(row);
  row.classList.toggle("is-offline", node.state === "offline");
  updateStatusBadge(part.badge, node.state);
  updateTime(part.age, node.last_seen_at);
  METRICS.forEach(({ metric, text }, index) =>
    setText(part.metrics[index].value, text(node[metric])),
  );
  setText(
    part.network,
    `↓ ${megabytesPerSecond(node.network_rx_rate_mbps)}\n↑ ${megabytesPerSecond(node.network_tx_rate_mbps)}`,
  );
}

/** The lines of the rows that can be seen, drawn when they come into sight and every half minute. */
class Sparks {
  constructor() {
    this.visible = new Set();
    this.drawn = new WeakMap(); // rows: the history they show
    this.observer = new IntersectionObserver((entries) => this.#moved(entries), {
      rootMargin: "100px 0px",
    });
  }

  watch(row) {
    this.observer.observe(row);
    return row;
  }

  start() {
    this.loop = live(({ signal }) => this.#drawAll(signal), { every: SPARKS_EVERY_MS });
  }

  stop() {
    this.loop.stop();
    this.observer.disconnect();
  }

  #moved(entries) {
    let isNew = false;
    for (const { target, isIntersecting } of entries) {
      if (!isIntersecting) this.visible.delete(target);
      else {
        this.visible.add(target);
        isNew ||= !this.drawn.has(target);
      }
    }
    if (isNew) this.loop.refresh();
  }

  async #drawAll(signal) {
    const waiting = [...this.visible].filter((row) => row.isConnected);
    waiting.sort((one, other) => this.drawn.has(one) - this.drawn.has(other));
    const work = async () => {
      for (let row = waiting.shift(); row; row = waiting.shift()) await this.#draw(row, signal);
    };
    await Promise.all(Array.from({ length: SPARKS_AT_ONCE }, work));
  }

  async #draw(row, signal) {
    const { id, metrics } = parts.get(row);
    const { data, from, to } = await fetchHistory(id, {
      metrics: METRICS.map(({ metric }) => metric),
      seconds: SPARK_SECONDS,
      points: 60,
      signal,
    });
    if (this.drawn.get(row) === data) return;
    this.drawn.set(row, data);
    METRICS.forEach(({ metric, name, text, max }, index) => {
      const points = linePoints(data, metric);
      replace(
        metrics[index].line,
        sparkline(evenValues(points, from, to, SPARK_SLOTS), {
          label: describe(name, points, text),
          width: 96,
          height: 26,
          max,
        }),
      );
    });
  }
}

function describe(name, points, text) {
  const known = figures(points);
  if (!known) return `${name}: nothing reported in the last hour`;
  return `${name} in the last hour: mean ${text(known.mean)}, highest ${text(known.highest)}`;
}
