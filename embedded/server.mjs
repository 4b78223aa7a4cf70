// The embedded TimescaleDB: PostgreSQL's wire protocol on 127.0.0.1 in front of PGlite.
//
//   node server.mjs --data-dir DIRECTORY [--port 0] [--memory-mib 768] [--refuse-analysts SECONDS]
//
// with HUB_PASSWORD, OWNER_PASSWORD, ANALYST_PASSWORD and, for temporary databases, FSYNC=off in the
// environment.
// Prints one line on stdout when ready: {"event":"ready","port":…,"version":…}. Logs are JSON lines
// on stderr. Ends when stdin is closed (the parent has the other end), or by SIGTERM or SIGINT.
//
// Users: `hub` has the rights of the role telemetry_hub, `owner` may do everything, `analyst` may read.
// Unlike a PostgreSQL server: no COPY FROM STDIN (it crashes the engine), no cursors WITH HOLD, no
// encodings besides UTF-8, no cancel, no statement timeout, no LISTEN across connections, no
// autovacuum, no background workers.

import fs from "node:fs";
import net from "node:net";
import process from "node:process";
import { parseArgs } from "node:util";
import { Bridge } from "./bridge.mjs";
import { Engine, OpenError, StatementError } from "./engine.mjs";
import { Session } from "./session.mjs";
import { startWatchdog } from "./watchdog.mjs";

const EXIT_TRAPPED = 70; // EX_SOFTWARE
const EXIT_PORT_TAKEN = 69; // EX_UNAVAILABLE

/**
 * Synchronous: the last line before an exit must not be lost.
 * @param {string} level
 * @param {string} event
 * @param {object} [fields]
 */
function log(level, event, fields = {}) {
  try {
    fs.writeSync(2, `${JSON.stringify({ level, event, ...fields })}\n`);
  } catch {
    // EPIPE: the parent has exited. The database still has to be closed.
  }
}

// PGlite sometimes prints to the console; stdout is for the ready line only.
console.log =
  console.info =
  console.warn =
  console.error =
    (...words) => log("debug", "console", { text: words.map(String).join(" ") });

/** @type {Engine | undefined} */
let engine;

/**
 * @param {unknown} error
 * @param {object} [subject] what ran
 * @returns {never}
 */
function exitOnFailure(error, subject) {
  const detail = error instanceof Error ? error.stack : error;
  const text = ["the embedded database has crashed:", engine?.fatal, detail]
    .filter(Boolean)
    .join(" ");
  log("critical", "trapped", { text, ...subject });
  process.exit(EXIT_TRAPPED);
}
process.on("uncaughtException", (error) => exitOnFailure(error));
process.on("unhandledRejection", (error) => exitOnFailure(error));

const { values } = parseArgs({
  options: {
    "data-dir": { type: "string" },
    port: { type: "string", default: "0" },
    "memory-mib": { type: "string", default: "768" },
    "refuse-analysts": { type: "string", default: "0" },
  },
});
const { HUB_PASSWORD, OWNER_PASSWORD, ANALYST_PASSWORD, FSYNC = "on" } = process.env;
if (!values["data-dir"] || !HUB_PASSWORD || !OWNER_PASSWORD || !ANALYST_PASSWORD) {
  log("critical", "usage", {
    text: "--data-dir and the passwords of all three users are required",
  });
  process.exit(64);
}

const refuseAnalystsSeconds = Number(values["refuse-analysts"]);
const watchdog = startWatchdog();
const bridge = new Bridge({
  passwords: { hub: HUB_PASSWORD, owner: OWNER_PASSWORD, analyst: ANALYST_PASSWORD },
  watchdog,
  log,
  onFailure: exitOnFailure,
  onTooLarge: (reason) => stop(reason, "warning"),
  memoryBytes: Number(values["memory-mib"]) * 1024 * 1024,
  refuseAnalystsMs: refuseAnalystsSeconds * 1000,
});

// Listens first: a port in use is reported at once, and clients of a restarted engine can wait.
const server = net.createServer({ noDelay: true }, (socket) => bridge.accept(socket));
server.once("error", (/** @type {NodeJS.ErrnoException} */ error) => {
  const event = error.code === "EADDRINUSE" ? "port_taken" : "cannot_listen";
  log("critical", event, { text: error.message });
  process.exit(EXIT_PORT_TAKEN);
});
await new Promise((resolve) => {
  const options = { host: "127.0.0.1", port: Number(values.port), backlog: 511 };
  server.listen(options, () => resolve(undefined));
});

/** @param {string} reason @param {string} [level] */
function stop(reason, level = "info") {
  log(level, "stopping", { reason });
  server.close();
  bridge.close();
  process.exit(0);
}
process.on("SIGTERM", () => stop("SIGTERM"));
process.on("SIGINT", () => stop("SIGINT"));
process.stdin.on("error", () => stop("stdin"));
process.stdin.on("end", () => stop("stdin"));
process.stdin.resume();
watchdog.onOrphaned(() => stop("the parent process has exited"));

/**
 * @param {string} directory
 * @returns {Promise<{engine: Engine, session: Session}>}
 */
async function open(directory) {
  try {
    const opened = await Engine.open(directory, { durable: FSYNC !== "off" });
    return { engine: opened, session: new Session(opened, { refuseAnalystsSeconds }) };
  } catch (error) {
    if (!(error instanceof OpenError || error instanceof StatementError)) throw error;
    log("critical", "cannot_open", { text: error.message });
    return process.exit(EXIT_TRAPPED);
  }
}

const opened = await open(values["data-dir"]);
const { session } = opened;
engine = opened.engine;
bridge.open(engine, session);
const version = `PostgreSQL ${session.serverVersion}, TimescaleDB ${session.timescaleVersion}`;
const { port } = /** @type {net.AddressInfo} */ (server.address());
process.stdout.write(`${JSON.stringify({ event: "ready", port, version, pid: process.pid })}\n`);
