/** The second tab of a job: its chart, in the detail that the hub returns for the zoom, and tables. */

import { download } from "../../charts/chart.js";
import { histogramOption } from "../../charts/histogram.js";
import { makeRun, speedBins } from "../../charts/run.js";
import { byteUnit, elapsed, niceScale } from "../../charts/scale.js";
import { speedOption } from "../../charts/speed.js";
import { kpiCard, updateKpiCard } from "../../components/kpi.js";
import { errorState } from "../../components/states.js";
import { dataTable } from "../../components/table.js";
import { get, isUnavailable } from "../../lib/api.js";
import { h, replace, setText } from "../../lib/dom.js";
import { count, counted, duration, percent, speed, UNKNOWN, utc } from "../../lib/format.js";
import { runName, runText } from "../../lib/runs.js";
import { apiUrl } from "../../lib/urls.js";
import { button, legend, pointChoices, select, wholeNumber } from "./chart-controls.js";
import {
  gapsTable,
  histogramLabel,
  phasesTable,
  pointsTable,
  sourceText,
  speedLabel,
} from "./chart-text.js";
import { diskSpeeds } from "./disks.js";
import { chartFigure } from "./figure.js";
import {
  nullIfWhole,
  panned,
  parseWindow,
  windowParams,
  windowQuery,
  within,
  zoomed,
} from "./window.js";
import { enableZoom } from "./zoom.js";

const SETTLE_MS = 200; // after the last zoom, until data of finer resolution are requested
const GESTURE_MS = 700; // zooms in this interval are one step of "back"
const KPI_NAMES = ["Peak speed", "Mean speed", "Lowest speed", "Effective speed", "Updates"];

/**
 * The query holds window and disk; `follow` applies them after "back".
 * @param {Pick<ViewContext, "query" | "setQuery">} options
 */
export function performancePanel({ query, setQuery }) {
  /** @type {JobDetail | null} */
  let job = null;
  /** @type {{history: History, run: Run} | null} */
  let loaded = null;
  let { window, disk, points, hasDisks } = readQuery(query);
  /** @type {number | undefined} */
  let refreshTimer;
  let zoomedAt = -Infinity;
  /** @type {AbortController | null} */
  let fetching = null;
  /** @type {Record<Layer, boolean>} */
  const shown = { band: true, mean: true, progress: true, phases: true };

  const cards = KPI_NAMES.map((name) => kpiCard(name, UNKNOWN, ""));
  const source = h("p", { class: "chart-source" });
  const problem = h("div");
  const intervals = h("div", { class: "intervals" });
  const disks = diskSpeeds({
    isOpen: hasDisks,
    onToggle: (isOpen) => setQuery({ disks: isOpen ? "all" : null }),
  });
  const diskSelect = select("Disk", (value) => choose({ disk: value }));
  const detailSelect = select("Points", (value) => choose({ points: value }));
  const zoomButtons = [
    button("Zoom in", "+", () => zoom((end) => zoomed(shownWindow(), 0.5, end))),
    button("Zoom out", "−", () => zoom((end) => zoomed(shownWindow(), 2, end))),
    button("Earlier", "←", () => zoom((end) => panned(shownWindow(), -0.5, end))),
    button("Later", "→", () => zoom((end) => panned(shownWindow(), 0.5, end))),
    button("Whole run", null, () => zoom(() => null)),
  ];
  const csvLink = h("a", { class: "button", download: "" }, "Save as CSV");
  const pngButton = button("Save as PNG", null, savePng);
  const controls = h(
    "div",
    { class: "chart-controls no-print" },
    diskSelect.node,
    detailSelect.node,
    h("div", { class: "button-group", role: "group", "aria-label": "Zoom" }, zoomButtons),
    h("div", { class: "button-group", role: "group", "aria-label": "Save" }, pngButton, csvLink),
  );
  const chart = chartFigure({
    title: "Speed over elapsed time",
    kind: "chart-tall is-zoomable",
    controls,
  });
  const histogram = chartFigure({ title: "Speed distribution", kind: "chart-short" });
  const marks = legend(shown, draw);
  chart.canvasSlot.before(marks.node);
  chart.note.append(source);
  const stopZoom = enableZoom(chart, {
    window: () => shownWindow(),
    zoom: (next) => zoom((end) => within(next, end)),
  });
  const node = h(
    "div",
    { class: "performance" },
    problem,
    h("div", { class: "kpis kpis-small" }, cards),
    chart.node,
    disks.node,
    intervals,
    histogram.node,
  );

  /** The visible part of the run. */
  function shownWindow() {
    return window ?? { from: 0, to: Math.max(loaded?.run.end ?? 0, 1) };
  }

  /** @param {{disk?: string | null, points?: string | null}} choice */
  function choose({ disk: nextDisk = disk, points: nextPoints = points }) {
    disk = nextDisk || null;
    points = nextPoints || null;
    setQuery({ disk, points });
    refresh();
  }

  /** @param {(end: number) => Span | null} next */
  function zoom(next) {
    if (!loaded) return;
    const end = wholeEnd();
    const wanted = next(end);
    window = wanted && nullIfWhole(wanted, end);
    const now = performance.now();
    setQuery(windowQuery(window), { push: now - zoomedAt > GESTURE_MS });
    zoomedAt = now;
    draw(); // with the data at hand; finer data follow
    clearTimeout(refreshTimer);
    refreshTimer = setTimeout(refresh, SETTLE_MS);
  }

  function wholeEnd() {
    return Math.max(job?.duration_seconds ?? 0, loaded?.run.end ?? 0, 1);
  }

  const params = (/** @type {Job} */ { run, started_at: startedAt }) => ({
    run,
    ...windowParams(window, startedAt),
  });

  function wantedPoints() {
    const width = chart.canvasSlot.clientWidth || 600;
    return points ?? Math.min(Math.max(Math.round(width / 50) * 50, 300), 1200);
  }

  /** @param {AbortSignal} [signal] */
  async function refresh(signal) {
    if (!job) return;
    const current = job;
    await refreshRun(current, signal);
    if (!loaded || signal?.aborted) return;
    await disks.update({ job: current, window: shownWindow(), params: params(current) }, signal);
  }

  /** @param {JobDetail} current @param {AbortSignal} [signal] */
  async function refreshRun(current, signal) {
    fetching?.abort();
    fetching = new AbortController();
    const signals = AbortSignal.any([fetching.signal, ...(signal ? [signal] : [])]);
    try {
      const { data } = await get(
        `/telemetry/history/${encodeURIComponent(current.job_id)}`,
        { ...params(current), disk, points: wantedPoints(), format: "columns" },
        { signal: signals },
      );
      if (signals.aborted) return;
      replace(problem);
      if (data === loaded?.history) return;
      loaded = { history: data, run: makeRun(data) };
      await render(current, loaded);
    } catch (error) {
      if (signals.aborted) return;
      if (!isUnavailable(error) || !loaded)
        replace(
          problem,
          errorState(error, () => refresh()),
        );
    }
  }

  /** @param {JobDetail} current @param {{history: History, run: Run}} data */
  async function render(current, { history, run }) {
    renderCards(history);
    renderControls(current, run);
    replace(intervals, phasesTable(history, run), gapsTable(history, run));
    setText(source, sourceText(history));
    setText(marks.mean, `Mean ${speed(history.avg_speed_bps)}`);
    marks.band.hidden = history.resolution_seconds === 0; // each point is one update
    await Promise.all([draw(), drawHistogram(history, run)]);
  }

  async function draw() {
    if (!loaded) return;
    const { history, run } = loaded;
    if (!run.rows.length) {
      chart.empty(
        "No updates",
        window
          ? "The job sent no updates in this window."
          : "The job has not sent any updates yet.",
      );
      return;
    }
    await chart.show(
      (theme, size) =>
        speedOption(
          { run, window: shownWindow(), mean: history.avg_speed_bps, shown },
          theme,
          size,
        ),
      speedLabel(history, run),
      () => pointsTable(history, run),
    );
  }

  /** @param {History} history @param {Run} run */
  async function drawHistogram(history, run) {
    const speeds = run.rows.map((row) => row.s);
    const highest = Math.max(0, ...speeds.map((s) => s ?? 0));
    const unit = byteUnit(highest);
    const scale = niceScale(highest / unit.factor, 5);
    const bins = speedBins(
      speeds.map((s) => (s === null ? null : s / unit.factor)),
      scale,
    ).map((bin) => ({ ...bin, from: bin.from * unit.factor, to: bin.to * unit.factor }));
    if (!bins.length) {
      histogram.empty("No speeds", "No update in this window reported a speed.");
      return;
    }
    const total = bins.reduce((sum, bin) => sum + bin.count, 0);
    const step = history.resolution_seconds
      ? `each the mean of ${duration(history.resolution_seconds)}`
      : "one per update";
    setText(histogram.note, `${counted(total, "point")}, ${step}.`);
    await histogram.show(
      (theme) => histogramOption(bins, unit, theme),
      histogramLabel(bins),
      () =>
        dataTable({
          caption: "Speed distribution",
          columns: ["Speed", { label: "Points", class: "num" }, { label: "Share", class: "num" }],
          rows: bins.map((bin) => [
            `${speed(bin.from)} – ${speed(bin.to)}`,
            count(bin.count),
            percent(bin.share * 100),
          ]),
        }),
    );
  }

  /** @param {History} history */
  function renderCards(history) {
    const where = window ? "in this window" : "of the run";
    const figures = [
      [speed(history.peak_speed_bps), where],
      [speed(history.avg_speed_bps), `of the speeds above 0 ${where}`],
      [speed(history.min_speed_bps), `above 0 ${where}`],
      [speed(history.effective_speed_bps), "all bytes ÷ whole duration"],
      [count(history.snapshots), where],
    ];
    for (const [index, [value, note]] of figures.entries()) {
      updateKpiCard(cards[index], value, note);
    }
  }

  /** @param {JobDetail} current @param {Run} run */
  function renderControls(current, run) {
    const indexes = current.disks.map((one) => String(one.disk_index));
    if (disk !== null && !indexes.includes(disk)) indexes.push(disk);
    const choices = indexes.map(
      (index) => /** @type {[string, string]} */ ([index, `Disk ${index}`]),
    );
    diskSelect.fill([["", "Whole job"], ...choices], disk ?? "");
    diskSelect.node.hidden = !indexes.length;
    detailSelect.fill(pointChoices(points), points ?? "");
    const [zoomIn, zoomOut, earlier, later, whole] = zoomButtons;
    zoomIn.disabled = pngButton.disabled = !run.rows.length;
    zoomOut.disabled = whole.disabled = window === null;
    earlier.disabled = window === null || window.from <= 0;
    later.disabled = window === null || window.to >= wholeEnd() - 0.5;
    csvLink.href = apiUrl(`/telemetry/history/${encodeURIComponent(current.job_id)}`, {
      ...params(current),
      disk,
      points: 5000,
      format: "csv",
    });
  }

  async function savePng() {
    const drawn = chart.chart();
    if (!drawn || !job || !loaded) return;
    const { history } = loaded;
    const shownDisk = disk === null ? "" : `, disk ${disk}`;
    const { from, to } = shownWindow();
    const blob = await drawn.png({
      title: `${runName(job)}${shownDisk}`,
      subtitle: `${job.vm_name ?? ""}  ${utc(job.started_at)}, ${elapsed(from)} to ${elapsed(to)} · mean ${speed(history.avg_speed_bps)}, peak ${speed(history.peak_speed_bps)} · ${sourceText(history)}`,
    });
    const name = [job.job_id.slice(0, 100), runText(job)].filter(Boolean).join("-");
    if (blob) download(blob, `speed-${name.replace(/[^A-Za-z0-9._-]/g, "_")}.png`);
  }

  return {
    node,
    /** @param {JobDetail} nextJob @param {AbortSignal} [signal] */
    async update(nextJob, signal) {
      job = nextJob;
      await refresh(signal);
    },
    /** @param {URLSearchParams} nextQuery */
    follow(nextQuery) {
      ({ window, disk, points, hasDisks } = readQuery(nextQuery));
      zoomedAt = -Infinity;
      clearTimeout(refreshTimer);
      disks.open(hasDisks);
      draw();
    },
    dispose() {
      clearTimeout(refreshTimer);
      fetching?.abort();
      stopZoom();
      chart.dispose();
      disks.dispose();
      histogram.dispose();
    },
  };
}

/** The state of the tab in the address; ignores invalid values. @param {URLSearchParams} query */
function readQuery(query) {
  return {
    window: parseWindow(query.get("from"), query.get("to")),
    disk: wholeNumber(query.get("disk"), 0, 1023),
    points: wholeNumber(query.get("points"), 10, 5000),
    hasDisks: query.get("disks") === "all",
  };
}
