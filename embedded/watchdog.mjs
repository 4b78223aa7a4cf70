// A thread beside the engine. The engine blocks the main thread while a statement runs and cannot
// be interrupted, so only somebody else can notice that it runs for too long or that the parent is
// gone. Both end the process at once: the database recovers from that when it is next opened.

import fs from "node:fs";
import process from "node:process";
import { isMainThread, parentPort, Worker, workerData } from "node:worker_threads";

const LOOK_EVERY_MS = 250;
// The main thread learns of the parent's death by itself and closes the database if it can.
const ORPHAN_GRACE_MS = 1000;

/** Starts the thread. Returns `{begin(limitMs), end()}`, to be called around every exchange. */
export function startWatchdog() {
  const deadline = new BigInt64Array(new SharedArrayBuffer(8));
  const worker = new Worker(new URL(import.meta.url), {
    workerData: { deadline, parentProcess: process.ppid },
  });
  worker.unref();
  return {
    onOrphaned: (listener) => worker.once("message", listener),
    begin: (limitMs) => {
      Atomics.store(deadline, 0, process.hrtime.bigint() + BigInt(limitMs) * 1_000_000n);
    },
    end: () => Atomics.store(deadline, 0, 0n),
  };
}

function die(text) {
  try {
    fs.writeSync(2, `${JSON.stringify({ level: "critical", event: "killed", text })}\n`);
  } catch {
    // EPIPE: whoever read the log is gone, which may be why we are here.
  }
  process.kill(process.pid, "SIGKILL");
}

if (!isMainThread) {
  const { deadline, parentProcess } = workerData;
  setInterval(() => {
    const end = Atomics.load(deadline, 0);
    if (end !== 0n && process.hrtime.bigint() > end) {
      die("a statement ran for too long and cannot be cancelled; the engine has to start anew");
    }
    if (process.ppid !== parentProcess) {
      parentPort.postMessage("orphaned");
      setTimeout(() => die("the parent is gone and the engine does not stop"), ORPHAN_GRACE_MS);
    }
  }, LOOK_EVERY_MS);
}
