// Uses the types that openapi-typescript generates, as a program would: `node use.js URL`. That it
// compiles is half of the test.

import createClient from "openapi-fetch";
import type { components, paths } from "./api.js";

declare const process: { argv: string[] };

type Job = components["schemas"]["Job"];

function check(isTrue: boolean, what: string): asserts isTrue {
  if (!isTrue) throw new Error(what);
}

const hub = createClient<paths>({ baseUrl: process.argv[2] });

const health = await hub.GET("/api/v1/health");
check(health.data?.checks.database.status === "ok", "the database is not ok");

// A job, from its registration to its end. What is not known yet is null.
const job = { job_type: "backup", job_id: "job-1" };
const registered = await hub.POST("/api/v1/jobs", {
  body: { ...job, vm_name: "vm1", total_bytes: 1000 },
});
check(registered.response.status === 201, "the job is not registered");
const pushed = await hub.POST("/api/v1/telemetry/{job_type}/{job_id}", {
  params: { path: job },
  body: { status: "running", bytes_transferred: 500 },
});
check(pushed.data?.applied === true, "the update is not applied");
const listed = await hub.GET("/api/v1/jobs", { params: { query: { status: "running" } } });
const first = listed.data?.items[0];
check(first !== undefined, "the job is not listed");
const endedBy: "sender" | "detector" | "operator" | null = first.ended_by;
check(endedBy === null && first.bytes_transferred === 500, "the job is listed otherwise");
await hub.POST("/api/v1/jobs/{job_id}/complete", {
  params: { path: job },
  body: { status: "completed" },
});
const read = await hub.GET("/api/v1/jobs/{job_id}", { params: { path: job } });
check(read.data !== undefined, "the job is not found");
const ended: Job = read.data;
check(ended.ended_by === "sender" && ended.hub_eta === null, "the job has not ended");
const csv = await hub.GET("/api/v1/jobs.csv", { parseAs: "text" });
const text: string | undefined = csv.data;
check(text?.includes("\n1,") !== undefined && text?.split("\r\n").length === 3, "it is no CSV");

// Many at once; a bad one is refused alone.
const batch = await hub.POST("/api/v1/telemetry/batch", {
  body: {
    updates: [
      { ...job, job_id: "job-2", status: "running" },
      { ...job, job_type: "Backup!", status: "running" },
    ],
  },
});
check(batch.data?.accepted === 1 && batch.data.rejected[0].index === 1, "the batch is otherwise");

const snapshots = await hub.POST("/api/v1/telemetry/snapshot", {
  body: { snapshots: [{ node_id: "node-1", cpu_percent: 41.5 }] },
});
check(snapshots.data?.accepted === 1, "the snapshot is not accepted");
const node = await hub.GET("/api/v1/nodes/{node_id}", { params: { path: { node_id: "node-1" } } });
check(
  node.data?.cpu_percent === 41.5 && node.data.memory_percent === null,
  "the node is otherwise",
);

// A refusal names the field; a misspelt one does not compile.
// @ts-expect-error
const refused = await hub.GET("/api/v1/jobs", { params: { query: { stauts: "running" } } });
check(refused.error?.errors?.stauts !== undefined, "the parameter is not refused");
