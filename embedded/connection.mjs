// One client: start-up, password, and its messages grouped into exchanges. An exchange is what the
// engine gets at once: everything up to Sync or Flush, or one simple Query.

import crypto from "node:crypto";
import * as protocol from "./protocol.mjs";
import { sessionRole } from "./session.mjs";
import { checkAnalyst, checkHub, checkOwner, isAllowedSetting } from "./statements.mjs";

/**
 * @import net from "node:net"
 * @import { Bridge } from "./bridge.mjs"
 * @import { ErrorReport } from "./protocol.mjs"
 * @import { CheckResult, Statement, Token } from "./statements.mjs"
 */

const STARTUP_BYTES = 10_000; // PostgreSQL's own limit for what comes before the password
const HUB_EXCHANGE_BYTES = 64 * 1024 * 1024;
/** @type {Record<string, number>} */
const EXCHANGE_BYTES = {
  hub: HUB_EXCHANGE_BYTES,
  owner: HUB_EXCHANGE_BYTES,
  analyst: 1024 * 1024,
};
/** @type {Record<string, (text: string) => CheckResult>} */
const CHECKS = { hub: checkHub, owner: checkOwner, analyst: checkAnalyst };
const PAUSE_READING_BYTES = 1024 * 1024;
const PAUSE_RUNNING_BYTES = 1024 * 1024;
const AUTHENTICATION_MS = 10_000;
const LOGGED_CHARACTERS = 100;

// Replaces a statement that has nothing to do but needs a response, also in a failed transaction.
const NO_OP = 'UNLISTEN "nothing"';
// Replaces a refused statement: the engine's syntax error keeps its state correct, and the bridge
// replaces that error with the reason.
export const REFUSED_MARKER = "refused_by_the_bridge";

// EXECUTE, EXPLAIN EXECUTE and CREATE TABLE ... AS EXECUTE.
const EXECUTING = new Set(["execute", "explain", "create"]);

let lastStatement = 0;

class FatalError extends Error {
  /** @param {string} sqlstate @param {string} text @param {string} [hint] */
  constructor(sqlstate, text, hint) {
    super(text);
    /** @type {ErrorReport} */
    this.response = { severity: "FATAL", sqlstate, text, hint };
  }
}

/** @typedef {"ready" | "flush" | "terminate"} ExchangeEnd "ready": ReadyForQuery follows */
/**
 * What a text does to its connection when it runs.
 * @typedef {object} Effects
 * @property {boolean} changesSettings
 * @property {boolean} resetsSettings
 */
/**
 * @typedef {object} Prepared
 * @property {string} engineName its unique name in the engine
 * @property {Effects | null} effects of a Parse; a PREPARE has none
 * @property {string} sql the start of its text, as in `Exchange`
 */

export class Exchange {
  /** @type {Buffer[]} */
  messages = [];
  bytes = 0;
  /** @type {ExchangeEnd} */
  end = "ready";
  /**
   * The Parse of the unnamed statement, if this uses the one of an earlier exchange.
   * @type {Buffer | null}
   */
  unnamedParse = null;
  parsesUnnamed = false;
  isSimple = false;
  /**
   * For each Close message in order: whether it was added here, so its response is not for the client.
   * @type {boolean[]}
   */
  closesAdded = [];
  /** @type {string[]} */
  closedNames = [];
  /** @type {ErrorReport | null} */
  refusal = null;
  /** @type {Effects} */
  effects = { changesSettings: false, resetsSettings: false };
  /** The start of the last text that it parses or runs, for the log; in latin1. */
  sql = "";

  /** @param {Buffer} message */
  add(message) {
    this.messages.push(message);
    this.bytes += message.length;
  }
}

export function terminateExchange() {
  const exchange = new Exchange();
  exchange.end = "terminate";
  return exchange;
}

export class Connection {
  user = "";
  database = "";
  #application = "";
  /** @type {Exchange[]} */
  pending = [];
  isQueued = false;
  isDraining = false;
  isClosed = false;
  heldSince = 0;
  /** Whether the last response had no ReadyForQuery, so the session is kept for this connection. */
  awaitsSync = false;
  /** @type {NodeJS.Timeout | undefined} */
  holdTimer = undefined;
  /**
   * The settings in the start-up message; the hub's are ignored.
   * @type {Map<string, string>}
   */
  startSettings = new Map();
  /**
   * The current settings that a new connection of the user does not have.
   * @type {Map<string, string>}
   */
  settings = new Map();
  hasChangedSettings = false;
  hasWorked = false;
  /**
   * All statement names of this connection in the engine, to be closed with it.
   * @type {Set<string>}
   */
  engineNames = new Set();

  #socket;
  #bridge;
  /** @type {"startup" | "password" | "ready" | "closed"} */
  #state = "startup";
  /** @type {Buffer[]} */
  #startup = [];
  #framer = new protocol.Framer((length) => this.#checkLength(length));
  #exchange = new Exchange();
  /** @type {Map<string, Prepared>} */
  #names = new Map();
  /** @type {{parse: Buffer, effects: Effects, sql: string} | null} */
  #unnamed = null;
  #pendingBytes = 0;
  #secret = crypto.randomInt(2 ** 31);

  /** @param {Bridge} bridge @param {net.Socket} socket @param {number} id */
  constructor(bridge, socket, id) {
    this.#bridge = bridge;
    this.#socket = socket;
    this.id = id;
    socket.pause();
    socket.on("data", (chunk) => this.#onData(chunk));
    socket.on("drain", () => {
      this.isDraining = false;
      bridge.enqueue(this);
    });
    socket.on("error", () => {}); // a "close" follows
    socket.on("close", () => this.#onClose());
  }

  get isHub() {
    return this.user === "hub";
  }

  get isAuthenticated() {
    return this.#state === "ready";
  }

  get isAnalyst() {
    return this.user === "analyst";
  }

  /** The name that its client has given itself. */
  get application() {
    return this.settings.get("application_name") ?? this.#application;
  }

  /** @param {Exchange} exchange @returns {object} what the log says of an exchange that failed */
  describe({ sql }) {
    return {
      user: this.user,
      application: this.application,
      statement: Buffer.from(sql, "latin1").toString("utf8"),
    };
  }

  /** Starts to read from the client, which has to authenticate within AUTHENTICATION_MS. */
  begin() {
    this.#socket.setTimeout(AUTHENTICATION_MS, () => this.#socket.destroy());
    this.#socket.resume();
  }

  /** @param {Buffer[]} chunks */
  write(chunks) {
    this.#socket.cork();
    for (const chunk of chunks) this.#socket.write(chunk);
    this.#socket.uncork();
    this.isDraining = this.#socket.writableLength > PAUSE_RUNNING_BYTES;
  }

  /**
   * Sends the error after everything before it, then closes.
   * @param {ErrorReport} error
   */
  fail({ severity = "FATAL", ...error }) {
    if (this.#state === "closed") return;
    this.#state = "closed";
    this.#socket.end(protocol.errorResponse({ severity, ...error }));
    // A client that does not read must not keep its connection.
    this.#socket.setTimeout(AUTHENTICATION_MS, () => this.#socket.destroy());
    this.#disconnect();
  }

  /** Closes without a message. */
  end() {
    this.#state = "closed";
    this.#socket.end();
  }

  /** The next pending exchange; there has to be one. */
  takeExchange() {
    const exchange = /** @type {Exchange} */ (this.pending.shift());
    this.#pendingBytes -= exchange.bytes;
    if (this.#socket.isPaused() && this.#pendingBytes < PAUSE_READING_BYTES) this.#socket.resume();
    return exchange;
  }

  #onClose() {
    this.#state = "closed";
    this.#disconnect();
  }

  /** What a client sent before Terminate still runs; what a lost client sent does not. */
  #disconnect() {
    if (this.isClosed) return;
    this.isClosed = true;
    if (this.pending.at(-1)?.end !== "terminate") this.pending = [terminateExchange()];
    this.#bridge.enqueue(this);
  }

  /** @param {Buffer} chunk */
  #onData(chunk) {
    if (this.#state === "closed") return;
    try {
      const rest = this.#state === "startup" ? this.#onStartup(chunk) : chunk;
      if (rest?.length) this.#framer.push(rest, (type, whole) => this.#onMessage(type, whole));
    } catch (error) {
      if (error instanceof FatalError) this.fail(error.response);
      else if (error instanceof RangeError) {
        this.fail({ sqlstate: "08P01", text: `malformed message: ${error.message}` });
      } else throw error;
    }
  }

  /** @param {number} length */
  #checkLength(length) {
    if (length < 4) throw new FatalError("08P01", "malformed message: invalid length");
    const limit = this.#state === "ready" ? EXCHANGE_BYTES[this.user] : STARTUP_BYTES;
    if (this.#exchange.bytes + length > limit) {
      throw new FatalError("54000", `more than ${limit} bytes in one exchange`);
    }
  }

  // ---- start-up -------------------------------------------------------------------------------

  /**
   * Returns what follows the start-up message, or null while that is incomplete.
   * @param {Buffer} chunk
   */
  #onStartup(chunk) {
    this.#startup.push(chunk);
    let buffer = Buffer.concat(this.#startup);
    for (;;) {
      this.#startup = [buffer];
      if (buffer.length < 8) return null;
      const length = buffer.readInt32BE(0);
      if (length < 8 || length > STARTUP_BYTES) {
        throw new FatalError("08P01", "invalid start-up message");
      }
      if (buffer.length < length) return null;
      const version = buffer.readInt32BE(4);
      const body = buffer.subarray(8, length);
      buffer = buffer.subarray(length);
      if (version === protocol.SSL_REQUEST || version === protocol.GSSENC_REQUEST) {
        this.#socket.write("N"); // loopback only: nothing to encrypt
      } else if (version === protocol.CANCEL_REQUEST) {
        this.end(); // the engine cannot be interrupted, and the protocol has no response to this
        return null;
      } else {
        this.#startup = [];
        this.#onStartupMessage(version, body);
        return buffer;
      }
    }
  }

  /** @param {number} version @param {Buffer} body */
  #onStartupMessage(version, body) {
    if (version >> 16 !== 3) throw new FatalError("0A000", "only protocol version 3 is supported");
    const words = body.toString("utf8").split("\0");
    /** @type {Map<string, string>} */
    const parameters = new Map();
    for (let i = 0; words[i]; i += 2) parameters.set(words[i], words[i + 1] ?? "");
    const unknown = [...parameters.keys()].filter((name) => name.startsWith("_pq_."));
    if ((version & 0xffff) > 0 || unknown.length) {
      this.#socket.write(protocol.negotiateVersion(unknown));
    }
    this.user = parameters.get("user") ?? "";
    this.database = parameters.get("database") ?? this.user;
    this.#application = (parameters.get("application_name") ?? "").slice(0, LOGGED_CHARACTERS);
    this.#readStartSettings(parameters);
    this.#state = "password";
    // In clear text: the listener is bound to loopback, where anyone who can read the traffic can
    // read the password file as well, and every client supports it. SCRAM would add a hundred lines.
    this.#socket.write(protocol.cleartextPasswordRequest());
  }

  /**
   * Not the hub's: a connection with settings costs two more statements for each exchange.
   * @param {Map<string, string>} parameters
   */
  #readStartSettings(parameters) {
    if (this.isHub) return;
    const requested = new Map(parameters);
    for (const name of ["user", "database", "options", "replication"]) requested.delete(name);
    const options = (parameters.get("options") ?? "").replaceAll(/\\(.)/g, "$1");
    for (const [, name, value] of options.matchAll(/(?:-c\s*|--)([\w-]+)=(\S*)/g)) {
      requested.set(name.replaceAll("-", "_"), value);
    }
    for (const [name, value] of requested) {
      if (name.startsWith("_pq_.")) continue;
      if (this.isAnalyst && !isAllowedSetting(name, value)) {
        throw new FatalError("42501", `role "analyst" may not set "${name}" to "${value}"`);
      }
      this.startSettings.set(name.toLowerCase(), value);
    }
    if (this.isAnalyst) {
      // Checked above; the session already has these values.
      this.startSettings.delete("client_encoding");
      this.startSettings.delete("standard_conforming_strings");
    }
    this.settings = new Map(this.startSettings);
  }

  /** @param {Buffer} whole */
  #onPassword(whole) {
    const { text: password } = protocol.cString(whole, 5);
    if (!this.#bridge.isPassword(this.user, Buffer.from(password, "latin1").toString("utf8"))) {
      throw new FatalError(
        "28P01",
        `password authentication failed for user "${this.user}"`,
        "The users are hub, owner and analyst. Their addresses are in engine.json and owner.json in " +
          "the data directory.",
      );
    }
    if (this.database !== "postgres") {
      const text = `database "${this.database}" does not exist`;
      throw new FatalError("3D000", text, 'Use "postgres".');
    }
    const refusal = this.#bridge.connectionError(this.user);
    if (refusal) throw new FatalError(refusal.sqlstate, refusal.text, refusal.hint);
    this.#state = "ready";
    this.#socket.setTimeout(0);
    /** @param {string} name @param {string} preset */
    const setting = (name, preset) => this.settings.get(name.toLowerCase()) ?? preset;
    this.write([
      protocol.authenticationOk(),
      protocol.parameterStatus("server_version", this.#bridge.serverVersion),
      protocol.parameterStatus("server_encoding", "UTF8"),
      protocol.parameterStatus("client_encoding", setting("client_encoding", "UTF8")),
      protocol.parameterStatus("DateStyle", setting("DateStyle", "ISO, MDY")),
      protocol.parameterStatus("IntervalStyle", setting("IntervalStyle", "postgres")),
      protocol.parameterStatus("TimeZone", setting("TimeZone", "UTC")),
      protocol.parameterStatus("integer_datetimes", "on"),
      protocol.parameterStatus(
        "standard_conforming_strings",
        setting("standard_conforming_strings", "on"),
      ),
      protocol.parameterStatus("is_superuser", this.user === "owner" ? "on" : "off"),
      protocol.parameterStatus("session_authorization", sessionRole(this.user)),
      protocol.parameterStatus("application_name", setting("application_name", "")),
      protocol.backendKeyData(this.id, this.#secret),
      protocol.readyForQuery("I"),
    ]);
  }

  // ---- messages -------------------------------------------------------------------------------

  /** @param {number} type @param {Buffer} whole */
  #onMessage(type, whole) {
    if (this.#state === "closed") return;
    const letter = String.fromCharCode(type);
    if (this.#state === "password") {
      if (letter !== "p") throw new FatalError("08P01", "a password message was expected");
      this.#onPassword(whole);
      return;
    }
    const exchange = this.#exchange;
    switch (letter) {
      case "Q":
        this.#onQuery(whole);
        this.#finish("ready");
        break;
      case "P":
        this.#onParse(whole);
        break;
      case "B":
        this.#onBind(whole);
        break;
      case "D":
        exchange.add(this.#renamed(whole));
        break;
      case "C":
        this.#onCloseStatement(whole);
        break;
      case "E":
        exchange.add(whole);
        break;
      case "S":
        exchange.add(whole);
        this.#finish("ready");
        break;
      case "H":
        exchange.add(whole);
        this.#finish("flush");
        break;
      case "F": // the old function-call interface, used by large objects only
        exchange.refusal = { sqlstate: "0A000", text: "function calls are not supported" };
        exchange.isSimple = true;
        exchange.add(protocol.query(REFUSED_MARKER));
        this.#finish("ready");
        break;
      case "X":
        this.#finish("terminate");
        break;
      case "d":
      case "c":
      case "f":
        break; // the rest of a refused COPY; a server ignores it too
      default:
        throw new FatalError("08P01", `unknown message type "${letter}"`);
    }
  }

  /** @param {ExchangeEnd} end */
  #finish(end) {
    const exchange = this.#exchange;
    this.#exchange = new Exchange();
    exchange.end = end;
    this.pending.push(exchange);
    this.#pendingBytes += exchange.bytes;
    if (this.#pendingBytes > PAUSE_READING_BYTES) this.#socket.pause();
    this.#bridge.enqueue(this);
  }

  /** @param {Buffer} whole */
  #onQuery(whole) {
    const { text } = protocol.cString(whole, 5);
    const { replaced, effects } = this.#check(text);
    this.#runs(effects, text);
    this.#exchange.isSimple = true;
    this.#unnamed = null; // a simple Query drops the unnamed statement
    this.#exchange.add(
      replaced === text ? whole : protocol.message("Q", Buffer.from(`${replaced}\0`, "latin1")),
    );
  }

  /** @param {Effects} effects of what the current exchange runs @param {string} sql */
  #runs({ changesSettings, resetsSettings }, sql) {
    this.#exchange.sql = sql.slice(0, LOGGED_CHARACTERS);
    this.#exchange.effects.changesSettings ||= changesSettings;
    this.#exchange.effects.resetsSettings ||= resetsSettings;
  }

  /** @param {Buffer} whole */
  #onParse(whole) {
    const name = protocol.cString(whole, 5);
    const { text, next } = protocol.cString(whole, name.next);
    const { replaced, effects } = this.#check(text);
    let parse = whole;
    if (replaced !== text || name.text) {
      parse = protocol.message(
        "P",
        name.text && this.#prepare(name.text, effects, text),
        Buffer.from(`${replaced}\0`, "latin1"),
        whole.subarray(next),
      );
    }
    if (!name.text) {
      this.#unnamed = { parse, effects, sql: text.slice(0, LOGGED_CHARACTERS) };
      this.#exchange.parsesUnnamed = true;
    }
    this.#exchange.sql = text.slice(0, LOGGED_CHARACTERS);
    this.#exchange.add(parse);
  }

  /**
   * All connections share the session's statement names, so each statement gets a unique one.
   * @param {string} name
   * @param {Effects | null} effects
   * @param {string} sql
   */
  #prepare(name, effects, sql) {
    let engineName = this.#names.get(name)?.engineName;
    if (!engineName) {
      lastStatement += 1;
      engineName = `s${lastStatement}`;
      this.engineNames.add(engineName);
    }
    this.#names.set(name, { engineName, effects, sql: sql.slice(0, LOGGED_CHARACTERS) });
    return engineName;
  }

  /** @param {Buffer} whole */
  #onBind(whole) {
    const portal = protocol.cString(whole, 5);
    const name = protocol.cString(whole, portal.next);
    const bound = name.text ? this.#names.get(name.text) : this.#unnamed;
    if (bound?.effects) this.#runs(bound.effects, bound.sql);
    if (!name.text) {
      this.#useUnnamed();
      this.#exchange.add(whole);
      return;
    }
    this.#exchange.add(
      protocol.message(
        "B",
        whole.subarray(5, portal.next),
        this.#nameOf(name.text),
        whole.subarray(name.next),
      ),
    );
  }

  #useUnnamed() {
    if (!this.#exchange.parsesUnnamed) this.#exchange.unnamedParse = this.#unnamed?.parse ?? null;
  }

  /**
   * A name that this connection has not parsed must not match another connection's statement.
   * @param {string} name
   */
  #nameOf = (name) => this.#names.get(name)?.engineName ?? `unknown ${name}`;

  /**
   * Describe and Close. Portals keep their names: they end with the transaction, which belongs to
   * one connection, and a cursor declared in SQL is described under its SQL name.
   * @param {Buffer} whole
   */
  #renamed(whole) {
    const { text: name } = protocol.cString(whole, 6);
    if (whole[5] !== protocol.code("S")) return whole;
    if (!name) {
      this.#useUnnamed();
      return whole;
    }
    const type = String.fromCharCode(whole[0]);
    return protocol.message(type, Buffer.from("S"), this.#nameOf(name));
  }

  /** @param {Buffer} whole */
  #onCloseStatement(whole) {
    const { text: name } = protocol.cString(whole, 6);
    this.#exchange.closesAdded.push(false);
    this.#exchange.add(this.#renamed(whole));
    if (whole[5] === protocol.code("S")) this.#forget(name);
  }

  /** @param {string} name */
  #forget(name) {
    if (!name) this.#unnamed = null;
    const engineName = this.#names.get(name)?.engineName;
    if (!engineName) return;
    this.#exchange.closedNames.push(engineName);
    this.#names.delete(name);
  }

  // ---- statements -----------------------------------------------------------------------------

  /**
   * The text to run instead of `text`, usually the same, and what it does to the connection.
   * @param {string} text
   * @returns {{replaced: string, effects: Effects}}
   */
  #check(text) {
    const effects = { changesSettings: false, resetsSettings: false };
    const { refusal, changesSettings, statements = [] } = CHECKS[this.user](text);
    if (refusal) {
      this.#exchange.refusal ??= refusal;
      return { replaced: REFUSED_MARKER, effects };
    }
    effects.changesSettings = Boolean(changesSettings);
    const edits = statements.flatMap((statement) => this.#edit(text, statement, effects) ?? []);
    let replaced = text;
    // From the end, so that earlier positions stay valid.
    for (const { start, end, by } of edits.toReversed()) {
      replaced = replaced.slice(0, start) + by + replaced.slice(end);
    }
    return { replaced, effects };
  }

  /**
   * For a statement that would affect all connections: the change that makes it affect this one only.
   * @param {string} text that has the statement
   * @param {Statement} statement
   * @param {Effects} effects to which its own are added
   * @returns {{start: number, end: number, by: string} | null}
   */
  #edit(text, { start, end, tokens, resets, jit }, effects) {
    const [verb, second] = tokens.map(({ text }) => text);
    const replaceBy = (/** @type {string | null} */ by) =>
      by === null ? null : { start, end, by };
    if (verb === "deallocate") return replaceBy(this.#deallocate(tokens));
    if (verb === "discard" && second === "all") this.#closeAll();
    if ((verb === "discard" || verb === "reset") && second === "all") {
      effects.resetsSettings = true;
      return replaceBy(NO_OP);
    }
    if (jit) return { ...jit, by: `CAST(${text.slice(jit.value[0], jit.value[1])} AS text)` };
    if (resets) return replaceBy(this.#bridge.resetStatement(this.user, resets));
    if (verb === "prepare" && second !== "transaction") {
      return tokens[1] ? rename(tokens[1], this.#prepare(tokens[1].text, null, text)) : null;
    }
    if (!EXECUTING.has(verb)) return null;
    const executed = tokens[tokens.findIndex(({ text }) => text === "execute") + 1];
    const prepared = this.#names.get(executed?.text ?? "");
    return prepared ? rename(executed, prepared.engineName) : null;
  }

  /** @param {Token[]} tokens */
  #deallocate(tokens) {
    const [{ kind, text: name }] = tokens.slice(-1);
    if (kind === "word" && name === "all") {
      this.#closeAll();
      return NO_OP;
    }
    const engineName = this.#names.get(name)?.engineName;
    if (!engineName) return 'DEALLOCATE "unknown"';
    this.#forget(name);
    return `DEALLOCATE "${engineName}"`;
  }

  #closeAll() {
    for (const [name, { engineName }] of this.#names) {
      this.#exchange.closesAdded.push(true);
      this.#exchange.add(protocol.closeStatement(engineName));
      this.#forget(name);
    }
    this.#unnamed = null;
  }
}

/** @param {Token} token @param {string} engineName */
function rename({ start, end }, engineName) {
  return { start, end, by: `"${engineName}"` };
}
