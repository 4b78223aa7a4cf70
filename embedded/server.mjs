// The embedded TimescaleDB: PostgreSQL's wire protocol on 127.0.0.1 in front of PGlite.
//
//   node server.mjs --data-dir DIRECTORY [--port 0]
//
// with HUB_PASSWORD, OWNER_PASSWORD, ANALYST_PASSWORD and, for throw-away databases, FSYNC=off in the
// environment.
// Prints one line on stdout when ready: {"event":"ready","port":…,"version":…}. Logs are JSON lines
// on stderr. Ends when stdin does (the parent holds the other end), or by SIGTERM or SIGINT.
//
// Users: `hub` has the rights of the role telemetry_hub, `owner` may do everything; the two share their
// session settings. `analyst` may read.
// Beyond PostgreSQL's own: no COPY FROM STDIN (it kills the engine), no cancel, no statement
// timeout, no LISTEN across connections, no autovacuum, no background workers.

import fs from "node:fs";
import net from "node:net";
import process from "node:process";
import { parseArgs } from "node:util";
import { Bridge } from "./bridge.mjs";
import { Engine } from "./engine.mjs";
import { Session } from "./session.mjs";
import { startWatchdog } from "./watchdog.mjs";

const EXIT_TRAPPED = 70; // EX_SOFTWARE
const EXIT_PORT_TAKEN = 69; // EX_UNAVAILABLE

// Synchronous: the last line before an exit must not get lost.
function log(level, event, fields = {}) {
  try {
    fs.writeSync(2, `${JSON.stringify({ level, event, ...fields })}\n`);
  } catch {
    // EPIPE: the parent is gone. The database is still to be closed.
  }
}

// PGlite prints to the console in places; stdout belongs to the ready line.
console.log =
  console.info =
  console.warn =
  console.error =
    (...words) => log("debug", "console", { text: words.map(String).join(" ") });

function exitTrapped(error) {
  log("critical", "trapped", { text: `the engine has died: ${error?.stack ?? error}` });
  process.exit(EXIT_TRAPPED);
}
process.on("uncaughtException", exitTrapped);
process.on("unhandledRejection", exitTrapped);

const { values } = parseArgs({
  options: { "data-dir": { type: "string" }, port: { type: "string", default: "0" } },
});
const { HUB_PASSWORD, OWNER_PASSWORD, ANALYST_PASSWORD, FSYNC = "on" } = process.env;
if (!values["data-dir"] || !HUB_PASSWORD || !OWNER_PASSWORD || !ANALYST_PASSWORD) {
  log("critical", "usage", { text: "--data-dir and the passwords of all three users are needed" });
  process.exit(64);
}

const watchdog = startWatchdog();
const bridge = new Bridge({
  passwords: { hub: HUB_PASSWORD, owner: OWNER_PASSWORD, analyst: ANALYST_PASSWORD },
  watchdog,
  log,
  onTrap: exitTrapped,
});

// Listening comes first: a taken port is known at once, and clients of a restarted engine wait.
const server = net.createServer({ noDelay: true }, (socket) => bridge.accept(socket));
server.once("error", (error) => {
  const event = error.code === "EADDRINUSE" ? "port_taken" : "cannot_listen";
  log("critical", event, { text: error.message });
  process.exit(EXIT_PORT_TAKEN);
});
await new Promise((resolve) => {
  server.listen({ host: "127.0.0.1", port: Number(values.port), backlog: 511 }, resolve);
});

function stop(reason) {
  log("info", "stopping", { reason });
  server.close();
  bridge.close();
  process.exit(0);
}
process.on("SIGTERM", () => stop("SIGTERM"));
process.on("SIGINT", () => stop("SIGINT"));
process.stdin.on("error", () => stop("stdin"));
process.stdin.on("end", () => stop("stdin"));
process.stdin.resume();
watchdog.onOrphaned(() => stop("the parent is gone"));

const engine = await Engine.open(values["data-dir"], { durable: FSYNC !== "off" });
const session = new Session(engine);
bridge.open(engine, session);
const version = `PostgreSQL ${session.serverVersion}, TimescaleDB ${session.timescaleVersion}`;
process.stdout.write(
  `${JSON.stringify({ event: "ready", port: server.address().port, version, pid: process.pid })}\n`,
);
