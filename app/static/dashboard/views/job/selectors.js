/** The fields that open the page of another machine or job. */

import { get } from "../../lib/api.js";
import { bytes, shortTime } from "../../lib/format.js";
import { jobUrl, machineUrl } from "../../lib/urls.js";
import { combobox } from "./combobox.js";

const MOST_PAGES = 10; // of 500 machines
const JOBS = 200;

/**
 * A field that opens the page of a machine.
 * @param {{vmName: string | null} & Pick<ViewContext, "navigate">} options
 */
export function machineSelector({ vmName, navigate }) {
  return combobox({
    label: "Machine",
    selected: vmName ?? "",
    placeholder: "Choose a machine",
    load: async () =>
      (await loadMachines()).map((machine) => ({
        value: machine.vm_name,
        label: machine.vm_name,
        note: `${machine.jobs} ${machine.jobs === 1 ? "job" : "jobs"}, last ${machine.last_job.status}`,
      })),
    onChoose: (name) => navigate(machineUrl(name)),
  });
}

/**
 * A field that opens one of the newest jobs of a machine.
 * @param {{vmName: string, jobId?: string} & Pick<ViewContext, "navigate">} options
 */
export function jobSelector({ vmName, jobId, navigate }) {
  return combobox({
    label: "Job",
    selected: jobId ?? "",
    placeholder: "Choose a job",
    load: async () => {
      const { data } = await get("/jobs", { vm_name: vmName, limit: JOBS });
      return data.items.map((/** @type {Job} */ job) => ({
        value: job.job_id,
        label: job.job_id,
        note: `${job.status} · ${shortTime(job.started_at)} · ${bytes(job.bytes_transferred)}`,
      }));
    },
    onChoose: (id) => navigate(jobUrl(id)),
  });
}

/** All machines, by name. @param {AbortSignal} [signal] */
export async function loadMachines(signal) {
  /** @type {Machine[]} */
  const machines = [];
  /** @type {string | null} */
  let cursor = null;
  for (let page = 0; page < MOST_PAGES; page += 1) {
    /** @type {{data: Page<Machine>}} */
    const { data } = await get("/machines", { limit: 500, cursor }, { signal });
    machines.push(...data.items);
    cursor = data.next_cursor;
    if (!cursor) break;
  }
  return machines;
}
