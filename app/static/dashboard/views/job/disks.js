/** The speeds of a run's disks in one chart, which is loaded when the user opens it. */

import { DASHES } from "../../charts/compare.js";
import { diskStyle, disksOption } from "../../charts/disks.js";
import { makeRun } from "../../charts/run.js";
import { errorState } from "../../components/states.js";
import { dataTable } from "../../components/table.js";
import { get, isUnavailable } from "../../lib/api.js";
import { h, replace, setAttribute, setText, svg } from "../../lib/dom.js";
import { count, duration, speed } from "../../lib/format.js";
import { select } from "./chart-controls.js";
import { chartFigure } from "./figure.js";

export const MOST_DISKS = 16; // more lines are hard to distinguish, and each is a request
const POINTS = 300;
const LIVE_MS = 10_000; // between two refreshes, each of one request per disk

/**
 * @typedef {object} DisksView the visible part of the run
 * @property {JobDetail} job
 * @property {Span} window
 * @property {Query} params the same for the API, with the run
 */

/** @param {{isOpen: boolean, onToggle: (isOpen: boolean) => void}} options */
export function diskSpeeds({ isOpen: isInitiallyOpen, onToggle }) {
  let isOpen = isInitiallyOpen;
  /** @type {DisksView | null} */
  let view = null;
  /**
   * Indexes of disks; the place of each determines its style.
   * @type {number[]}
   */
  const chosen = [];
  /** @type {DiskRun[]} */
  let loaded = [];
  let loadedFor = "";
  let loadedAt = 0;
  /** @type {AbortController | null} */
  let fetching = null;
  /** @type {Set<number>} */
  const hidden = new Set();
  const summary = h("summary");
  const legend = h("div", {
    class: "legend",
    role: "group",
    "aria-label": "Disks shown",
  });
  const others = select("Another disk", (value) => value && showDisk(Number(value)));
  const problem = h("div");
  const figure = chartFigure({
    title: "Speed of each disk",
    kind: "chart-medium",
    controls: others.node,
  });
  figure.canvasSlot.before(legend);
  const node = h(
    "details",
    { class: "disclosure disk-speeds", hidden: true, open: isOpen, on: { toggle: onToggled } },
    summary,
    problem,
    figure.node,
  );

  function onToggled() {
    if (node.open === isOpen) return;
    isOpen = node.open;
    onToggle(isOpen);
    if (isOpen && view) load(view);
  }

  /** @param {DisksView} nextView @param {AbortSignal} [signal] */
  async function update(nextView, signal) {
    view = nextView;
    const indexes = view.job.disks.map((disk) => disk.disk_index).sort((a, b) => a - b);
    node.hidden = indexes.length < 2;
    setText(summary, `Speed of each of the ${count(indexes.length)} disks`);
    for (const index of indexes)
      if (chosen.length < MOST_DISKS && !chosen.includes(index)) chosen.push(index);
    const left = indexes.filter((index) => !chosen.includes(index));
    others.node.hidden = !left.length;
    others.fill(
      [
        ["", `${count(left.length)} more`],
        ...left.map((index) => /** @type {[string, string]} */ ([String(index), `Disk ${index}`])),
      ],
      "",
    );
    if (node.hidden || !isOpen) return;
    if (loadedFor === requestKey(view) && performance.now() - loadedAt < LIVE_MS) await draw();
    else await load(view, signal);
  }

  const requestKey = (/** @type {DisksView} */ { params }) => JSON.stringify([chosen, params]);

  /** Replaces a hidden disk, or the last one. @param {number} index */
  function showDisk(index) {
    const firstHidden = chosen.findIndex((one) => hidden.has(one));
    const place = firstHidden < 0 ? chosen.length - 1 : firstHidden;
    hidden.delete(chosen[place]);
    chosen[place] = index;
    if (view) update(view);
  }

  /** @param {DisksView} current @param {AbortSignal} [signal] */
  async function load(current, signal) {
    fetching?.abort();
    fetching = new AbortController();
    const key = requestKey(current);
    const signals = AbortSignal.any([fetching.signal, ...(signal ? [signal] : [])]);
    const path = `/telemetry/history/${encodeURIComponent(current.job.job_id)}`;
    try {
      const answers = await Promise.all(
        chosen.map((disk) =>
          get(
            path,
            { disk, ...current.params, points: POINTS, format: "columns" },
            { signal: signals },
          ),
        ),
      );
      if (signals.aborted) return;
      loaded = answers.map(({ data }, place) => ({
        index: chosen[place],
        place,
        history: data,
        run: makeRun(data),
      }));
      loadedFor = key;
      loadedAt = performance.now();
      replace(problem);
      showLegend();
      await draw();
    } catch (error) {
      if (signals.aborted) return;
      if (!isUnavailable(error) || !loaded.length)
        replace(
          problem,
          errorState(error, () => view && load(view)),
        );
    }
  }

  function showLegend() {
    const keys = loaded.map(({ index }) => index).join();
    if (legend.dataset.disks === keys) return;
    legend.dataset.disks = keys;
    replace(
      legend,
      loaded.map(({ index, place }) =>
        h(
          "button",
          {
            type: "button",
            class: "legend-item",
            "aria-pressed": String(!hidden.has(index)),
            on: {
              click: (/** @type {{currentTarget: HTMLElement}} */ { currentTarget }) => {
                if (!hidden.delete(index)) hidden.add(index);
                setAttribute(currentTarget, "aria-pressed", String(!hidden.has(index)));
                draw();
              },
            },
          },
          swatch(place),
          `Disk ${index}`,
        ),
      ),
    );
  }

  async function draw() {
    if (!view) return;
    const { window } = view;
    const shown = loaded.filter(({ index }) => !hidden.has(index));
    if (!shown.some(({ run }) => run.rows.length)) {
      figure.empty(
        "No data",
        shown.length ? "The disks shown reported nothing in this window." : "All disks are hidden.",
      );
      return;
    }
    await figure.show(
      (theme, size) => disksOption(shown, window, theme, size),
      disksLabel(shown, window),
      () => disksTable(shown),
    );
  }

  return {
    node,
    update,
    /** @param {boolean} willOpen */
    open(willOpen) {
      node.open = willOpen; // `onToggled` does the rest
    },
    dispose() {
      fetching?.abort();
      figure.dispose();
    },
  };
}

/** A piece of the line, as the chart draws it. @param {number} place */
function swatch(place) {
  const { colour, dash } = diskStyle(place);
  const pattern = DASHES[dash];
  const dashes = pattern === "solid" ? null : pattern.join(" ");
  return svg(
    "svg",
    { class: `swatch-line swatch-line-${colour + 1}`, viewBox: "0 0 24 4", "aria-hidden": "true" },
    svg("line", { x1: 0, y1: 2, x2: 24, y2: 2, "stroke-dasharray": dashes }),
  );
}

/** A description of the chart. @param {DiskRun[]} shown @param {Span} window */
export function disksLabel(shown, { from, to }) {
  const disks = shown.map(({ index, history }) =>
    history.avg_speed_bps === null
      ? `disk ${index} reported no speed`
      : `disk ${index} mean ${speed(history.avg_speed_bps)}, peak ${speed(history.peak_speed_bps)}`,
  );
  return `Speed of ${shown.length} ${shown.length === 1 ? "disk" : "disks"} over ${duration(to - from)}: ${disks.join("; ")}.`;
}

/** @param {DiskRun[]} shown */
function disksTable(shown) {
  const num = (/** @type {string} */ label) => ({ label, class: "num" });
  return dataTable({
    caption: "Speed of each disk",
    columns: ["Disk", num("Mean"), num("Peak"), num("Lowest"), num("Updates")],
    rows: shown.map(({ index, history }) => [
      `Disk ${index}`,
      speed(history.avg_speed_bps),
      speed(history.peak_speed_bps),
      speed(history.min_speed_bps),
      count(history.snapshots),
    ]),
  });
}
