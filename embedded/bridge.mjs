// Shares the engine's one session between connections: in turn, one exchange at a time, and for a
// whole transaction to the connection that opened it.

import crypto from "node:crypto";
import { Connection, REFUSED_MARK } from "./connection.mjs";
import { StatementError } from "./engine.mjs";
import * as protocol from "./protocol.mjs";

const CONNECTIONS_MAX = 250;
// So that analysts, whose tools may leave connections behind, never keep the hub out.
const ANALYSTS_MAX = 200;
// An analyst's open transaction stops the hub. Long enough for a client that sends BEGIN, query and
// COMMIT one after the other, short enough not to lose an update's acknowledgement.
const ANALYST_IDLE_MS = 2_000;
const ANALYST_TRANSACTION_MS = 10_000;
// Nothing can cancel a statement. After these the watchdog ends the process, and the supervisor's
// new one is back within a second: less harm than a hub that stands still.
const STATEMENT_MS = { analyst: 15_000, hub: 600_000, owner: 600_000 };
const HELD_TOO_LONG_MS = 10_000;
// A bulk load writes 25 MB of WAL a second, and a checkpoint of 64 MB takes some 0.3 s.
const LOOK_EVERY_MS = 2_000;
const DISK_REPORT_EVERY_MS = 60_000;

const digest = (text) => crypto.createHash("sha256").update(text).digest();

export class Bridge {
  #passwords;
  #watchdog;
  #log;
  #onTrap;
  #engine = null;
  #session = null;
  #connections = new Set();
  #queue = [];
  #holder = null;
  /** Whose unnamed statement the engine has. */
  #unnamedOwner = null;
  #isCheckpointDue = false;
  #hasWorked = false;
  /** One warning for each transaction that is held too long. */
  #warnedSince = 0;
  #lastId = 0;
  #nextDiskReportAt = 0;

  /** `passwords` by user name; `onTrap(error)` ends the process, for the engine has died. */
  constructor({ passwords, watchdog, log, onTrap }) {
    const digests = Object.entries(passwords).map(([user, text]) => [user, digest(text)]);
    this.#passwords = new Map(digests);
    this.#watchdog = watchdog;
    this.#log = log;
    this.#onTrap = onTrap;
  }

  get serverVersion() {
    return this.#session.serverVersion;
  }

  accepts(user, password) {
    const expected = this.#passwords.get(user);
    return expected !== undefined && crypto.timingSafeEqual(expected, digest(password));
  }

  defaultSetting(name) {
    return `SET ${name} TO '${this.#session.defaultOf(name)}'`;
  }

  /** A client that comes before `open` waits: after a restart it is served instead of refused. */
  accept(socket) {
    if (this.#connections.size >= CONNECTIONS_MAX) this.#makeRoom();
    this.#lastId += 1;
    const connection = new Connection(this, socket, this.#lastId);
    this.#connections.add(connection);
    if (this.#engine) connection.begin();
  }

  /** Whoever has gone longest without signing in makes room for the next one. */
  #makeRoom() {
    for (const connection of this.#connections) {
      if (connection.isSignedIn || connection.isGone) continue;
      connection.fail({ sqlstate: "53300", text: "it took too long to sign in" });
      this.#connections.delete(connection);
      return;
    }
  }

  /** Why a connection may not sign in, or null: only then would its client show a reason. */
  refusalOf(user) {
    const others = [...this.#connections].filter((other) => other.isSignedIn);
    if (others.length >= CONNECTIONS_MAX) return `more than ${CONNECTIONS_MAX} connections`;
    const analysts = others.filter((other) => other.isAnalyst).length;
    if (user !== "analyst" || analysts < ANALYSTS_MAX) return null;
    return `more than ${ANALYSTS_MAX} connections of analysts`;
  }

  open(engine, session) {
    this.#engine = engine;
    this.#session = session;
    for (const connection of this.#connections) connection.begin();
    setInterval(() => this.#lookAround(), LOOK_EVERY_MS).unref();
  }

  /** Ends every connection and transaction, and the engine. */
  close() {
    const text = "the embedded engine is stopping";
    for (const connection of this.#connections) connection.fail({ sqlstate: "57P01", text });
    this.#session?.lendToOwner();
    this.#engine?.close();
    this.#engine = null;
  }

  enqueue(connection) {
    if (connection.pending.length && !connection.isQueued && this.#holder !== connection) {
      connection.isQueued = true;
      this.#queue.push(connection);
    }
    this.#pump();
  }

  #pump() {
    if (!this.#engine) return;
    for (;;) {
      if (!this.#holder && this.#isCheckpointDue) this.#checkpoint();
      const connection = this.#holder ?? this.#queue.shift();
      if (!connection) return;
      connection.isQueued = false;
      const canRun = connection.pending.length && (!connection.isDraining || connection.isGone);
      if (!canRun && this.#holder) return;
      if (!canRun) continue; // comes back when its socket has drained
      this.#run(connection, connection.takeExchange());
      if (connection.pending.length && this.#holder !== connection) {
        connection.isQueued = true;
        this.#queue.push(connection);
      }
    }
  }

  #run(connection, exchange) {
    if (exchange.end === "goodbye") {
      this.#farewell(connection);
      return;
    }
    clearTimeout(connection.holdTimer);
    if (!connection.isHub && this.#holder !== connection && !this.#lend(connection)) return;

    let { messages } = exchange;
    const parsesAgain = exchange.unnamedParse !== null && this.#unnamedOwner !== connection;
    if (parsesAgain) messages = [exchange.unnamedParse, ...messages];
    const result = this.#exchange(messages, STATEMENT_MS[connection.user]);
    this.#hasWorked = true;
    if (exchange.isSimple) this.#unnamedOwner = null;
    else if (exchange.parsesUnnamed || parsesAgain) this.#unnamedOwner = connection;

    const status = exchange.end === "ready" ? lastStatus(result.chunks) : null;
    connection.write(answer(connection, exchange, result, { parsesAgain, status }));

    connection.setSomething ||= exchange.setsSomething;
    if (exchange.forgetsSettings) {
      connection.settings = new Map(connection.startSettings);
      connection.setSomething = false;
    }
    if (status === "I") this.#letGo(connection, exchange);
    else this.#hold(connection);
  }

  /** Every call of the engine for a client goes through here. */
  #exchange(messages, limitMs) {
    this.#watchdog.begin(limitMs);
    const result = this.#guard(() => this.#engine.exchange(messages));
    this.#watchdog.end();
    return result;
  }

  /** Anything thrown by the engine, but a statement's own failure, is its death. */
  #guard(work) {
    try {
      return work();
    } catch (error) {
      if (error instanceof StatementError) throw error;
      return this.#onTrap(error);
    }
  }

  #lend(connection) {
    try {
      this.#guard(() => {
        if (connection.isAnalyst) this.#session.lendToAnalyst(connection.settings);
        else this.#session.lendToOwner();
      });
      this.#unnamedOwner = null;
      return true;
    } catch (error) {
      // A start-up setting with a value that PostgreSQL does not take.
      connection.fail({ sqlstate: error.sqlstate, text: error.message });
      return false;
    }
  }

  #hold(connection) {
    if (this.#holder !== connection) {
      this.#holder = connection;
      connection.heldSince = performance.now(); // which nobody sets
    }
    if (!connection.isAnalyst) return;
    const left = connection.heldSince + ANALYST_TRANSACTION_MS - performance.now();
    const timeout = Math.max(0, Math.min(ANALYST_IDLE_MS, left));
    connection.holdTimer = setTimeout(() => this.#expire(connection, left), timeout);
  }

  #letGo(connection, exchange) {
    this.#holder = null;
    if (connection.isHub && !exchange.resetsSession) return;
    this.#guard(() => {
      if (connection.setSomething) connection.settings = this.#session.changedSettings();
      this.#takeBack(connection);
      if (exchange.resetsSession) this.#session.restoreDefaults();
    });
    connection.setSomething = false;
    this.#unnamedOwner = null;
  }

  #takeBack(connection) {
    if (connection.isAnalyst) this.#session.takeBackFromAnalyst();
    else if (!connection.isHub) this.#session.takeBackFromOwner();
  }

  #expire(connection, leftMs) {
    const isIdle = leftMs > ANALYST_IDLE_MS;
    this.#rollBack(connection);
    connection.fail({
      sqlstate: isIdle ? "25P03" : "25P04",
      text: isIdle
        ? `terminating connection due to idle-in-transaction timeout (${ANALYST_IDLE_MS / 1000} s)`
        : `terminating connection due to transaction timeout (${ANALYST_TRANSACTION_MS / 1000} s)`,
      hint: "An open transaction stops the hub: use autocommit, or end each transaction at once.",
    });
    this.#pump();
  }

  #rollBack(connection) {
    clearTimeout(connection.holdTimer);
    if (this.#holder !== connection) return;
    this.#holder = null;
    this.#unnamedOwner = null;
    this.#guard(() => {
      this.#engine.exchange([protocol.sync()]); // where a Flush left an extended query open
      this.#engine.query("ROLLBACK");
      this.#takeBack(connection);
    });
  }

  #farewell(connection) {
    if (!this.#connections.delete(connection)) return;
    this.#rollBack(connection);
    if (connection.engineNames.size) {
      const closes = [...connection.engineNames].map(protocol.closeStatement);
      this.#guard(() => this.#engine.exchange([...closes, protocol.sync()]));
    }
    connection.pending = [];
    connection.end();
  }

  #lookAround() {
    const holder = this.#holder;
    const heldMs = holder && this.#queue.length ? performance.now() - holder.heldSince : 0;
    if (heldMs > HELD_TOO_LONG_MS && this.#warnedSince !== holder.heldSince) {
      this.#warnedSince = holder.heldSince;
      this.#log("warning", "held", {
        text: "a transaction of the hub keeps everybody else waiting",
        connection: holder.id,
        seconds: Math.round(heldMs / 1000),
        waiting: this.#queue.length,
      });
    }
    this.#reportDisk();
    this.#isCheckpointDue = this.#hasWorked;
    this.#pump();
  }

  /** To whoever waits for a commit, a slow disk and a slow hub are the same. */
  #reportDisk() {
    const now = performance.now();
    if (!this.#engine || now < this.#nextDiskReportAt) return;
    const { slow, slowestMs } = this.#engine.takeSyncs();
    if (!slow) return;
    this.#nextDiskReportAt = now + DISK_REPORT_EVERY_MS;
    this.#log("warning", "slow_disk", {
      text: "the disk took long to sync, and everybody waited",
      times: slow,
      slowestMilliseconds: Math.round(slowestMs),
    });
  }

  #checkpoint() {
    this.#isCheckpointDue = false;
    this.#hasWorked = false;
    this.#unnamedOwner = null;
    const startedAt = performance.now();
    const walBytes = this.#guard(() => this.#session.asOwner(() => this.#engine.checkpointIfDue()));
    const milliseconds = Math.round(performance.now() - startedAt);
    if (walBytes) this.#log("info", "checkpoint", { walBytes, milliseconds });
  }
}

/** The transaction status in the ReadyForQuery that ends every answer but a flushed one. */
function lastStatus(chunks) {
  const tail = Buffer.concat(chunks.slice(-2));
  if (tail.length < 6 || tail[tail.length - 6] !== protocol.code("Z")) {
    throw new Error("the engine did not say that it is ready");
  }
  return String.fromCharCode(tail[tail.length - 1]);
}

/** What the client is sent: mostly the engine's own bytes. */
function answer(connection, exchange, { chunks, isTooLarge }, { parsesAgain, status }) {
  if (isTooLarge) {
    const text = "the result is larger than the bridge holds (256 MiB)";
    const hint = "Use LIMIT, or a cursor: DECLARE and FETCH.";
    const error = protocol.errorResponse({ sqlstate: "54000", text, hint });
    return status === null ? [error] : [error, protocol.readyForQuery(status)];
  }
  const { refusal, closesAdded, closedNames } = exchange;
  if (!refusal && !parsesAgain && !closesAdded.length && !closedNames.length) return chunks;

  const kept = [];
  let parseSeen = false;
  let closesSeen = 0;
  let hasFailed = false;
  protocol.eachMessage(Buffer.concat(chunks), (type, whole) => {
    if (type === "1" && parsesAgain && !parseSeen) parseSeen = true;
    else if (type === "3" && closesAdded[closesSeen++]) return;
    else if (type === "E") {
      hasFailed = true;
      const isRefused = refusal && protocol.errorFields(whole).M?.includes(REFUSED_MARK);
      kept.push(isRefused ? protocol.errorResponse(refusal) : whole);
    } else kept.push(whole);
  });
  if (!hasFailed) for (const name of closedNames) connection.engineNames.delete(name);
  return kept;
}
