/** All machines with their last run and their counts of runs. */

import { emptyState, errorState, loading } from "../components/states.js";
import { statusBadge, updateStatusBadge } from "../components/status.js";
import { startElement, updateStart } from "../components/time.js";
import { childElements, h, keyed, replace, setText } from "../lib/dom.js";
import { bytes, count, counted, duration, visible } from "../lib/format.js";
import { live } from "../lib/live.js";
import { countLooks, lookCount, RUN_LOOKS } from "../lib/looks.js";
import { loadMachines } from "../lib/machines.js";
import { jobUrl, machineUrl } from "../lib/urls.js";
import { matching } from "./job/combobox.js";

const SHOWN_AT_ONCE = 200; // more when the end of the list comes near
const EVERY_MS = 5000;

/** @param {HTMLElement} root @param {ViewContext} context @returns {View} */
export function mount(root, { query, setQuery }) {
  /** @type {Machine[]} */
  let machines = [];
  let shown = SHOWN_AT_ONCE;
  const list = h("ul", { class: "machine-list" });
  const end = h("div", { class: "list-end" });
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
        shown = SHOWN_AT_ONCE;
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
    end,
  );

  const observer = new IntersectionObserver(
    ([{ isIntersecting }]) => {
      if (!isIntersecting) return;
      shown += SHOWN_AT_ONCE;
      render();
    },
    { rootMargin: "900px 0px" },
  );

  function render() {
    const matches = matching(
      machines.map((machine) => ({ machine, label: machine.vm_name })),
      filter.value,
    ).map(({ machine }) => machine);
    keyed(list, matches.slice(0, shown), (machine) => machine.vm_name, makeMachine, updateMachine);
    // An observer reports changes only, and the end may still be near.
    observer.unobserve(end);
    if (matches.length > shown) observer.observe(end);
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
  return {
    unmount() {
      refreshing.stop();
      observer.disconnect();
    },
  };
}

/** @param {number} matches @param {number} all */
function resultText(matches, all) {
  const machines = counted(all, "machine");
  return matches === all ? machines : `${count(matches)} of ${machines}`;
}

/** @param {Machine} machine */
function makeMachine(machine) {
  const node = h(
    "li",
    { class: "card machine" },
    h(
      "h2",
      null,
      h("a", { href: machineUrl(machine.vm_name) }, h("bdi", null, visible(machine.vm_name))),
    ),
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
