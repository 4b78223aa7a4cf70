// A thread beside the engine. The engine blocks the main thread while a statement runs and cannot
// be interrupted, so another thread has to notice that a statement runs for too long or that the
// parent process has exited. Both end the process at once; the database recovers at the next start.

import fs from "node:fs";
import process from "node:process";
import { isMainThread, parentPort, Worker, workerData } from "node:worker_threads";

const CHECK_INTERVAL_MS = 250;
// Time for the main thread to close the database, if it can.
const ORPHAN_GRACE_MS = 1000;
const SUBJECT_BYTES = 2048; // two texts of 100 characters, each escaped at worst

/**
 * @typedef {object} Watchdog `begin` and `end` are called around every exchange
 * @property {(listener: () => void) => void} onOrphaned
 * @property {(limitMs: number, subject: object) => void} begin `subject` is logged if it is killed
 * @property {() => void} end
 */

/**
 * Starts the thread.
 * @returns {Watchdog}
 */
export function startWatchdog() {
  const deadline = new BigInt64Array(new SharedArrayBuffer(8));
  const subjectText = new Uint8Array(new SharedArrayBuffer(SUBJECT_BYTES));
  const encoder = new TextEncoder();
  const worker = new Worker(new URL(import.meta.url), {
    workerData: { deadline, subjectText, parentProcess: process.ppid },
  });
  worker.unref();
  return {
    onOrphaned: (listener) => worker.once("message", listener),
    begin: (limitMs, subject) => {
      const { written } = encoder.encodeInto(JSON.stringify(subject), subjectText);
      subjectText.fill(0, written);
      Atomics.store(deadline, 0, process.hrtime.bigint() + BigInt(limitMs) * 1_000_000n);
    },
    end: () => Atomics.store(deadline, 0, 0n),
  };
}

/** @param {string} text @param {object} [subject] */
function kill(text, subject) {
  try {
    fs.writeSync(
      2,
      `${JSON.stringify({ level: "critical", event: "killed", text, ...subject })}\n`,
    );
  } catch {
    // EPIPE: the reader of the log has exited, which may be the reason for this.
  }
  process.kill(process.pid, "SIGKILL");
}

/** @param {Uint8Array} bytes JSON, then zeros */
function readSubject(bytes) {
  const text = Buffer.from(bytes).toString("utf8").replace(/\0+$/, "");
  try {
    return JSON.parse(text);
  } catch {
    return { subject: text }; // cut off
  }
}

if (!isMainThread) {
  const { deadline, subjectText, parentProcess } = workerData;
  setInterval(() => {
    const end = Atomics.load(deadline, 0);
    if (end !== 0n && process.hrtime.bigint() > end) {
      kill(
        "a statement exceeded its time limit and cannot be cancelled; the database restarts",
        readSubject(subjectText),
      );
    }
    if (process.ppid !== parentProcess) {
      parentPort?.postMessage("orphaned");
      setTimeout(() => kill("the parent process has exited"), ORPHAN_GRACE_MS);
    }
  }, CHECK_INTERVAL_MS);
}
