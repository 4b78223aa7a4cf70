/** The third tab of a job: all fields, events with their evidence, errors, raw JSON. */

import { copyable } from "../../components/copyable.js";
import { emptyState, errorState, loading } from "../../components/states.js";
import { statusBadge } from "../../components/status.js";
import { definitions } from "../../components/table.js";
import { timeElement } from "../../components/time.js";
import { get } from "../../lib/api.js";
import { h, keyed, replace } from "../../lib/dom.js";
import {
  bytes,
  count,
  counted,
  duration,
  percent,
  progressPercent,
  speed,
  UNKNOWN,
} from "../../lib/format.js";
import { startOf } from "../../lib/runs.js";
import { apiUrl } from "../../lib/urls.js";

const GROUPS = {
  Identity: ["job_id", "run", "runs", "job_type", "vm_name", "repository_id", "backup_type", "id"],
  State: ["status", "result", "current_phase", "progress_percent", "error_message", "ended_by"],
  Figures: [
    "bytes_transferred",
    "total_bytes",
    "transfer_speed_bps",
    "speed_source",
    "eta_seconds",
    "hub_eta.seconds",
    "hub_eta.basis",
    "hub_eta.reason",
    "duration_seconds",
  ],
  "Times by the hub's clock": ["created_at", "last_telemetry_at", "last_progress_at"],
  "Times by the sender's clock": [
    "started_at",
    "completed_at",
    "newest_update_at",
    "clock_offset_seconds",
    "clock_skew_seconds",
  ],
};
const SHOWN_ELSEWHERE = [
  "hub_eta",
  "warnings",
  "disks",
  "findings",
  "performance_metrics",
  "thresholds",
];
const NESTED = ["chart_data", "gaps", "phases"]; // the Performance tab draws them

export function detailsPanel() {
  /** @type {JobDetail | null} */
  let job = null;
  const fields = h("div", { class: "field-groups" });
  const events = h("ol", { class: "event-list" });
  const eventState = h("div");
  const more = h(
    "button",
    { type: "button", class: "button", hidden: true, on: { click: () => loadMore() } },
    "Show more events",
  );
  const errors = h("section", { class: "job-section" });
  const technical = h("section", { class: "job-section" });
  const raw = h("p", { class: "raw-links no-print" });
  const node = h(
    "div",
    { class: "details" },
    h("section", { class: "job-section" }, h("h2", null, "Fields"), fields, raw),
    errors,
    h("section", { class: "job-section" }, h("h2", null, "Events"), events, eventState, more),
    technical,
  );
  let pages = 1;

  function loadMore() {
    pages += 1;
    return loadEvents();
  }

  /** @param {AbortSignal} [signal] */
  async function loadEvents(signal) {
    if (!job) return;
    const path = `/jobs/${encodeURIComponent(job.job_id)}/events`;
    const { run } = job;
    try {
      /** @type {JobEvent[]} */
      const found = [];
      /** @type {string | null} */
      let cursor = null;
      for (let page = 0; page < pages && (page === 0 || cursor); page += 1) {
        /** @type {{data: Page<JobEvent>}} */
        const { data } = await get(path, { run, limit: 200, cursor }, { signal });
        found.push(...data.items);
        cursor = data.next_cursor;
      }
      more.hidden = !cursor;
      keyed(events, found, (event) => event.id, eventItem);
      replace(
        eventState,
        !found.length &&
          emptyState("No events yet", "Status changes and warnings will be listed here."),
      );
    } catch (error) {
      if (signal?.aborted) throw error;
      if (!events.childElementCount)
        replace(
          eventState,
          errorState(error, () => loadEvents()),
        );
    }
  }

  replace(eventState, loading("Loading events …"));
  let lastFields = "";
  return {
    node,
    /** @param {JobDetail} nextJob @param {AbortSignal} [signal] */
    async update(nextJob, signal) {
      job = nextJob;
      const text = JSON.stringify(job);
      if (text !== lastFields) {
        lastFields = text;
        replace(fields, fieldGroups(job));
        replace(raw, "Raw JSON: ", rawLinks(job));
        replace(errors, errorList(job));
        errors.hidden = !errors.childElementCount;
        replace(technical, technicalData(job));
        technical.hidden = !technical.childElementCount;
      }
      await loadEvents(signal);
    },
  };
}

/** Links to what the hub knows of this run. @param {JobDetail} job */
function rawLinks({ job_id: jobId, run }) {
  const id = encodeURIComponent(jobId);
  const paths = {
    job: `/jobs/${id}`,
    events: `/jobs/${id}/events`,
    chart: `/telemetry/history/${id}`,
  };
  return Object.entries(paths).map(([name, path], index) => [
    index ? " · " : "",
    h("a", { href: apiUrl(path, { run }), target: "_blank", rel: "noopener" }, name),
  ]);
}

/** @param {JobDetail} job */
function fieldGroups(job) {
  /** @type {Record<string, unknown>} */
  const values = { ...job, started_at: startOf(job) };
  for (const [name, value] of Object.entries(job.hub_eta ?? {})) values[`hub_eta.${name}`] = value;
  const thresholds = Object.entries(job.thresholds).filter(([, applied]) => applied.value !== null);
  for (const [name, applied] of thresholds) values[`thresholds.${name}`] = applied.value;
  const named = new Set([...Object.values(GROUPS).flat(), ...SHOWN_ELSEWHERE]);
  const others = Object.keys(job).filter((name) => !named.has(name));
  const groups = {
    ...GROUPS,
    Thresholds: thresholds.map(([name]) => `thresholds.${name}`),
    ...(others.length ? { Other: others } : {}),
  };
  return Object.entries(groups).map(([title, names]) =>
    h(
      "div",
      { class: "field-group" },
      h("h3", null, title),
      definitions(
        names
          .filter((name) => name in values)
          .map((name) => [h("code", null, name), fieldValue(name, values[name])]),
      ),
    ),
  );
}

/**
 * A field as an element; its name determines its unit.
 * @param {string} name
 * @param {unknown} value
 */
export function fieldValue(name, value) {
  if (value === null || value === undefined || value === "")
    return h("span", { class: "unknown" }, UNKNOWN);
  if (name === "status") return statusBadge({ status: String(value) });
  if (name.endsWith("_at") || name === "time") return timeElement(String(value));
  if (typeof value === "number") return h("span", { class: "num" }, numberText(name, value));
  if (typeof value === "object") return h("code", { class: "json" }, JSON.stringify(value));
  if (name.endsWith("_id")) return copyable(String(value), { label: name });
  return h("bdi", { class: "field-text" }, String(value));
}

/** A number in its unit, with the exact value if it is rounded. @param {string} name @param {number} value */
export function numberText(name, value) {
  if (/(^|_)bytes(_|$)/.test(name)) return exact(bytes(value), value, "B");
  if (name.endsWith("_bps")) return exact(speed(value), value, "B/s");
  if (name === "progress_percent") return progressPercent(value);
  if (name.endsWith("_percent")) return percent(value);
  if (name === "clock_offset_seconds" || name === "clock_skew_seconds")
    return `${Math.round(value * 1000) / 1000} s`;
  if (/[._]seconds$/.test(name)) return value === 0 ? "none" : duration(value);
  return Number.isInteger(value) ? count(value) : String(value);
}

/** @param {string} text @param {number} value @param {string} unit */
function exact(text, value, unit) {
  return value < 1024 ? text : `${text} (${count(value)} ${unit})`;
}

/** @param {JobDetail} job */
function errorList(job) {
  const disks = job.disks.filter((disk) => disk.error_message);
  if (!job.error_message && !disks.length && !job.warnings.length) return [];
  return [
    h("h2", null, "Errors and warnings"),
    job.error_message &&
      h(
        "div",
        { class: "error-block" },
        h("strong", null, "Job"),
        h("p", { dir: "auto" }, job.error_message),
      ),
    disks.map((disk) =>
      h(
        "div",
        { class: "error-block" },
        h("strong", null, `Disk ${disk.disk_index}`),
        h("p", { dir: "auto" }, disk.error_message),
      ),
    ),
    job.warnings.length > 0 &&
      h(
        "ul",
        { class: "warning-list" },
        job.warnings.map((text) => h("li", { dir: "auto" }, text)),
      ),
  ];
}

/** @param {JobDetail} job */
function technicalData(job) {
  const metrics = job.performance_metrics;
  if (!metrics) return [];
  const flat = Object.entries(metrics).filter(([name]) => !NESTED.includes(name));
  return [
    h("h2", null, "Summary"),
    h("p", { class: "chart-note" }, "Kept when the updates of the job are deleted."),
    definitions([
      ...flat.map(([name, value]) => [h("code", null, name), fieldValue(name, value)]),
      ...NESTED.flatMap((name) => {
        const items = metrics[name];
        return Array.isArray(items) ? [[h("code", null, name), counted(items.length, "item")]] : [];
      }),
    ]),
  ];
}

/** @param {JobEvent} event */
function eventItem(event) {
  const isTransition = event.kind === "transition";
  const evidence = Object.entries(event.evidence ?? {});
  return h(
    "li",
    { class: ["event", event.kind === "warning" && "is-warning"] },
    h(
      "div",
      { class: "event-head" },
      timeElement(event.time),
      isTransition
        ? h(
            "span",
            { class: "event-change" },
            event.from_status
              ? statusBadge({ status: event.from_status })
              : h("span", { class: "unknown" }, "new"),
            h("span", { "aria-label": "to" }, "→"),
            statusBadge({ status: String(event.to_status) }),
          )
        : h("strong", null, event.kind === "warning" ? "Warning" : "Log"),
      h("span", { class: "event-actor" }, `by ${event.actor}`),
    ),
    h("p", { class: "event-reason", dir: "auto" }, event.reason),
    evidence.length > 0 &&
      definitions(evidence.map(([name, value]) => [h("bdi", null, name), fieldValue(name, value)])),
  );
}
