/** Which machine, and which of its jobs: the fields that lead from one page to another. */

import { get } from "../../lib/api.js";
import { jobUrl, machineUrl } from "../../lib/base.js";
import { bytes, shortTime } from "../../lib/format.js";
import { combobox } from "./combobox.js";

const MOST_PAGES = 10; // of 500 machines; a page with more is found by the machine's name in the address
const JOBS = 200;

/** A field that goes to the page of a machine. */
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

/** A field that goes to one of the newest jobs of a machine. */
export function jobSelector({ vmName, jobId, navigate }) {
  return combobox({
    label: "Job",
    selected: jobId ?? "",
    placeholder: "Choose a job",
    load: async () => {
      const { data } = await get("/jobs", { vm_name: vmName, limit: JOBS });
      return data.items.map((job) => ({
        value: job.job_id,
        label: job.job_id,
        note: `${job.status} · ${shortTime(job.started_at)} · ${bytes(job.bytes_transferred)}`,
      }));
    },
    onChoose: (id) => navigate(jobUrl(id)),
  });
}

/** All machines, by name. */
export async function loadMachines({ signal } = {}) {
  const machines = [];
  let cursor = null;
  for (let page = 0; page < MOST_PAGES; page += 1) {
    const { data } = await get("/machines", { limit: 500, cursor }, { signal });
    machines.push(...data.items);
    cursor = data.next_cursor;
    if (!cursor) break;
  }
  return machines;
}
