// Shares the engine's one session between connections. Connections take turns, one exchange at a
// time; a connection with an open transaction keeps the session until the transaction ends.

import crypto from "node:crypto";
import { Connection, REFUSED_MARKER } from "./connection.mjs";
import { StatementError } from "./engine.mjs";
import * as protocol from "./protocol.mjs";

/**
 * @import net from "node:net"
 * @import { Exchange } from "./connection.mjs"
 * @import { Engine } from "./engine.mjs"
 * @import { ErrorReport } from "./protocol.mjs"
 * @import { Session } from "./session.mjs"
 * @import { Watchdog } from "./watchdog.mjs"
 */

const CONNECTIONS_MAX = 250;
// Leaves room for the hub when analysts' tools leave connections open.
const ANALYSTS_MAX = 200;
// An analyst's open transaction blocks the hub. Long enough for a client that sends BEGIN, query and
// COMMIT one after the other, short enough not to delay an update's acknowledgement for long.
const ANALYST_IDLE_MS = 2_000;
const ANALYST_TRANSACTION_MS = 10_000;
// A statement cannot be cancelled. After these limits the watchdog ends the process, and the
// supervisor starts a new one within a second, which is better than a hub that is blocked.
/** @type {Record<string, number>} */
const STATEMENT_MS = { analyst: 15_000, hub: 600_000, owner: 600_000 };
const HELD_WARNING_MS = 10_000;
// A bulk load writes 25 MB of WAL a second, and a checkpoint of 64 MB takes about 0.3 s.
const CHECK_INTERVAL_MS = 2_000;
const DISK_REPORT_INTERVAL_MS = 60_000;
// A restart takes about two seconds, in which updates wait. The supervisor's check and one dashboard
// make fewer exchanges than this within CHECK_INTERVAL_MS.
const QUIET_EXCHANGES = 20;
const QUIET_WAIT_MS = 3_600_000;
const MIB = 1024 * 1024;

// `python -m app backup` names its connection so. What it began ends with the connection, as in a
// server: a backup, and a slot that keeps the WAL.
const BACKUP_APPLICATION = "hub_backup";
const END_BACKUP = `
  DO $$
  BEGIN
    PERFORM pg_backup_stop(false);
  EXCEPTION WHEN object_not_in_prerequisite_state THEN
    NULL; -- it has ended
  END $$;
  SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots;`;

/** @param {string} text */
const digest = (text) => crypto.createHash("sha256").update(text).digest();

export class Bridge {
  #passwords;
  #watchdog;
  #log;
  #onFailure;
  #onTooLarge;
  #memoryBytes;
  #analystsMayConnectAt;
  /** @type {Engine | null} */
  #engine = null;
  /** @type {Session | null} */
  #session = null;
  /** @type {Set<Connection>} */
  #connections = new Set();
  /** @type {Connection[]} */
  #queue = [];
  /**
   * The connection with an open transaction.
   * @type {Connection | null}
   */
  #holder = null;
  /**
   * The connection whose unnamed statement the engine has.
   * @type {Connection | null}
   */
  #unnamedOwner = null;
  /** Whether the session may have a user or settings other than the hub's own. */
  #hasEntered = false;
  #isCheckpointDue = false;
  #hasWorked = false;
  /** Start of the last transaction warned about, so that each is reported once. */
  #warnedTransaction = 0;
  #lastId = 0;
  #recentExchanges = 0;
  /** @type {number | undefined} */
  #tooLargeSince = undefined;
  #nextDiskReportAt = 0;

  /**
   * @param {object} options
   * @param {Record<string, string>} options.passwords by user name
   * @param {Watchdog} options.watchdog
   * @param {(level: string, event: string, fields?: object) => void} options.log
   * @param {(error: unknown, subject?: object) => never} options.onFailure ends the process: the engine
   *   has failed, while it ran what `subject` describes
   * @param {(reason: string) => void} options.onTooLarge ends the process: the engine needs too much
   *   memory, and nothing is lost
   * @param {number} options.memoryBytes that the engine may keep
   * @param {number} options.refuseAnalystsMs
   */
  constructor({ passwords, watchdog, log, onFailure, onTooLarge, memoryBytes, refuseAnalystsMs }) {
    this.#passwords = new Map(
      Object.entries(passwords).map(([user, text]) => /** @type {const} */ ([user, digest(text)])),
    );
    this.#watchdog = watchdog;
    this.#log = log;
    this.#onFailure = onFailure;
    this.#onTooLarge = onTooLarge;
    this.#memoryBytes = memoryBytes;
    this.#analystsMayConnectAt = performance.now() + refuseAnalystsMs;
  }

  get #openEngine() {
    if (!this.#engine) throw new Error("the engine is not open");
    return this.#engine;
  }

  get #openSession() {
    if (!this.#session) throw new Error("the session is not open");
    return this.#session;
  }

  get serverVersion() {
    return this.#openSession.serverVersion;
  }

  /** @param {string} user @param {string} password */
  isPassword(user, password) {
    const expected = this.#passwords.get(user);
    return expected !== undefined && crypto.timingSafeEqual(expected, digest(password));
  }

  /**
   * What to run instead of RESET, which would restore what the engine starts with; null if that is
   * right.
   * @param {string} user
   * @param {string} name
   */
  resetStatement(user, name) {
    const value = this.#openSession.defaultOf(user, name);
    return value === undefined ? null : `SET ${name} TO '${value}'`;
  }

  /**
   * A client that connects before `open` waits, so it is not refused after a restart.
   * @param {net.Socket} socket
   */
  accept(socket) {
    if (this.#connections.size >= CONNECTIONS_MAX) this.#evictUnauthenticated();
    this.#lastId += 1;
    const connection = new Connection(this, socket, this.#lastId);
    this.#connections.add(connection);
    if (this.#engine) connection.begin();
  }

  /** Closes the oldest connection that has not authenticated. */
  #evictUnauthenticated() {
    for (const connection of this.#connections) {
      if (connection.isAuthenticated || connection.isClosed) continue;
      connection.fail({ sqlstate: "53300", text: "authentication took too long" });
      this.#connections.delete(connection);
      return;
    }
  }

  /**
   * Why `user` may not connect now, or null. Checked after the password, because clients show no
   * error that comes earlier.
   * @param {string} user
   * @returns {ErrorReport | null}
   */
  connectionError(user) {
    const others = [...this.#connections].filter((other) => other.isAuthenticated);
    if (others.length >= CONNECTIONS_MAX) return tooMany(`${CONNECTIONS_MAX} connections`);
    if (user !== "analyst") return null;
    const refusedMs = this.#analystsMayConnectAt - performance.now();
    if (refusedMs > 0) {
      return {
        sqlstate: "57P03",
        text: `role "analyst" may not connect for another ${Math.ceil(refusedMs / 1000)} s`,
        hint: "Its statements have ended the database repeatedly: see the hub's log.",
      };
    }
    const analysts = others.filter((other) => other.isAnalyst).length;
    return analysts < ANALYSTS_MAX
      ? null
      : tooMany(`${ANALYSTS_MAX} connections for role "analyst"`);
  }

  /** @param {Engine} engine @param {Session} session */
  open(engine, session) {
    this.#engine = engine;
    this.#session = session;
    for (const connection of this.#connections) connection.begin();
    setInterval(() => this.#runMaintenance(), CHECK_INTERVAL_MS).unref();
  }

  /** Ends every connection and transaction, and the engine. */
  close() {
    const text = "the embedded database is shutting down";
    for (const connection of this.#connections) connection.fail({ sqlstate: "57P01", text });
    this.#session?.enter("owner", new Map());
    this.#engine?.close();
    this.#engine = null;
  }

  /** @param {Connection} connection */
  enqueue(connection) {
    if (this.#holder !== connection) this.#addToQueue(connection);
    this.#pump();
  }

  /** @param {Connection} connection */
  #addToQueue(connection) {
    if (!connection.pending.length || connection.isQueued) return;
    connection.isQueued = true;
    this.#queue.push(connection);
  }

  #pump() {
    if (!this.#engine) return;
    for (;;) {
      if (!this.#holder && this.#isCheckpointDue) this.#checkpoint();
      const connection = this.#holder ?? this.#queue.shift();
      if (!connection) return;
      connection.isQueued = false;
      if (canRun(connection)) {
        this.#run(connection, connection.takeExchange());
        if (this.#holder !== connection) this.#addToQueue(connection);
      } else if (this.#holder) return;
      // A connection whose socket is full is queued again when the socket has drained.
    }
  }

  /** @param {Connection} connection @param {Exchange} exchange */
  #run(connection, exchange) {
    if (exchange.end === "terminate") {
      this.#disconnect(connection);
      return;
    }
    clearTimeout(connection.holdTimer);
    if (this.#holder !== connection && !this.#enter(connection)) return;

    let { messages } = exchange;
    const parsesAgain = exchange.unnamedParse !== null && this.#unnamedOwner !== connection;
    if (exchange.unnamedParse && parsesAgain) messages = [exchange.unnamedParse, ...messages];
    const result = this.#exchange(
      messages,
      STATEMENT_MS[connection.user],
      connection.describe(exchange),
    );
    this.#hasWorked = true;
    this.#recentExchanges += 1;
    connection.hasWorked = true;
    if (exchange.isSimple) this.#unnamedOwner = null;
    else if (exchange.parsesUnnamed || parsesAgain) this.#unnamedOwner = connection;

    const status = this.#statusAfter(connection, exchange, result.chunks);
    connection.awaitsSync = status === null;
    connection.write(clientResponse(connection, exchange, result, { parsesAgain, status }));

    this.#noteEffects(connection, exchange);
    if (status === "I") this.#release(connection);
    else this.#hold(connection);
  }

  /**
   * The transaction's status; null if the client has to send Sync before the engine says it.
   * @param {Connection} connection
   * @param {Exchange} exchange
   * @param {Buffer[]} chunks of the response
   */
  #statusAfter(connection, exchange, chunks) {
    const status = exchange.end === "ready" ? transactionStatus(chunks) : null;
    // After an error the engine ignores everything up to the next Sync, a Query too.
    const mayBeIgnored =
      exchange.isSimple && (exchange.messages.length > 1 || connection.awaitsSync);
    if (status === null && exchange.end === "ready" && !mayBeIgnored) {
      this.#onFailure(new Error("the engine's response does not end with ReadyForQuery"));
    }
    return status;
  }

  /** @param {Connection} connection @param {Exchange} exchange that has run */
  #noteEffects(connection, { effects }) {
    connection.hasChangedSettings ||= effects.changesSettings;
    this.#hasEntered ||= effects.changesSettings || effects.resetsSettings;
    if (!effects.resetsSettings) return;
    connection.settings = new Map(connection.startSettings);
    connection.hasChangedSettings = false;
  }

  /**
   * Every call of the engine for a client goes through here.
   * @param {Buffer[]} messages
   * @param {number} limitMs
   * @param {object} subject for the log
   */
  #exchange(messages, limitMs, subject) {
    this.#watchdog.begin(limitMs, subject);
    const result = this.#guard(() => this.#openEngine.exchange(messages), subject);
    this.#watchdog.end();
    return result;
  }

  /**
   * Any exception from the engine, except a statement's own error, means that the engine has failed.
   * @template T
   * @param {() => T} work
   * @param {object} [subject] for the log
   */
  #guard(work, subject) {
    try {
      return work();
    } catch (error) {
      if (error instanceof StatementError) throw error;
      return this.#onFailure(error, subject);
    }
  }

  /**
   * Gives the session the role and settings of `connection`; false if that failed.
   * @param {Connection} connection
   */
  #enter(connection) {
    if (connection.isHub && !connection.settings.size) return true; // the session is as it needs it
    try {
      this.#guard(() => this.#openSession.enter(connection.user, connection.settings));
      this.#hasEntered = true;
      this.#unnamedOwner = null;
      return true;
    } catch (error) {
      if (!(error instanceof StatementError)) throw error;
      // A start-up setting with a value that PostgreSQL rejects.
      connection.fail({ sqlstate: error.sqlstate, text: error.message });
      return false;
    }
  }

  /** @param {Connection} connection */
  #hold(connection) {
    if (this.#holder !== connection) {
      this.#holder = connection;
      connection.heldSince = performance.now(); // monotonic
    }
    if (!connection.isAnalyst) return;
    const left = connection.heldSince + ANALYST_TRANSACTION_MS - performance.now();
    const timeout = Math.max(0, Math.min(ANALYST_IDLE_MS, left));
    connection.holdTimer = setTimeout(() => this.#endTransaction(connection, left), timeout);
  }

  /** @param {Connection} connection */
  #release(connection) {
    this.#holder = null;
    if (connection.hasChangedSettings) {
      const session = this.#openSession;
      connection.settings = this.#guard(() => session.changedSettings(connection.user));
      connection.hasChangedSettings = false;
    }
    this.#leave();
  }

  #leave() {
    if (!this.#hasEntered) return;
    this.#guard(() => this.#openSession.leave());
    this.#hasEntered = false;
    this.#unnamedOwner = null;
  }

  /**
   * Ends an analyst's transaction that reached its time limit.
   * @param {Connection} connection
   * @param {number} leftMs
   */
  #endTransaction(connection, leftMs) {
    const isIdle = leftMs > ANALYST_IDLE_MS;
    this.#rollBack(connection);
    connection.fail({
      sqlstate: isIdle ? "25P03" : "25P04",
      text: isIdle
        ? `terminating connection due to idle-in-transaction timeout (${ANALYST_IDLE_MS / 1000} s)`
        : `terminating connection due to transaction timeout (${ANALYST_TRANSACTION_MS / 1000} s)`,
      hint: "An open transaction blocks the hub. Use autocommit, or end each transaction at once.",
    });
    this.#pump();
  }

  /** @param {Connection} connection */
  #rollBack(connection) {
    clearTimeout(connection.holdTimer);
    if (this.#holder !== connection) return;
    this.#holder = null;
    this.#unnamedOwner = null;
    this.#guard(() => {
      this.#openEngine.exchange([protocol.sync()]); // where a Flush left an extended query open
      this.#openEngine.query("ROLLBACK");
    });
    this.#leave();
  }

  /** @param {Connection} connection */
  #disconnect(connection) {
    if (!this.#connections.delete(connection)) return;
    this.#rollBack(connection);
    if (connection.engineNames.size) {
      const closes = [...connection.engineNames].map(protocol.closeStatement);
      this.#guard(() => this.#openEngine.exchange([...closes, protocol.sync()]));
    }
    // The other users can make nothing that outlives a transaction.
    if (connection.user === "owner" && connection.hasWorked) {
      const end = connection.application === BACKUP_APPLICATION ? END_BACKUP : "";
      this.#guard(() =>
        this.#openSession.asOwner(() => this.#openEngine.query(`${end}UNLISTEN *; DISCARD TEMP`)),
      );
      this.#unnamedOwner = null;
    }
    connection.pending = [];
    connection.end();
  }

  #runMaintenance() {
    this.#warnOfLongTransaction();
    this.#reportDisk();
    this.#restartIfTooLarge();
    this.#isCheckpointDue = this.#hasWorked;
    this.#pump();
  }

  #warnOfLongTransaction() {
    const holder = this.#holder;
    if (!holder || !this.#queue.length || this.#warnedTransaction === holder.heldSince) return;
    const heldMs = performance.now() - holder.heldSince;
    if (heldMs <= HELD_WARNING_MS) return;
    this.#warnedTransaction = holder.heldSince;
    this.#log("warning", "held", {
      text: "a long transaction blocks all other connections",
      connection: holder.id,
      seconds: Math.round(heldMs / 1000),
      waiting: this.#queue.length,
    });
  }

  /** Waits for a moment at which few notice, but not for ever. */
  #restartIfTooLarge() {
    const exchanges = this.#recentExchanges;
    this.#recentExchanges = 0;
    const bytes = this.#engine?.memoryBytes ?? 0;
    if (bytes <= this.#memoryBytes) return;
    this.#tooLargeSince ??= performance.now();
    const isQuiet =
      exchanges <= QUIET_EXCHANGES || performance.now() - this.#tooLargeSince > QUIET_WAIT_MS;
    if (this.#holder || this.#queue.length || !isQuiet) return;
    this.#onTooLarge(
      `the database has ${Math.round(bytes / MIB)} MiB of memory, which only a restart gives back`,
    );
  }

  /** A slow disk delays every commit, which otherwise looks like a slow hub. */
  #reportDisk() {
    const now = performance.now();
    if (!this.#engine || now < this.#nextDiskReportAt) return;
    const { slow, slowestMs } = this.#engine.takeSyncs();
    if (!slow) return;
    this.#nextDiskReportAt = now + DISK_REPORT_INTERVAL_MS;
    this.#log("warning", "slow_disk", {
      text: "the disk was slow to sync, which delayed all connections",
      times: slow,
      slowestMilliseconds: Math.round(slowestMs),
    });
  }

  #checkpoint() {
    this.#isCheckpointDue = false;
    this.#hasWorked = false;
    this.#unnamedOwner = null;
    const startedAt = performance.now();
    const walBytes = this.#guard(() =>
      this.#openSession.asOwner(() => this.#openEngine.checkpointIfDue()),
    );
    const milliseconds = Math.round(performance.now() - startedAt);
    if (walBytes) this.#log("info", "checkpoint", { walBytes, milliseconds });
  }
}

/** @param {string} limit @returns {ErrorReport} */
const tooMany = (limit) => ({ sqlstate: "53300", text: `more than ${limit}` });

/** @param {Connection} connection */
function canRun(connection) {
  return connection.pending.length > 0 && (!connection.isDraining || connection.isClosed);
}

/**
 * The transaction status in the ReadyForQuery that ends a response; null if none does.
 * @param {Buffer[]} chunks
 */
function transactionStatus(chunks) {
  const end = Buffer.concat(chunks.slice(-2)).subarray(-6); // of a ReadyForQuery's length
  const isReady = end.length === 6 && end[0] === protocol.code("Z") && end.readInt32BE(1) === 5;
  return isReady ? String.fromCharCode(end[5]) : null;
}

/**
 * What the client is sent: usually the engine's own bytes.
 * @param {Connection} connection
 * @param {Exchange} exchange
 * @param {{chunks: Buffer[], isTooLarge: boolean}} result
 * @param {{parsesAgain: boolean, status: string | null}} context
 */
function clientResponse(connection, exchange, { chunks, isTooLarge }, { parsesAgain, status }) {
  if (isTooLarge) {
    const text = "the result exceeds the limit of 256 MiB";
    const hint = "Use LIMIT, or a cursor: DECLARE and FETCH.";
    const error = protocol.errorResponse({ sqlstate: "54000", text, hint });
    return status === null ? [error] : [error, protocol.readyForQuery(status)];
  }
  const { refusal, closesAdded, closedNames } = exchange;
  if (!refusal && !parsesAgain && !closesAdded.length && !closedNames.length) return chunks;

  /** @type {Buffer[]} */
  const kept = [];
  let parseSeen = false;
  let closesSeen = 0;
  let hasFailed = false;
  protocol.eachMessage(Buffer.concat(chunks), (type, whole) => {
    if (type === "1" && parsesAgain && !parseSeen) parseSeen = true;
    else if (type === "3" && closesAdded[closesSeen++]) return;
    else if (type === "E") {
      hasFailed = true;
      const isRefused = refusal && protocol.errorFields(whole).M?.includes(REFUSED_MARKER);
      kept.push(isRefused ? protocol.errorResponse(refusal) : whole);
    } else kept.push(whole);
  });
  if (!hasFailed) for (const name of closedNames) connection.engineNames.delete(name);
  return kept;
}
