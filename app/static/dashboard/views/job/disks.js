/** The speeds of a run's disks in one chart, which is asked for when the reader opens it. */

import { DASHES } from "../../charts/compare.js";
import { diskStyle, disksOption } from "../../charts/disks.js";
import { makeRun } from "../../charts/run.js";
import { errorState } from "../../components/states.js";
import { dataTable } from "../../components/table.js";
import { get } from "../../lib/api.js";
import { h, replace, setAttribute, setText, svg } from "../../lib/dom.js";
import { count, duration, speed } from "../../lib/format.js";
import { select } from "./chart-controls.js";
import { chartFigure } from "./figure.js";

export const MOST_DISKS = 16; // more lines cannot be told apart, and each is a request
const POINTS = 300;
const LIVE_MS = 10_000; // between two looks at a live run: it is as many requests as disks

/**
 * `{node, update(view, {signal}), open(isOpen), dispose()}`, where `view` is `{job, window, params}`:
 * what of the run is shown, in elapsed seconds and as the API has it. `onToggle(isOpen)` is told.
 */
export function diskSpeeds({ jobId, isOpen, onToggle }) {
  let view = null;
  let chosen = []; // indexes; the place of one is what it looks like
  let loaded = [];
  let loadedFor = "";
  let loadedAt = 0;
  let fetching = null;
  const hidden = new Set();
  const summary = h("summary");
  const legend = h("div", {
    class: "legend",
    role: "group",
    "aria-label": "Which disks are shown",
  });
  const others = select("Another disk", (value) => value && takeIn(Number(value)));
  const problem = h("div");
  const figure = chartFigure({
    title: "Speed of each disk",
    kind: "chart-medium",
    controls: others.node,
  });
  figure.canvasSlot.before(legend);
  const node = h(
    "details",
    { class: "disclosure disk-speeds", hidden: true, open: isOpen, on: { toggle: toggled } },
    summary,
    problem,
    figure.node,
  );

  function toggled() {
    if (node.open === isOpen) return;
    isOpen = node.open;
    onToggle(isOpen);
    if (isOpen && view) load();
  }

  async function update(nextView, { signal } = {}) {
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
        ...left.map((index) => [String(index), `Disk ${index}`]),
      ],
      "",
    );
    if (node.hidden || !isOpen) return;
    if (loadedFor === wanted() && performance.now() - loadedAt < LIVE_MS) await draw();
    else await load(signal);
  }

  const wanted = () => JSON.stringify([chosen, view.params]);

  /** Another disk, in the place of one that is hidden, else of the last. */
  function takeIn(index) {
    const away = chosen.findIndex((one) => hidden.has(one));
    const place = away < 0 ? chosen.length - 1 : away;
    hidden.delete(chosen[place]);
    chosen[place] = index;
    update(view);
  }

  async function load(signal) {
    fetching?.abort();
    const mine = (fetching = new AbortController());
    const asked = wanted();
    const signals = AbortSignal.any([mine.signal, ...(signal ? [signal] : [])]);
    const path = `/telemetry/history/${encodeURIComponent(jobId)}`;
    try {
      const answers = await Promise.all(
        chosen.map((disk) =>
          get(
            path,
            { disk, ...view.params, points: POINTS, format: "columns" },
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
      loadedFor = asked;
      loadedAt = performance.now();
      replace(problem);
      showLegend();
      await draw();
    } catch (error) {
      if (signals.aborted) return;
      if (!error.isAway || !loaded.length)
        replace(
          problem,
          errorState(error, () => load()),
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
              click: ({ currentTarget }) => {
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
    const shown = loaded.filter(({ index }) => !hidden.has(index));
    if (!shown.some(({ run }) => run.rows.length)) {
      figure.empty(
        "Nothing to draw",
        shown.length
          ? "No disk that is shown sent anything in this window."
          : "Every disk is hidden.",
      );
      return;
    }
    await figure.show(
      (theme, size) => disksOption(shown, view.window, theme, size),
      disksLabel(shown, view.window),
      () => disksTable(shown),
    );
  }

  return {
    node,
    update,
    open(willOpen) {
      node.open = willOpen; // what follows is in `toggled`
    },
    dispose() {
      fetching?.abort();
      figure.dispose();
    },
  };
}

/** A piece of the line, as the chart draws it. */
function swatch(place) {
  const { colour, dash } = diskStyle(place);
  const dashes = DASHES[dash] === "solid" ? null : DASHES[dash].join(" ");
  return svg(
    "svg",
    { class: `swatch-line swatch-line-${colour + 1}`, viewBox: "0 0 24 4", "aria-hidden": "true" },
    svg("line", { x1: 0, y1: 2, x2: 24, y2: 2, "stroke-dasharray": dashes }),
  );
}

/** The chart in words. */
export function disksLabel(shown, { from, to }) {
  const disks = shown.map(({ index, history }) =>
    history.avg_speed_bps === null
      ? `disk ${index} reported no speed`
      : `disk ${index} mean ${speed(history.avg_speed_bps)}, peak ${speed(history.peak_speed_bps)}`,
  );
  return `Speed of ${shown.length} ${shown.length === 1 ? "disk" : "disks"} over ${duration(to - from)}: ${disks.join("; ")}.`;
}

function disksTable(shown) {
  const num = (label) => ({ label, class: "num" });
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
