// One client: start-up, password, and its messages gathered into exchanges. An exchange is what the
// engine is handed in one go: everything up to Sync or Flush, or one simple Query.

import crypto from "node:crypto";
import * as protocol from "./protocol.mjs";
import { sessionRole } from "./session.mjs";
import { isAllowedSetting, judgeAnalyst, judgeHub, judgeOwner } from "./statements.mjs";

const STARTUP_BYTES = 10_000; // PostgreSQL's own limit for what comes before the password
const HUB_EXCHANGE_BYTES = 64 * 1024 * 1024;
const EXCHANGE_BYTES = {
  hub: HUB_EXCHANGE_BYTES,
  owner: HUB_EXCHANGE_BYTES,
  analyst: 1024 * 1024,
};
const JUDGES = { hub: judgeHub, owner: judgeOwner, analyst: judgeAnalyst };
const PAUSE_READING_BYTES = 1024 * 1024;
const PAUSE_RUNNING_BYTES = 1024 * 1024;
const AUTHENTICATION_MS = 10_000;

// Stands in for a statement that does nothing but must be answered, failed transaction or not.
const NOTHING = 'UNLISTEN "nothing"';
// Stands in for a refused statement: the engine's own syntax error keeps its state right, and the
// bridge puts the reason in the place of it.
export const REFUSED_MARK = "refused_by_the_bridge";

let lastStatement = 0;

class FatalError extends Error {
  constructor(sqlstate, text, hint) {
    super(text);
    this.response = { severity: "FATAL", sqlstate, text, hint };
  }
}

class Exchange {
  messages = [];
  bytes = 0;
  /** How it ends: "ready" (ReadyForQuery follows), "flush", or "goodbye". */
  end = "ready";
  /** Whether it uses the unnamed statement of an earlier exchange, and that one's Parse. */
  unnamedParse = null;
  parsesUnnamed = false;
  isSimple = false;
  /** Per Close message in order: was it added here, so that its answer is not the client's? */
  closesAdded = [];
  closedNames = [];
  refusal = null;
  setsSomething = false;
  forgetsSettings = false;
  resetsSession = false;

  add(message) {
    this.messages.push(message);
    this.bytes += message.length;
  }
}

export function goodbye() {
  const exchange = new Exchange();
  exchange.end = "goodbye";
  return exchange;
}

export class Connection {
  user = null;
  pending = [];
  isQueued = false;
  isDraining = false;
  isGone = false;
  heldSince = 0;
  holdTimer = null;
  /** The analyst's settings: those of the start-up message, and those in force. */
  startSettings = new Map();
  settings = new Map();
  setSomething = false;
  /** Every name this connection has in the engine, so that none stays behind. */
  engineNames = new Set();

  #socket;
  #bridge;
  #state = "startup";
  #early = [];
  #framer = new protocol.Framer((type, length) => this.#checkLength(type, length));
  #exchange = new Exchange();
  #names = new Map();
  #unnamedParse = null;
  #pendingBytes = 0;
  #secret = crypto.randomInt(2 ** 31);

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

  get isSignedIn() {
    return this.#state === "ready";
  }

  get isAnalyst() {
    return this.user === "analyst";
  }

  /** Starts to listen to the client, who has to sign in soon. */
  begin() {
    this.#socket.setTimeout(AUTHENTICATION_MS, () => this.#socket.destroy());
    this.#socket.resume();
  }

  write(chunks) {
    this.#socket.cork();
    for (const chunk of chunks) this.#socket.write(chunk);
    this.#socket.uncork();
    this.isDraining = this.#socket.writableLength > PAUSE_RUNNING_BYTES;
  }

  /** Says why and closes, once everything before has been sent. */
  fail({ severity = "FATAL", ...error }) {
    if (this.#state === "closed") return;
    this.#state = "closed";
    this.#socket.end(protocol.errorResponse({ severity, ...error }));
    // Whoever does not read what it is sent must not keep its connection.
    this.#socket.setTimeout(AUTHENTICATION_MS, () => this.#socket.destroy());
    this.#leave();
  }

  /** Closes without a word. */
  end() {
    this.#state = "closed";
    this.#socket.end();
  }

  takeExchange() {
    const exchange = this.pending.shift();
    this.#pendingBytes -= exchange.bytes;
    if (this.#socket.isPaused() && this.#pendingBytes < PAUSE_READING_BYTES) this.#socket.resume();
    return exchange;
  }

  #onClose() {
    this.#state = "closed";
    this.#leave();
  }

  /** What was asked before a Terminate still runs; what a dead client asked does not. */
  #leave() {
    if (this.isGone) return;
    this.isGone = true;
    if (this.pending.at(-1)?.end !== "goodbye") this.pending = [goodbye()];
    this.#bridge.enqueue(this);
  }

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

  #checkLength(type, length) {
    if (length < 4) throw new FatalError("08P01", "malformed message: its length is impossible");
    const limit = this.#state === "ready" ? EXCHANGE_BYTES[this.user] : STARTUP_BYTES;
    if (this.#exchange.bytes + length > limit) {
      throw new FatalError("54000", `more than ${limit} bytes in one exchange`);
    }
  }

  // ---- start-up -------------------------------------------------------------------------------

  /** Returns what follows the start-up message, or nothing while that is incomplete. */
  #onStartup(chunk) {
    this.#early.push(chunk);
    let buffer = Buffer.concat(this.#early);
    for (;;) {
      this.#early = [buffer];
      if (buffer.length < 8) return null;
      const length = buffer.readInt32BE(0);
      if (length < 8 || length > STARTUP_BYTES) {
        throw new FatalError("08P01", "this is not PostgreSQL's start-up message");
      }
      if (buffer.length < length) return null;
      const version = buffer.readInt32BE(4);
      const body = buffer.subarray(8, length);
      buffer = buffer.subarray(length);
      if (version === protocol.SSL_REQUEST || version === protocol.GSSENC_REQUEST) {
        this.#socket.write("N"); // loopback only: nothing to encrypt
      } else if (version === protocol.CANCEL_REQUEST) {
        this.end(); // the engine cannot be interrupted, and the protocol has no answer to this
        return null;
      } else {
        this.#early = [];
        this.#onStartupMessage(version, body);
        return buffer;
      }
    }
  }

  #onStartupMessage(version, body) {
    if (version >> 16 !== 3) throw new FatalError("0A000", "only protocol version 3 is spoken");
    const words = body.toString("utf8").split("\0");
    const parameters = new Map();
    for (let i = 0; words[i]; i += 2) parameters.set(words[i], words[i + 1]);
    const unknown = [...parameters.keys()].filter((name) => name.startsWith("_pq_."));
    if ((version & 0xffff) > 0 || unknown.length) {
      this.#socket.write(protocol.negotiateVersion(unknown));
    }
    this.user = parameters.get("user") ?? "";
    this.database = parameters.get("database") ?? this.user;
    this.#readStartSettings(parameters);
    this.#state = "password";
    // In clear: the listener is bound to loopback, where whoever can listen in can read the
    // password file as well, and every client speaks it. SCRAM would add a hundred lines.
    this.#socket.write(protocol.cleartextPasswordRequest());
  }

  /** The hub's own are passed over: it shares its settings, whoever of it set them. */
  #readStartSettings(parameters) {
    const asked = new Map(parameters);
    for (const name of ["user", "database", "options", "replication"]) asked.delete(name);
    const options = (parameters.get("options") ?? "").replaceAll(/\\(.)/g, "$1");
    for (const [, name, value] of options.matchAll(/(?:-c\s*|--)([\w-]+)=(\S*)/g)) {
      asked.set(name.replaceAll("-", "_"), value);
    }
    if (this.user !== "analyst") return;
    for (const [name, value] of asked) {
      if (name.startsWith("_pq_.")) continue;
      if (!isAllowedSetting(name, value)) {
        throw new FatalError("42501", `the analyst may not set "${name}" to "${value}"`);
      }
      this.startSettings.set(name.toLowerCase(), value);
    }
    // Checked above; the session has these already.
    this.startSettings.delete("client_encoding");
    this.startSettings.delete("standard_conforming_strings");
    this.settings = new Map(this.startSettings);
  }

  #onPassword(whole) {
    const { text: password } = protocol.cString(whole, 5);
    if (!this.#bridge.accepts(this.user, Buffer.from(password, "latin1").toString("utf8"))) {
      throw new FatalError(
        "28P01",
        `password authentication failed for user "${this.user}"`,
        "The users are hub, owner and analyst; engine.json and owner.json in the data directory " +
          "have their addresses.",
      );
    }
    if (this.database !== "postgres") {
      const text = `database "${this.database}" does not exist`;
      throw new FatalError("3D000", text, 'Use "postgres".');
    }
    const refusal = this.#bridge.refusalOf(this.user);
    if (refusal) throw new FatalError("53300", refusal);
    this.#state = "ready";
    this.#socket.setTimeout(0);
    const setting = (name, otherwise) => this.settings.get(name.toLowerCase()) ?? otherwise;
    this.write([
      protocol.authenticationOk(),
      protocol.parameterStatus("server_version", this.#bridge.serverVersion),
      protocol.parameterStatus("server_encoding", "UTF8"),
      protocol.parameterStatus("client_encoding", "UTF8"),
      protocol.parameterStatus("DateStyle", setting("DateStyle", "ISO, MDY")),
      protocol.parameterStatus("IntervalStyle", setting("IntervalStyle", "postgres")),
      protocol.parameterStatus("TimeZone", setting("TimeZone", "UTC")),
      protocol.parameterStatus("integer_datetimes", "on"),
      protocol.parameterStatus("standard_conforming_strings", "on"),
      protocol.parameterStatus("is_superuser", this.user === "owner" ? "on" : "off"),
      protocol.parameterStatus("session_authorization", sessionRole(this.user)),
      protocol.parameterStatus("application_name", setting("application_name", "")),
      protocol.backendKeyData(this.id, this.#secret),
      protocol.readyForQuery("I"),
    ]);
  }

  // ---- messages -------------------------------------------------------------------------------

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
      case "F": // the old function-call interface; large objects are all that used it
        exchange.refusal = { sqlstate: "0A000", text: "function calls are not supported" };
        exchange.add(protocol.query(REFUSED_MARK));
        this.#finish("ready");
        break;
      case "X":
        this.#finish("goodbye");
        break;
      case "d":
      case "c":
      case "f":
        break; // the rest of a refused COPY; a server ignores it too
      default:
        throw new FatalError("08P01", `unknown message type "${letter}"`);
    }
  }

  #finish(end) {
    const exchange = this.#exchange;
    this.#exchange = new Exchange();
    exchange.end = end;
    this.pending.push(exchange);
    this.#pendingBytes += exchange.bytes;
    if (this.#pendingBytes > PAUSE_READING_BYTES) this.#socket.pause();
    this.#bridge.enqueue(this);
  }

  #onQuery(whole) {
    const { text } = protocol.cString(whole, 5);
    const replaced = this.#judge(text);
    this.#exchange.isSimple = true;
    this.#unnamedParse = null; // a simple Query drops the unnamed statement
    this.#exchange.add(
      replaced === text ? whole : protocol.message("Q", Buffer.from(`${replaced}\0`, "latin1")),
    );
  }

  #onParse(whole) {
    const name = protocol.cString(whole, 5);
    const { text, next } = protocol.cString(whole, name.next);
    const replaced = this.#judge(text);
    let parse = whole;
    if (replaced !== text || name.text) {
      parse = protocol.message(
        "P",
        this.#nameForParse(name.text),
        Buffer.from(`${replaced}\0`, "latin1"),
        whole.subarray(next),
      );
    }
    if (!name.text) {
      this.#unnamedParse = parse;
      this.#exchange.parsesUnnamed = true;
    }
    this.#exchange.add(parse);
  }

  /** Statement names are the session's, so each gets one that no other connection has. */
  #nameForParse(name) {
    if (!name) return "";
    if (!this.#names.has(name)) {
      lastStatement += 1;
      this.#names.set(name, `s${lastStatement}`);
      this.engineNames.add(`s${lastStatement}`);
    }
    return this.#names.get(name);
  }

  #onBind(whole) {
    const portal = protocol.cString(whole, 5);
    const name = protocol.cString(whole, portal.next);
    if (!name.text) {
      this.#needUnnamed();
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

  #needUnnamed() {
    if (!this.#exchange.parsesUnnamed) this.#exchange.unnamedParse = this.#unnamedParse;
  }

  // A name that was never parsed here must not meet another connection's statement.
  #nameOf = (name) => this.#names.get(name) ?? `unknown ${name}`;

  /**
   * Describe and Close. Portals keep their names: they end with the transaction, which a connection
   * has to itself, and a cursor declared in SQL is described under its SQL name.
   */
  #renamed(whole) {
    const { text: name } = protocol.cString(whole, 6);
    if (whole[5] !== protocol.code("S")) return whole;
    if (!name) {
      this.#needUnnamed();
      return whole;
    }
    const type = String.fromCharCode(whole[0]);
    return protocol.message(type, Buffer.from("S"), this.#nameOf(name));
  }

  #onCloseStatement(whole) {
    const { text: name } = protocol.cString(whole, 6);
    this.#exchange.closesAdded.push(false);
    this.#exchange.add(this.#renamed(whole));
    if (whole[5] === protocol.code("S")) this.#forget(name);
  }

  #forget(name) {
    if (!name) this.#unnamedParse = null;
    if (!this.#names.has(name)) return;
    this.#exchange.closedNames.push(this.#names.get(name));
    this.#names.delete(name);
  }

  // ---- statements -----------------------------------------------------------------------------

  /** The text to run in place of `text`: mostly the same. */
  #judge(text) {
    const exchange = this.#exchange;
    const verdict = JUDGES[this.user](text);
    if (verdict.refusal) {
      exchange.refusal ??= verdict.refusal;
      return REFUSED_MARK;
    }
    exchange.setsSomething ||= Boolean(verdict.setsSomething);
    let replaced = text;
    // From the end, so that the positions before stay right.
    for (const statement of verdict.statements?.toReversed() ?? []) {
      const other = this.#replacement(statement);
      if (!other) continue;
      replaced = replaced.slice(0, statement.start) + other + replaced.slice(statement.end);
    }
    return replaced;
  }

  /** For what would act on everybody's session: the same for this connection alone. */
  #replacement({ tokens, resets }) {
    const [verb, second] = tokens.map((token) => token.text);
    if (verb === "deallocate") return this.#deallocate(tokens);
    if (verb === "discard" && second === "all") {
      this.#closeAll();
      this.#exchange.forgetsSettings = true;
      return NOTHING;
    }
    if (verb === "reset" && second === "all") {
      this.#exchange.forgetsSettings = true;
      this.#exchange.resetsSession = true;
      return this.isAnalyst ? NOTHING : null;
    }
    if (resets) return this.#bridge.defaultSetting(resets);
    return null;
  }

  #deallocate(tokens) {
    const name = tokens.at(-1);
    if (name.kind === "word" && name.text === "all") {
      this.#closeAll();
      return NOTHING;
    }
    const engineName = this.#names.get(name.text);
    // Not one of this connection's. The hub may have made it with SQL's own PREPARE.
    if (!engineName) return this.isAnalyst ? 'DEALLOCATE "unknown"' : null;
    this.#forget(name.text);
    return `DEALLOCATE "${engineName}"`;
  }

  #closeAll() {
    for (const [name, engineName] of this.#names) {
      this.#exchange.closesAdded.push(true);
      this.#exchange.add(protocol.closeStatement(engineName));
      this.#forget(name);
    }
    this.#unnamedParse = null;
  }
}
