/** A run compared with its predecessors at equal elapsed time, and trends of the last runs. */

import { COMPARED, comparedEnd, compareOption, valueAt } from "../charts/compare.js";
import { makeRun } from "../charts/run.js";
import { elapsed } from "../charts/scale.js";
import { jobName, updateJobName } from "../components/job-name.js";
import { errorState, loading } from "../components/states.js";
import { statusBadge } from "../components/status.js";
import { dataTable } from "../components/table.js";
import { get, isNotFound } from "../lib/api.js";
import { childElements, h, replace, setAttribute, setText } from "../lib/dom.js";
import { bytes, counted, duration, speed, time, UNKNOWN, visible } from "../lib/format.js";
import { live } from "../lib/live.js";
import { readRun, runKey, startOf } from "../lib/runs.js";
import { jobUrl, machineUrl } from "../lib/urls.js";
import { chartFigure } from "./job/figure.js";
import { notFoundState } from "./job/not-found.js";
import { difference, effectiveSpeed, LIVE_STATUSES, median, predecessors } from "./job/runs.js";
import { trendCharts } from "./job/trends.js";

const MOST_BEFORE = 5;
const LAST_RUNS = 30;
const LIMIT = 200; // of runs of the machine and type, from which predecessors are selected
const POINTS = 300;
const LIVE_MS = 5000;
const TABLE_STEPS = 12;

/** @param {HTMLElement} root @param {ViewContext} context @returns {View} */
export function mount(root, { params, query, navigate, setQuery, updateTitle }) {
  const jobId = params.name;
  const wantedRun = readRun(query);
  const requested = query.get("measure") ?? "";
  let measure = Object.hasOwn(COMPARED, requested) ? requested : "bytes";
  /** @type {ComparedRun[]} */
  let compared = [];
  /** @type {Set<string>} */
  const hidden = new Set();
  const name = jobName({ job_id: jobId, run: wantedRun ?? 1, runs: wantedRun ?? 1 }); // at least
  const state = h("div", null, loading("Loading runs …"));
  const body = h("div", { class: "page", hidden: true });
  const intro = h("p", { class: "muted" });
  const comparison = h("p", { class: "comparison" });
  const legend = h("ul", { class: "compare-legend" });
  const switches = h(
    "div",
    { class: "button-group no-print", role: "group", "aria-label": "Measure" },
    Object.entries(COMPARED).map(([id, { title }]) =>
      h(
        "button",
        {
          type: "button",
          class: "button",
          dataset: { measure: id },
          on: { click: () => choose(id) },
        },
        title,
      ),
    ),
  );
  const chart = chartFigure({
    title: "At equal elapsed time",
    kind: "chart-tall",
    controls: switches,
  });
  chart.canvasSlot.before(legend);
  const runsTable = h("div");
  const trends = trendCharts({ navigate });
  replace(
    root,
    h("div", { class: "page-head" }, h("h1", null, "Compare ", name)),
    intro,
    state,
    body,
  );
  replace(
    body,
    h("section", { class: "card" }, comparison, chart.node),
    h("section", { class: "card" }, h("h2", null, "Runs"), runsTable),
    h("section", null, h("h2", null, "Last runs"), trends.node),
  );

  /** @param {string} id */
  function choose(id) {
    measure = id;
    setQuery({ measure: id === "bytes" ? null : id });
    draw();
  }

  /** @param {RefreshContext} context */
  async function refresh({ signal }) {
    /** @type {{data: Job}} */
    const { data: job } = await get(
      `/jobs/${encodeURIComponent(jobId)}`,
      { run: wantedRun },
      { signal },
    );
    const before = await loadBefore(job, signal);
    const jobs = [job, ...before.slice(0, MOST_BEFORE)];
    const runs = await Promise.all(jobs.map(async (one) => makeRun(await loadChart(one, signal))));
    compared = jobs.map((one, index) => ({ job: one, run: runs[index], style: index }));
    replace(state);
    body.hidden = false;
    updateJobName(name, job);
    updateTitle();
    showIntro(job, before);
    showLegend();
    replace(runsTable, comparedTable(compared));
    await Promise.all([draw(), trends.update([job, ...before].slice(0, LAST_RUNS), job)]);
    if (!LIVE_STATUSES.includes(job.status)) refreshing.stop();
  }

  /** @param {Job} job @param {Job[]} before */
  function showIntro(job, before) {
    const kind = [job.job_type, job.backup_type, job.repository_id].filter(Boolean);
    const earlier = Math.min(before.length, MOST_BEFORE);
    replace(
      intro,
      h("a", { href: jobUrl(job) }, "This run"),
      job.vm_name
        ? [" of ", h("a", { href: machineUrl(job.vm_name) }, h("bdi", null, visible(job.vm_name)))]
        : "",
      " (",
      kind.map((part, index) => [index ? ", " : "", h("bdi", null, part)]),
      earlier ? `) compared with the last ${earlier} before it.` : ") has no earlier runs.",
    );
    setText(comparison, comparisonText(compared));
  }

  function showLegend() {
    const isSame =
      legend.childElementCount === compared.length &&
      compared.every(({ job }, index) => childElements(legend)[index].dataset.run === runKey(job));
    if (isSame) return;
    replace(
      legend,
      compared.map(({ job, style }, index) =>
        h(
          "li",
          { dataset: { run: runKey(job) } },
          h(
            "button",
            {
              type: "button",
              class: "legend-item",
              "aria-pressed": "true",
              disabled: index === 0,
              on: {
                click: (/** @type {{currentTarget: HTMLElement}} */ { currentTarget }) => {
                  const key = runKey(job);
                  if (!hidden.delete(key)) hidden.add(key);
                  setAttribute(currentTarget, "aria-pressed", String(!hidden.has(key)));
                  draw();
                },
              },
            },
            h("span", {
              class: `swatch swatch-series swatch-series-${style + 1}`,
              "aria-hidden": "true",
            }),
            index ? time(job.started_at) : "this run",
          ),
        ),
      ),
    );
  }

  async function draw() {
    for (const node of childElements(switches))
      setAttribute(node, "aria-pressed", String(node.dataset.measure === measure));
    const shown = compared.filter(({ job }) => !hidden.has(runKey(job)));
    if (!shown.some(({ run }) => run.rows.length)) {
      chart.empty("Nothing to compare yet", "None of these runs has sent an update.");
      return;
    }
    const end = comparedEnd(shown.map(({ run }) => run.end));
    setText(
      chart.note,
      shown.some(({ run }) => run.end > end) ? `Longer runs are cut off at ${elapsed(end)}.` : "",
    );
    await chart.show(
      (theme, size) => compareOption(shown, measure, theme, size),
      `${COMPARED[measure].title} at equal elapsed time of this run and ${counted(shown.length - 1, "earlier run")}. ${comparisonText(compared)}`,
      () => elapsedTable(shown, measure),
    );
  }

  const refreshing = live(refresh, {
    every: LIVE_MS,
    onError: (error, { first }) => {
      if (isNotFound(error)) {
        refreshing.stop();
        replace(state, notFoundState(error, { jobId, run: wantedRun }));
      } else if (first)
        replace(
          state,
          errorState(error, () => refreshing.refresh()),
        );
    },
  });
  return {
    unmount() {
      refreshing.stop();
      chart.dispose();
      trends.dispose();
    },
  };
}

/**
 * The runs before `job`, newest first: of its machine, or of the job itself if it has none.
 * @param {Job} job
 * @param {AbortSignal} signal
 */
async function loadBefore(job, signal) {
  const filters = {
    ...(job.vm_name ? { vm_name: job.vm_name } : { job_id: job.job_id }),
    job_type: job.job_type,
    repository_id: job.repository_id,
    limit: LIMIT,
  };
  const to = new Date(Date.parse(job.started_at) + 1).toISOString(); // exclusive
  const { data } = await get("/jobs", { ...filters, to }, { signal });
  return predecessors(job, data.items, LAST_RUNS - 1);
}

/** @param {Job} job @param {AbortSignal} signal */
async function loadChart(job, signal) {
  const { data } = await get(
    `/telemetry/history/${encodeURIComponent(job.job_id)}`,
    { run: job.run, points: POINTS, format: "columns" },
    { signal },
  );
  return data;
}

/** Compares this run with the others at the same elapsed time. @param {ComparedRun[]} compared */
export function comparisonText(compared) {
  const [current, ...before] = compared;
  if (!before.length) return "There is no earlier run of the same kind to compare with.";
  const t = current.run.end;
  const moved = current.job.bytes_transferred;
  const others = before.map(({ run }) => bytesAfter(run, t)).filter((value) => value !== null);
  const usual = median(others);
  const relation = difference(moved, usual);
  const start = `After ${elapsed(t)} this run had moved ${bytes(moved)}`;
  if (relation === null) return `${start}; there is no data of earlier runs to compare.`;
  return `${start}, ${relation} the usual ${bytes(usual)}.`;
}

/** The bytes of a run after `t` seconds, or at its end if that is earlier. @param {Run} run @param {number} t */
export function bytesAfter(run, t) {
  return valueAt(run, Math.min(t, run.end), (row) => row.b);
}

/** @param {ComparedRun[]} compared */
function comparedTable(compared) {
  const end = compared[0].run.end;
  const num = (/** @type {string} */ label) => ({ label, class: "num" });
  return dataTable({
    caption: "This run and earlier runs",
    columns: [
      { label: "Started", class: "nowrap" },
      "Status",
      num("Duration"),
      num("Moved"),
      num("Mean speed"),
      num(`Moved after ${elapsed(end)}`),
      "Job",
    ],
    rows: compared.map(({ job, run }, index) => [
      index ? time(startOf(job)) : h("strong", null, time(startOf(job))),
      statusBadge(job),
      duration(job.duration_seconds),
      bytes(job.bytes_transferred),
      speed(effectiveSpeed(job)),
      bytes(bytesAfter(run, end)),
      h("a", { href: jobUrl(job) }, jobName(job)),
    ]),
  });
}

/** @param {ComparedRun[]} shown @param {string} measure */
function elapsedTable(shown, measure) {
  const { value, text, title } = COMPARED[measure];
  const longest = comparedEnd(shown.map(({ run }) => run.end));
  const times = Array.from(
    { length: TABLE_STEPS + 1 },
    (_, index) => (longest * index) / TABLE_STEPS,
  );
  return dataTable({
    caption: `${title} at equal elapsed time`,
    columns: [
      { label: "Elapsed", class: "num" },
      ...shown.map(({ job }, index) => ({
        label: index ? time(job.started_at) : "this run",
        class: "num",
      })),
    ],
    rows: times.map((t) => [
      elapsed(t),
      ...shown.map(({ run }) => (t <= run.end ? text(valueAt(run, t, value)) : UNKNOWN)),
    ]),
  });
}
