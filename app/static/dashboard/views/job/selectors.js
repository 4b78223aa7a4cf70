/** The fields that open the page of another machine or job. */

import { get } from "../../lib/api.js";
import { bytes, counted, shortTime, visible } from "../../lib/format.js";
import { lookOf, lookText } from "../../lib/looks.js";
import { loadMachines } from "../../lib/machines.js";
import { runText, startOf } from "../../lib/runs.js";
import { jobUrl, machineUrl } from "../../lib/urls.js";
import { combobox } from "./combobox.js";

const RUNS = 200; // the newest ones

/**
 * A field that opens the page of a machine.
 * @param {{vmName: string | null} & Pick<ViewContext, "navigate">} options
 */
export function machineSelector({ vmName, navigate }) {
  return combobox({
    label: "Machine",
    selected: visible(vmName ?? ""),
    placeholder: "Choose a machine",
    load: async () =>
      (await loadMachines()).map((machine) => ({
        value: machine.vm_name,
        label: visible(machine.vm_name),
        note: `${counted(machine.jobs, "run")}, last ${lookText(lookOf(machine.last_job))}`,
      })),
    onChoose: (name) => navigate(machineUrl(name)),
  });
}

/**
 * A field that opens one of the jobs that ran last for a machine.
 * @param {{vmName: string, jobId?: string} & Pick<ViewContext, "navigate">} options
 */
export function jobSelector({ vmName, jobId, navigate }) {
  return combobox({
    label: "Job",
    selected: visible(jobId ?? ""),
    placeholder: "Choose a job",
    load: async () => {
      const { data } = await get("/jobs", { vm_name: vmName, limit: RUNS });
      /** @type {Map<string, Job>} */
      const newest = new Map();
      for (const job of data.items) if (!newest.has(job.job_id)) newest.set(job.job_id, job);
      return [...newest.values()].map((job) => ({
        value: job.job_id,
        label: visible(job.job_id),
        note: runNote(job),
      }));
    },
    onChoose: (id) => navigate(jobUrl({ job_id: id })),
  });
}

/**
 * A field that opens another run of a job with several.
 * @param {{job: Job, open: (run: number) => void}} options
 */
export function runSelector({ job, open }) {
  return combobox({
    label: "Run",
    selected: runText(job),
    placeholder: "Choose a run",
    load: async () => {
      const path = `/jobs/${encodeURIComponent(job.job_id)}/runs`;
      const { data } = await get(path, { limit: RUNS });
      return data.items.map((/** @type {Job} */ run) => ({
        value: String(run.run),
        label: runText(run),
        note: runNote(run),
      }));
    },
    onChoose: (run) => open(Number(run)),
  });
}

/** @param {Job} run */
const runNote = (run) =>
  `${lookText(lookOf(run))} · ${startOf(run) ? "" : "registered "}${shortTime(run.started_at)} · ${bytes(run.bytes_transferred)}`;
