/** The second tab of a job: its chart, zoomed by the hub, and what the chart is made of. */

import { download } from "../../charts/chart.js";
import { histogramOption } from "../../charts/histogram.js";
import { makeRun, speedBins } from "../../charts/run.js";
import { byteUnit, elapsed, niceScale } from "../../charts/scale.js";
import { LAYERS, speedOption } from "../../charts/speed.js";
import { kpiCard, updateKpiCard } from "../../components/kpi.js";
import { errorState } from "../../components/states.js";
import { dataTable } from "../../components/table.js";
import { get } from "../../lib/api.js";
import { apiUrl } from "../../lib/base.js";
import { h, replace, setText } from "../../lib/dom.js";
import { count, duration, percent, speed, UNKNOWN, utc } from "../../lib/format.js";
import { button, legend, pointChoices, select, wholeNumber } from "./chart-controls.js";
import {
  gapsTable,
  histogramLabel,
  phasesTable,
  pointsTable,
  sourceText,
  speedLabel,
} from "./chart-words.js";
import { diskSpeeds } from "./disks.js";
import { chartFigure } from "./figure.js";
import {
  panned,
  parseWindow,
  unlessWhole,
  windowParams,
  windowQuery,
  within,
  zoomed,
} from "./window.js";
import { enableZoom } from "./zoom.js";

const SETTLE_MS = 200; // until a turning wheel has ended
const GESTURE_MS = 700; // zooms that follow each other so closely are one for "back"
const KPI_NAMES = ["Peak speed", "Mean speed", "Lowest speed", "Effective speed", "Updates"];

/**
 * `{node, update(job, {signal}), follow(query), dispose()}`; `query` and `setQuery` hold window and
 * disk, and `follow` takes them as "back" has left them. Finer data come with the next update.
 */
export function performancePanel({ jobId, query, setQuery }) {
  let job = null;
  let history = null;
  let run = null;
  let { window, disk, points, hasDisks } = readQuery(query);
  let settle = 0;
  let zoomedAt = -Infinity;
  let fetching = null;
  const shown = Object.fromEntries(LAYERS.map((layer) => [layer, true]));

  const cards = KPI_NAMES.map((name) => kpiCard(name, UNKNOWN, ""));
  const source = h("p", { class: "chart-source" });
  const problem = h("div");
  const stretches = h("div", { class: "stretches" });
  const disks = diskSpeeds({
    jobId,
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
  const histogram = chartFigure({ title: "How often which speed", kind: "chart-short" });
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
    stretches,
    histogram.node,
  );

  /** What the chart shows of the run. */
  function shownWindow() {
    return window ?? { from: 0, to: Math.max(run?.end ?? 0, 1) };
  }

  function choose({ disk: nextDisk = disk, points: nextPoints = points }) {
    disk = nextDisk || null;
    points = nextPoints || null;
    setQuery({ disk, points });
    refresh();
  }

  function zoom(next) {
    if (!run) return;
    const end = wholeEnd();
    const wanted = next(end);
    window = wanted && unlessWhole(wanted, end);
    const now = performance.now();
    setQuery(windowQuery(window), { push: now - zoomedAt > GESTURE_MS });
    zoomedAt = now;
    draw(); // at once what is there; finer data follow
    clearTimeout(settle);
    settle = setTimeout(refresh, SETTLE_MS);
  }

  function wholeEnd() {
    return Math.max(job?.duration_seconds ?? 0, run?.end ?? 0, 1);
  }

  function params() {
    return { disk, ...windowParams(window, job.started_at) };
  }

  function wantedPoints() {
    const width = chart.canvasSlot.clientWidth || 600;
    return points ?? Math.min(Math.max(Math.round(width / 50) * 50, 300), 1200);
  }

  async function refresh(signal) {
    if (!job) return;
    await refreshRun(signal);
    if (!run || signal?.aborted) return;
    await disks.update(
      { job, window: shownWindow(), params: windowParams(window, job.started_at) },
      { signal },
    );
  }

  async function refreshRun(signal) {
    fetching?.abort();
    const mine = (fetching = new AbortController());
    const signals = [mine.signal, ...(signal ? [signal] : [])];
    const isSame = (answer) => answer.notModified && answer.data === history;
    try {
      const answer = await get(
        `/telemetry/history/${encodeURIComponent(jobId)}`,
        { ...params(), points: wantedPoints(), format: "columns" },
        { signal: AbortSignal.any(signals) },
      );
      if (mine.signal.aborted) return;
      replace(problem);
      if (isSame(answer) && run) return;
      history = answer.data;
      run = makeRun(history);
      await render();
    } catch (error) {
      if (mine.signal.aborted || signal?.aborted) return;
      if (!error.isAway || !run)
        replace(
          problem,
          errorState(error, () => refresh()),
        );
    }
  }

  async function render() {
    renderCards();
    renderControls();
    renderStretches();
    setText(source, sourceText(history));
    setText(marks.mean, `Mean ${speed(history.avg_speed_bps)}`);
    marks.band.hidden = history.resolution_seconds === 0; // each point is one update
    await Promise.all([draw(), drawHistogram()]);
  }

  async function draw() {
    if (!run) return;
    if (!run.rows.length) {
      chart.empty(
        "No updates to draw",
        window ? "The job sent nothing in this window." : "The job has not sent any update yet.",
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

  async function drawHistogram() {
    const speeds = run.rows.map((row) => row.s);
    const unit = byteUnit(Math.max(0, ...speeds));
    const scale = niceScale(Math.max(0, ...speeds) / unit.factor, 5);
    const bins = speedBins(
      speeds.map((s) => (s === null ? null : s / unit.factor)),
      scale,
    ).map((bin) => ({ ...bin, from: bin.from * unit.factor, to: bin.to * unit.factor }));
    if (!bins.length) {
      histogram.empty("No speeds to count", "No update in this window reported a speed.");
      return;
    }
    setText(
      histogram.note,
      `Of ${count(bins.reduce((sum, bin) => sum + bin.count, 0))} points${history.resolution_seconds ? `, each the mean of ${duration(history.resolution_seconds)}` : ", each an update"}.`,
    );
    await histogram.show(
      (theme) => histogramOption(bins, unit, theme),
      histogramLabel(bins),
      () =>
        dataTable({
          caption: "How often which speed",
          columns: ["Speed", { label: "Points", class: "num" }, { label: "Share", class: "num" }],
          rows: bins.map((bin) => [
            `${speed(bin.from)} – ${speed(bin.to)}`,
            count(bin.count),
            percent(bin.share * 100),
          ]),
        }),
    );
  }

  function renderCards() {
    const where = window ? "in this window" : "of the run";
    const figures = [
      [speed(history.peak_speed_bps), where],
      [speed(history.avg_speed_bps), `of the speeds above 0 ${where}`],
      [speed(history.min_speed_bps), `above 0 ${where}`],
      [speed(history.effective_speed_bps), "all bytes by the whole duration"],
      [count(history.snapshots), where],
    ];
    figures.forEach(([value, note], index) => updateKpiCard(cards[index], value, note));
  }

  function renderControls() {
    const indexes = job.disks.map((one) => String(one.disk_index));
    if (disk !== null && !indexes.includes(disk)) indexes.push(disk);
    diskSelect.fill(
      [["", "Whole job"], ...indexes.map((index) => [index, `Disk ${index}`])],
      disk ?? "",
    );
    diskSelect.node.hidden = !indexes.length;
    detailSelect.fill(pointChoices(points), points ?? "");
    const whole = window === null;
    zoomButtons[0].disabled = pngButton.disabled = !run.rows.length;
    zoomButtons[2].disabled = whole || window.from <= 0;
    zoomButtons[3].disabled = whole || window.to >= wholeEnd() - 0.5;
    zoomButtons[1].disabled = whole;
    zoomButtons[4].disabled = whole;
    csvLink.href = apiUrl(`/telemetry/history/${encodeURIComponent(jobId)}`, {
      ...params(),
      points: 5000,
      format: "csv",
    });
  }

  function renderStretches() {
    replace(stretches, phasesTable(history, run), gapsTable(history, run));
  }

  async function savePng() {
    const made = chart.chart();
    if (!made) return;
    const shownDisk = disk === null ? "" : `, disk ${disk}`;
    const { from, to } = shownWindow();
    const blob = await made.png({
      title: `${job.job_id}${shownDisk}`,
      subtitle: `${job.vm_name ?? ""}  ${utc(job.started_at)}, ${elapsed(from)} to ${elapsed(to)} · mean ${speed(history.avg_speed_bps)}, peak ${speed(history.peak_speed_bps)} · ${sourceText(history)}`,
    });
    download(blob, `speed-${job.job_id.replace(/[^A-Za-z0-9._-]/g, "_").slice(0, 100)}.png`);
  }

  return {
    node,
    async update(nextJob, { signal } = {}) {
      job = nextJob;
      await refresh(signal);
    },
    follow(nextQuery) {
      ({ window, disk, points, hasDisks } = readQuery(nextQuery));
      zoomedAt = -Infinity;
      clearTimeout(settle);
      disks.open(hasDisks);
      draw();
    },
    dispose() {
      clearTimeout(settle);
      fetching?.abort();
      stopZoom();
      chart.dispose();
      disks.dispose();
      histogram.dispose();
    },
  };
}

/** What the address says of the tab; what makes no sense is left out. */
function readQuery(query) {
  return {
    window: parseWindow(query.get("from"), query.get("to")),
    disk: wholeNumber(query.get("disk"), 0, 1023),
    points: wholeNumber(query.get("points"), 10, 5000),
    hasDisks: query.get("disks") === "all",
  };
}
