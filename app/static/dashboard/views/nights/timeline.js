/** One night: who ran when, what overlapped, and how many runs wrote to each repository. */

import { emptyState, errorState, loading } from "../../components/states.js";
import { statusIcon } from "../../components/status.js";
import { get, serverNow } from "../../lib/api.js";
import { h, replace, svg } from "../../lib/dom.js";
import { bytes, clock, count, duration } from "../../lib/format.js";
import { live } from "../../lib/live.js";
import { lookOf, lookText } from "../../lib/looks.js";
import { jobUrl } from "../../lib/urls.js";
import { dayTexts } from "./matrix.js";

const EVERY_MS = 15_000;
const PAGE = 500;
const MOST_RUNS = 2000;
const STEPS = 144; // of ten minutes
const HEIGHT = 24; // of the chart of a repository, in its own units

/**
 * @typedef {{day: string, from: Date, to: Date, zone: string, onClose: () => void}} Night
 * @typedef {{job: Job, from: number, to: number}} Bar `from` and `to`: parts of the night, 0 to 1
 */

/**
 * Shows a night in `box` until it is stopped.
 * @param {HTMLElement} box
 * @param {Night} night
 */
export function timeline(box, night) {
  const title = `The night of ${dayTexts(night.day).long}`;
  const body = h("div", null, loading("Loading the night …"));
  replace(
    box,
    h(
      "div",
      { class: "section-head" },
      h("h2", { tabindex: -1 }, title),
      h(
        "button",
        { type: "button", class: "button button-quiet", on: { click: night.onClose } },
        "Close",
      ),
    ),
    body,
  );
  box.setAttribute("aria-label", title);
  return live(
    async ({ signal, first }) => {
      const { jobs, isSame } = await loadJobs(night, signal);
      if (first || !isSame) replace(body, draw(jobs, night));
    },
    {
      every: EVERY_MS,
      onError: (error, { first }) => first && replace(body, errorState(error)),
    },
  );
}

/** @param {Night} night @param {AbortSignal} signal */
async function loadJobs({ from, to }, signal) {
  /** @type {Job[]} */
  const jobs = [];
  let cursor = null;
  let isSame = true;
  do {
    const { data, notModified } = await get(
      "/jobs",
      {
        active_from: from.toISOString(),
        active_to: to.toISOString(),
        order: "asc",
        limit: PAGE,
        cursor,
      },
      { signal },
    );
    jobs.push(...data.items);
    isSame &&= notModified;
    cursor = data.next_cursor;
  } while (cursor !== null && jobs.length < MOST_RUNS);
  return { jobs: jobs.filter((job) => job.status !== "pending"), isSame };
}

/** @param {Job[]} jobs @param {Night} night */
function draw(jobs, night) {
  if (!jobs.length) return emptyState("Nothing ran", "No run was active between these times.");
  const bars = jobs.map((job) => barOf(job, night));
  const lanes = group(bars, ({ job }) => job.vm_name ?? job.job_id);
  const repositories = group(bars, ({ job }) => job.repository_id ?? "no repository");
  return [
    h("p", { class: "muted small" }, aboutText(bars, night)),
    h(
      "div",
      { class: "timeline scroll-box", role: "region", "aria-label": "Timeline", tabindex: 0 },
      axis(night),
      h("h3", { class: "timeline-title" }, "Runs at once, by repository"),
      h(
        "ul",
        null,
        [...repositories].map(([name, its]) => loadRow(name, its, night)),
      ),
      h("h3", { class: "timeline-title" }, "Machines"),
      h(
        "ul",
        null,
        [...lanes].map(([name, its]) => laneRow(name, its)),
      ),
    ),
  ];
}

/** @param {Job} job @param {Night} night @returns {Bar} */
function barOf(job, { from, to }) {
  const length = to.getTime() - from.getTime();
  const end = job.completed_at ? Date.parse(job.completed_at) : serverNow().getTime();
  /** @param {number} time */
  const part = (time) => Math.min(Math.max((time - from.getTime()) / length, 0), 1);
  return { job, from: part(Date.parse(job.started_at)), to: part(end) };
}

/**
 * Bars by what they have in common, in the order of their names.
 * @param {Bar[]} bars
 * @param {(bar: Bar) => string} key
 */
function group(bars, key) {
  /** @type {Map<string, Bar[]>} */
  const groups = new Map();
  for (const bar of bars) {
    const name = key(bar);
    const group = groups.get(name);
    if (group) group.push(bar);
    else groups.set(name, [bar]);
  }
  return new Map([...groups].sort(([a], [b]) => (a < b ? -1 : 1)));
}

/** @param {Bar[]} bars @param {Night} night */
function aboutText(bars, night) {
  const { most, at } = busiest(bars);
  const cut =
    bars.length >= MOST_RUNS
      ? `the first ${count(MOST_RUNS)} runs`
      : `${count(bars.length)} ${bars.length === 1 ? "run" : "runs"}`;
  return `${cut}, at most ${count(most)} at once, at ${clock(timeAt(at, night)).slice(0, 5)}. From ${clock(night.from).slice(0, 5)} to ${clock(night.to).slice(0, 5)}, time zone ${night.zone}.`;
}

/** @param {number} part @param {Night} night */
const timeAt = (part, { from, to }) =>
  new Date(from.getTime() + part * (to.getTime() - from.getTime()));

/**
 * The changes of the number of runs: ends before starts at the same time.
 * @param {Bar[]} bars
 */
const changes = (bars) =>
  bars
    .flatMap(({ from, to }) => [
      { at: from, by: 1 },
      { at: to, by: -1 },
    ])
    .sort((a, b) => a.at - b.at || a.by - b.by);

/** The most runs at once, and when that began first. @param {Bar[]} bars */
function busiest(bars) {
  let [now, most, at] = [0, 0, 0];
  for (const change of changes(bars)) {
    now += change.by;
    if (now > most) [most, at] = [now, change.at];
  }
  return { most, at };
}

/** The most runs at once in each step of the night. @param {Bar[]} bars */
function load(bars) {
  const steps = new Array(STEPS).fill(0);
  let [now, next] = [0, 0];
  for (const { at, by } of changes(bars)) {
    const step = Math.min(Math.floor(at * STEPS), STEPS - 1);
    while (next <= step) {
      steps[next] = Math.max(steps[next], now);
      next += 1;
    }
    now += by;
    steps[step] = Math.max(steps[step], now);
  }
  return steps;
}

/** @param {Night} night */
function axis(night) {
  const hours = Math.round((night.to.getTime() - night.from.getTime()) / 3_600_000);
  const marks = Array.from({ length: Math.floor(hours / 3) }, (_, n) => (n * 3) / hours);
  return h(
    "div",
    { class: "timeline-row timeline-axis", "aria-hidden": "true" },
    h("span", { class: "timeline-name" }),
    h(
      "span",
      { class: "timeline-track" },
      marks.map((part) =>
        h(
          "span",
          { class: "timeline-mark num", style: { left: `${100 * part}%` } },
          clock(timeAt(part, night)).slice(0, 5),
        ),
      ),
    ),
  );
}

/** @param {string} name @param {Bar[]} bars @param {Night} night */
function loadRow(name, bars, night) {
  const { most, at } = busiest(bars);
  const moved = bars.reduce((sum, { job }) => sum + job.bytes_transferred, 0);
  const steps = load(bars);
  const top = steps.map((runs) => HEIGHT - (HEIGHT * runs) / Math.max(most, 1));
  const path = top.map((y, n) => `L${n} ${y}L${n + 1} ${y}`).join("");
  const text = `at most ${count(most)} at once, at ${clock(timeAt(at, night)).slice(0, 5)}; ${bytes(moved)} by ${count(bars.length)} ${bars.length === 1 ? "run" : "runs"}`;
  return h(
    "li",
    { class: "timeline-row", title: `${name}: ${text}` },
    h(
      "span",
      { class: "timeline-name" },
      h("bdi", null, name),
      h("span", { class: "muted" }, ` ${text}`),
    ),
    h(
      "span",
      { class: "timeline-track" },
      svg(
        "svg",
        {
          class: "timeline-load",
          viewBox: `0 0 ${STEPS} ${HEIGHT}`,
          preserveAspectRatio: "none",
          "aria-hidden": "true",
        },
        svg("path", { d: `M0 ${HEIGHT}${path}L${STEPS} ${HEIGHT}z` }),
      ),
    ),
  );
}

/** @param {string} name @param {Bar[]} bars */
function laneRow(name, bars) {
  const lanes = stack(bars);
  return h(
    "li",
    { class: "timeline-row" },
    h("span", { class: "timeline-name" }, h("bdi", { title: name }, name)),
    h(
      "span",
      { class: "timeline-track", style: { "--lanes": Math.max(...lanes.values()) + 1 } },
      bars.map((bar) => makeBar(bar, lanes.get(bar) ?? 0)),
    ),
  );
}

/** The lane of each bar: those that overlap lie below each other. @param {Bar[]} bars by their start */
function stack(bars) {
  /** @type {Map<Bar, number>} */
  const lanes = new Map();
  /** @type {number[]} */
  const ends = [];
  for (const bar of bars) {
    const free = ends.findIndex((end) => end <= bar.from);
    const lane = free < 0 ? ends.length : free;
    ends[lane] = bar.to;
    lanes.set(bar, lane);
  }
  return lanes;
}

/** @param {Bar} bar @param {number} lane */
function makeBar({ job, from, to }, lane) {
  const look = lookOf(job);
  const until = job.completed_at ? clock(job.completed_at).slice(0, 5) : "now";
  const text = [
    `${job.job_id}: ${lookText(look)}`,
    `${clock(job.started_at).slice(0, 5)} to ${until}`,
    job.duration_seconds !== null && duration(job.duration_seconds),
    bytes(job.bytes_transferred),
    job.repository_id,
  ];
  const label = text.filter(Boolean).join(", ");
  return h(
    "a",
    {
      class: "timeline-bar",
      href: jobUrl(job),
      title: label,
      "aria-label": label,
      dataset: { look },
      style: { left: `${100 * from}%`, width: `${100 * (to - from)}%`, "--lane": lane },
    },
    statusIcon(look),
  );
}
