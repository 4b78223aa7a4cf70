/** All machines with their last run and their counts of runs. */

import { emptyState, errorState, loading } from "../components/states.js";
import { statusBadge, updateStatusBadge } from "../components/status.js";
import { startElement, updateStart } from "../components/time.js";
import { childElements, h, keyed, replace, setText } from "../lib/dom.js";
import { bytes, count, counted, duration } from "../lib/format.js";
import { live } from "../lib/live.js";
import { countLooks, lookCount, RUN_LOOKS } from "../lib/looks.js";
import { jobUrl, machineUrl } from "../lib/urls.js";
import { matching } from "./job/combobox.js";
import { loadMachines } from "./job/selectors.js";

const MOST_SHOWN = 500; // more are found by typing
const EVERY_MS = 5000;

/** @param {HTMLElement} root @param {ViewContext} context @returns {View} */
export function mount(root, { query, setQuery }) {
  /** @type {Machine[]} */
  let machines = [];
  const list = h("ul", { class: "machine-list" });
  const state = h("div", null, loading("Loading machines …"));
  const found = h("p", { class: "muted small", role: "status" });
  const filter = h("input", {
    type: "search",
    class: "field",
    value: query.get("q") ?? "",
    autocomplete: "off",
    spellcheck: "false",
    on: {
      input: () => {
        setQuery({ q: filter.value });
        render();
      },
    },
  });
  replace(
    root,
    h(
      "div",
      { class: "page-head" },
      h("h1", null, "Machines"),
      h("label", { class: "labelled no-print" }, h("span", null, "Name contains"), filter),
    ),
    found,
    state,
    list,
  );

  function render() {
    const matches = matching(
      machines.map((machine) => ({ machine, label: machine.vm_name })),
      filter.value,
    ).map(({ machine }) => machine);
    keyed(
      list,
      matches.slice(0, MOST_SHOWN),
      (machine) => machine.vm_name,
      makeMachine,
      updateMachine,
    );
    setText(found, machines.length ? resultText(matches.length, machines.length) : "");
    if (machines.length && !matches.length)
      replace(
        state,
        emptyState("No machine matches", "The search finds any part of a name and ignores case."),
      );
    else if (machines.length) replace(state);
    else
      replace(
        state,
        emptyState("No machines yet", "A machine appears here when a job reports its vm_name."),
      );
  }

  const refreshing = live(
    async ({ signal }) => {
      machines = await loadMachines(signal);
      render();
    },
    {
      every: EVERY_MS,
      onError: (error, { first }) =>
        first &&
        replace(
          state,
          errorState(error, () => refreshing.refresh()),
        ),
    },
  );
  return { unmount: () => refreshing.stop() };
}

/** @param {number} matches @param {number} all */
function resultText(matches, all) {
  const shown = matches > MOST_SHOWN ? `, the first ${MOST_SHOWN} shown` : "";
  return matches === all
    ? `${count(all)} machines${shown}`
    : `${count(matches)} of ${count(all)} machines${shown}`;
}

/** @param {Machine} machine */
function makeMachine(machine) {
  const node = h(
    "li",
    { class: "card machine" },
    h("h2", null, h("a", { href: machineUrl(machine.vm_name) }, h("bdi", null, machine.vm_name))),
    h(
      "div",
      { class: "machine-last" },
      statusBadge(machine.last_job),
      h("a", null, startElement(machine.last_job)),
      h("span", { class: "num" }),
    ),
    h("p", { class: "machine-counts muted small" }),
    h("p", { class: "error-text", dir: "auto" }),
  );
  updateMachine(node, machine);
  return node;
}

/** @param {HTMLElement} node @param {Machine} machine */
function updateMachine(node, machine) {
  const [, last, counts, error] = childElements(node);
  const [badge, link, figures] = childElements(last);
  const [started] = childElements(link);
  const { last_job: job } = machine;
  const byLook = countLooks(machine);
  updateStatusBadge(badge, job);
  link.setAttribute("href", jobUrl(job));
  updateStart(started, job);
  setText(
    figures,
    job.status === "pending"
      ? ""
      : `${bytes(job.bytes_transferred)} in ${duration(job.duration_seconds)}`,
  );
  const parts = RUN_LOOKS.filter((look) => byLook[look]).map((look) =>
    lookCount(byLook[look], look),
  );
  setText(counts, `${counted(machine.jobs, "run")}: ${parts.join(", ")}`);
  setText(error, job.error_message ?? "");
  error.className = job.status === "failed" ? "error-text" : "warning-text";
  error.hidden = !job.error_message;
}
