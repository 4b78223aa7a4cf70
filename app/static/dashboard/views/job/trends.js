/** Durations and sizes of the last runs of a machine, as two charts. */

import { MEASURES, trendLabel, trendOption } from "../../charts/trend.js";
import { jobName } from "../../components/job-name.js";
import { statusBadge } from "../../components/status.js";
import { dataTable } from "../../components/table.js";
import { h } from "../../lib/dom.js";
import { time } from "../../lib/format.js";
import { startOf } from "../../lib/runs.js";
import { jobUrl } from "../../lib/urls.js";
import { chartFigure } from "./figure.js";
import { byStart } from "./runs.js";

/** @param {Pick<ViewContext, "navigate">} options */
export function trendCharts({ navigate }) {
  /** @type {Job[]} */
  let shown = [];
  let drawn = "";
  const figures = Object.keys(MEASURES).map((measure) => ({
    measure,
    figure: chartFigure({
      title: MEASURES[measure].title,
      kind: "chart-short",
      onClick: ({ dataIndex }) => shown[dataIndex] && navigate(jobUrl(shown[dataIndex])),
    }),
  }));

  /** @param {Job[]} runs @param {Job | null} [current] one of them to highlight */
  async function update(runs, current = null) {
    const started = runs.filter(startOf);
    const text = JSON.stringify([started, current]);
    if (text === drawn) return;
    drawn = text;
    shown = byStart(started);
    await Promise.all(
      figures.map(({ measure, figure }) => {
        if (!shown.length) return figure.empty("No runs yet", "");
        return figure.show(
          (theme) => trendOption(shown, { measure, current }, theme),
          trendLabel(shown, measure),
          () => trendTable(shown, measure),
        );
      }),
    );
  }

  return {
    node: h(
      "div",
      { class: "grid-2" },
      figures.map(({ figure }) => h("div", { class: "card" }, figure.node)),
    ),
    update,
    dispose() {
      for (const { figure } of figures) figure.dispose();
    },
  };
}

/** @param {Job[]} runs oldest first @param {string} measure */
function trendTable(runs, measure) {
  const { title, value, text } = MEASURES[measure];
  return dataTable({
    caption: `${title} of the last runs`,
    columns: [
      { label: "Started", class: "nowrap" },
      "Status",
      { label: title, class: "num" },
      "Job",
    ],
    rows: [...runs]
      .reverse()
      .map((run) => [
        time(run.started_at),
        statusBadge(run),
        text(value(run)),
        h("a", { href: jobUrl(run) }, jobName(run)),
      ]),
  });
}
