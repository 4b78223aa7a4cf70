/** The third tab of a job: every field, its transitions with their evidence, errors, raw JSON. */

import { copyable } from "../../components/copyable.js";
import { emptyState, errorState, loading } from "../../components/states.js";
import { statusBadge } from "../../components/status.js";
import { definitions } from "../../components/table.js";
import { timeElement } from "../../components/time.js";
import { get } from "../../lib/api.js";
import { apiUrl } from "../../lib/base.js";
import { h, keyed, replace } from "../../lib/dom.js";
import { bytes, count, duration, percent, speed, UNKNOWN } from "../../lib/format.js";

const GROUPS = {
  Identity: ["job_id", "job_type", "vm_name", "repository_id", "backup_type", "id"],
  State: ["status", "current_phase", "progress_percent", "error_message", "ended_by"],
  Figures: [
    "bytes_transferred",
    "total_bytes",
    "transfer_speed_bps",
    "eta_seconds",
    "hub_eta_seconds",
    "duration_seconds",
  ],
  "Times by the hub's clock": ["created_at", "last_telemetry_at", "last_progress_at"],
  "Times by the sender's clock": [
    "started_at",
    "completed_at",
    "newest_update_at",
    "clock_offset_seconds",
  ],
};
const SHOWN_ELSEWHERE = ["warnings", "disks", "performance_metrics"];
const NESTED = ["chart_data", "gaps", "phases"]; // the Performance tab draws them

/** `{node, update(job, {signal})}`. */
export function detailsPanel({ jobId }) {
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
  const address = (rest) => apiUrl(`/${rest}`);
  const id = encodeURIComponent(jobId);
  const raw = h(
    "p",
    { class: "raw-links no-print" },
    "Raw JSON: ",
    [
      ["job", `jobs/${id}`],
      ["events", `jobs/${id}/events`],
      ["chart", `telemetry/history/${id}`],
    ].map(([name, path], index) => [
      index ? " · " : "",
      h("a", { href: address(path), target: "_blank", rel: "noopener" }, name),
    ]),
  );
  const node = h(
    "div",
    { class: "details" },
    h("section", { class: "job-section" }, h("h2", null, "Fields"), fields, raw),
    errors,
    h(
      "section",
      { class: "job-section" },
      h("h2", null, "What happened"),
      events,
      eventState,
      more,
    ),
    technical,
  );
  let pages = 1;

  function loadMore() {
    pages += 1;
    return loadEvents();
  }

  async function loadEvents({ signal } = {}) {
    try {
      const found = [];
      let cursor = null;
      for (let page = 0; page < pages && (page === 0 || cursor); page += 1) {
        const { data } = await get(`/jobs/${id}/events`, { limit: 200, cursor }, { signal });
        found.push(...data.items);
        cursor = data.next_cursor;
      }
      more.hidden = !cursor;
      keyed(events, found, (event) => event.id, eventItem);
      replace(
        eventState,
        !found.length &&
          emptyState("Nothing happened yet", "Changes of status and warnings will be listed here."),
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
    async update(job, { signal } = {}) {
      const text = JSON.stringify(job);
      if (text !== lastFields) {
        lastFields = text;
        replace(fields, fieldGroups(job));
        replace(errors, errorList(job));
        errors.hidden = !errors.childElementCount;
        replace(technical, technicalData(job));
        technical.hidden = !technical.childElementCount;
      }
      await loadEvents({ signal });
    },
  };
}

function fieldGroups(job) {
  const named = new Set([...Object.values(GROUPS).flat(), ...SHOWN_ELSEWHERE]);
  const others = Object.keys(job).filter((name) => !named.has(name));
  const groups = { ...GROUPS, ...(others.length ? { Other: others } : {}) };
  return Object.entries(groups).map(([title, names]) =>
    h(
      "div",
      { class: "field-group" },
      h("h3", null, title),
      definitions(
        names
          .filter((name) => name in job)
          .map((name) => [h("code", null, name), fieldValue(name, job[name])]),
      ),
    ),
  );
}

/** A field as an element, by what its name says of its unit. */
export function fieldValue(name, value) {
  if (value === null || value === undefined || value === "")
    return h("span", { class: "unknown" }, UNKNOWN);
  if (name === "status") return statusBadge(value);
  if (name.endsWith("_at") || name === "time") return timeElement(value);
  if (typeof value === "number") return h("span", { class: "num" }, numberText(name, value));
  if (typeof value === "object") return h("code", { class: "json" }, JSON.stringify(value));
  if (name.endsWith("_id")) return copyable(String(value), { label: name });
  return h("bdi", { class: "field-text" }, String(value));
}

/** A number in its unit, with the exact count where that is rounded. */
export function numberText(name, value) {
  if (/(^|_)bytes(_|$)/.test(name)) return exact(bytes(value), value, "B");
  if (name.endsWith("_bps")) return exact(speed(value), value, "B/s");
  if (name.endsWith("_percent")) return percent(value);
  if (name === "clock_offset_seconds") return `${Math.round(value * 1000) / 1000} s`;
  if (name.endsWith("_seconds")) return value === 0 ? "none" : duration(value);
  return Number.isInteger(value) ? count(value) : String(value);
}

function exact(text, value, unit) {
  return value < 1024 ? text : `${text} (${count(value)} ${unit})`;
}

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

function technicalData(job) {
  const metrics = job.performance_metrics;
  if (!metrics) return [];
  const flat = Object.entries(metrics).filter(([name]) => !NESTED.includes(name));
  return [
    h("h2", null, "Kept summary"),
    h("p", { class: "chart-note" }, "What stays of the job when its updates are gone."),
    definitions([
      ...flat.map(([name, value]) => [h("code", null, name), fieldValue(name, value)]),
      ...NESTED.filter((name) => Array.isArray(metrics[name])).map((name) => [
        h("code", null, name),
        `${metrics[name].length} items`,
      ]),
    ]),
  ];
}

function eventItem(event) {
  const isTransition = event.kind === "transition";
  const evidence = Object.entries(event.evidence ?? {});
  return h(
    "li",
    { class: ["event", !isTransition && "is-warning"] },
    h(
      "div",
      { class: "event-head" },
      timeElement(event.time),
      isTransition
        ? h(
            "span",
            { class: "event-change" },
            event.from_status
              ? statusBadge(event.from_status)
              : h("span", { class: "unknown" }, "new"),
            h("span", { "aria-label": "to" }, "→"),
            statusBadge(event.to_status),
          )
        : h("strong", null, "Warning"),
      h("span", { class: "event-actor" }, `by ${event.actor}`),
    ),
    h("p", { class: "event-reason", dir: "auto" }, event.reason),
    evidence.length > 0 &&
      definitions(evidence.map(([name, value]) => [h("bdi", null, name), fieldValue(name, value)])),
  );
}
