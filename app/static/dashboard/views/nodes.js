/** All nodes with their state and their metrics of the last hour. */

import { sparkline } from "../charts/spark.js";
import { emptyState, errorState, loading } from "../components/states.js";
import { statusBadge, updateLimited, updateStatusBadge } from "../components/status.js";
import { ageElement, updateTime } from "../components/time.js";
import { get } from "../lib/api.js";
import { h, replace, setText } from "../lib/dom.js";
import { decimal, megabytesPerSecond, percent, visible } from "../lib/format.js";
import { live } from "../lib/live.js";
import { evenValues, fetchHistory, figures, limitReached, linePoints } from "../lib/node-series.js";
import { PagedList } from "../lib/paged-list.js";
import { nodeUrl } from "../lib/urls.js";

const PAGE = 50;
const NODES_EVERY_MS = 5000; // a node reports once a minute
const SPARKS_EVERY_MS = 30_000;
const SPARK_SECONDS = 3600;
const SPARK_SLOTS = 30;
const SPARKS_AT_ONCE = 4;

/** @typedef {(value: number | null) => string} Format */
/** @typedef {"cpu_percent" | "memory_percent" | "disk_percent" | "load_avg_1m"} Metric */

/** @type {Format} */
const load = (value) => decimal(value, 2);
/** @type {{metric: Metric, name: string, text: Format, max?: number}[]} */
const METRICS = [
  { metric: "cpu_percent", name: "CPU", text: percent, max: 100 },
  { metric: "memory_percent", name: "Memory", text: percent, max: 100 },
  { metric: "disk_percent", name: "Disk", text: percent, max: 100 },
  { metric: "load_avg_1m", name: "Load", text: load },
];
const COLUMNS = ["State", "Node", ...METRICS.map(({ name }) => name), "Network", "Last snapshot"];

/** @param {HTMLElement} root @returns {View} */
export function mount(root) {
  const sparks = new Sparks();
  /** @type {PagedList<HubNode>} */
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
          "A node appears here when it sends its first snapshot.",
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

/** @type {WeakMap<Element, ReturnType<typeof makeParts>>} */
const parts = new WeakMap();

/** @param {HubNode} node */
const makeParts = (node) => ({
  id: node.node_id,
  badge: statusBadge({ status: node.state }),
  age: ageElement(null),
  network: h("span", { class: "node-network num small" }),
  metrics: METRICS.map(() => ({
    value: h("span", { class: "num" }),
    line: h("span", { class: "node-spark" }),
  })),
});

/** @param {string} kind @param {...Child} children */
const cell = (kind, ...children) =>
  h("div", { class: ["node-cell", kind], role: "cell" }, ...children);

/** @param {HubNode} node */
function nodeRow(node) {
  const part = makeParts(node);
  const row = h(
    "div",
    { class: "node-row", role: "row" },
    cell("node-state", part.badge),
    cell(
      "node-name",
      h(
        "a",
        { class: "job-link", href: nodeUrl(node.node_id) },
        h("bdi", null, visible(node.node_id)),
      ),
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

/** @param {HTMLElement} row @param {HubNode} node */
function updateNodeRow(row, node) {
  const part = parts.get(row);
  if (!part) return;
  row.classList.toggle("is-offline", node.state === "offline");
  updateStatusBadge(part.badge, { status: node.state });
  updateTime(part.age, node.last_seen_at);
  for (const [index, { metric, text }] of METRICS.entries()) {
    const value = node[metric];
    updateLimited(part.metrics[index].value, text(value), limitReached(metric, value));
  }
  setText(
    part.network,
    `↓ ${megabytesPerSecond(node.network_rx_rate_mbps)}\n↑ ${megabytesPerSecond(node.network_tx_rate_mbps)}`,
  );
}

/** The sparklines of the visible rows, drawn when they become visible and every half minute. */
class Sparks {
  constructor() {
    /** @type {Set<Element>} */
    this.visible = new Set();
    /** @type {WeakMap<Element, NodeHistory>} */
    this.drawn = new WeakMap(); // the history that each row shows
    /** @type {import("../lib/live.js").Live | null} */
    this.loop = null;
    this.observer = new IntersectionObserver((entries) => this.#onIntersection(entries), {
      rootMargin: "100px 0px",
    });
  }

  /** @param {HTMLElement} row */
  watch(row) {
    this.observer.observe(row);
    return row;
  }

  start() {
    this.loop = live(({ signal }) => this.#drawAll(signal), { every: SPARKS_EVERY_MS });
  }

  stop() {
    this.loop?.stop();
    this.observer.disconnect();
  }

  /** @param {IntersectionObserverEntry[]} entries */
  #onIntersection(entries) {
    let isNew = false;
    for (const { target, isIntersecting } of entries) {
      if (!isIntersecting) this.visible.delete(target);
      else {
        this.visible.add(target);
        isNew ||= !this.drawn.has(target);
      }
    }
    if (isNew) this.loop?.refresh();
  }

  /** @param {AbortSignal} signal */
  async #drawAll(signal) {
    const waiting = [...this.visible].filter((row) => row.isConnected);
    waiting.sort((one, other) => Number(this.drawn.has(one)) - Number(this.drawn.has(other)));
    const work = async () => {
      for (let row = waiting.shift(); row; row = waiting.shift()) await this.#draw(row, signal);
    };
    await Promise.all(Array.from({ length: SPARKS_AT_ONCE }, work));
  }

  /** @param {Element} row @param {AbortSignal} signal */
  async #draw(row, signal) {
    const part = parts.get(row);
    if (!part) return;
    const { data, from, to } = await fetchHistory(part.id, {
      metrics: METRICS.map(({ metric }) => metric),
      seconds: SPARK_SECONDS,
      points: 60,
      signal,
    });
    if (this.drawn.get(row) === data) return;
    this.drawn.set(row, data);
    for (const [index, { metric, name, text, max }] of METRICS.entries()) {
      const points = linePoints(data, metric);
      replace(
        part.metrics[index].line,
        sparkline(evenValues(points, from, to, SPARK_SLOTS), {
          label: describe(name, points, text),
          width: 96,
          height: 26,
          max,
        }),
      );
    }
  }
}

/** @param {string} name @param {TimePoint[]} points @param {Format} text */
function describe(name, points, text) {
  const known = figures(points);
  if (!known) return `${name}: no data in the last hour`;
  return `${name} in the last hour: mean ${text(known.mean)}, highest ${text(known.highest)}`;
}
