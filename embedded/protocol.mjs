// PostgreSQL's wire protocol, version 3: reads messages of clients and builds messages of the server.
// Independent of the engine. https://www.postgresql.org/docs/17/protocol-message-formats.html

/** @typedef {{severity?: string, sqlstate: string, text: string, hint?: string}} ErrorReport */

export const SSL_REQUEST = 80877103;
export const GSSENC_REQUEST = 80877104;
export const CANCEL_REQUEST = 80877102;

/** @param {string} letter */
export const code = (letter) => letter.charCodeAt(0);

/**
 * One message: type, length, body; strings in `parts` get a terminating zero.
 * @param {string} type
 * @param {...(string | Uint8Array)} parts
 */
export function message(type, ...parts) {
  const body = Buffer.concat(
    parts.map((part) => (typeof part === "string" ? Buffer.from(`${part}\0`) : part)),
  );
  const head = Buffer.allocUnsafe(5);
  head[0] = code(type);
  head.writeInt32BE(body.length + 4, 1);
  return Buffer.concat([head, body]);
}

/** @param {number} value */
export function int32(value) {
  const buffer = Buffer.allocUnsafe(4);
  buffer.writeInt32BE(value);
  return buffer;
}

/** @param {string} sql */
export const query = (sql) => message("Q", sql);
export const sync = () => message("S");
/** @param {string} name */
export const closeStatement = (name) => message("C", Buffer.from("S"), name);
export const authenticationOk = () => message("R", int32(0));
export const cleartextPasswordRequest = () => message("R", int32(3));
/** @param {string} name @param {string} value */
export const parameterStatus = (name, value) => message("S", name, value);
/** @param {number} id @param {number} secret */
export const backendKeyData = (id, secret) => message("K", int32(id), int32(secret));
/** @param {string} status of the transaction: I, T or E */
export const readyForQuery = (status) => message("Z", Buffer.from(status));
/**
 * Tells a client of a later minor version to use 3.0.
 * @param {string[]} options that are not supported
 */
export const negotiateVersion = (options) =>
  message("v", int32(0), int32(options.length), ...options);

/** @param {ErrorReport} report */
export function errorResponse({ severity = "ERROR", sqlstate, text, hint }) {
  const fields = [`S${severity}`, `V${severity}`, `C${sqlstate}`, `M${text}`];
  if (hint) fields.push(`H${hint}`);
  return message("E", ...fields, Buffer.from([0]));
}

/**
 * The zero-terminated string at `offset`, as bytes in latin1: no byte is lost or joined.
 * @param {Buffer} buffer
 * @param {number} offset
 */
export function cString(buffer, offset) {
  const end = buffer.indexOf(0, offset);
  if (end < 0) throw new RangeError("a string has no terminating zero");
  return { text: buffer.toString("latin1", offset, end), next: end + 1 };
}

/**
 * Calls `visit` for each of the complete server messages in `buffer`.
 * @param {Buffer} buffer
 * @param {(type: string, whole: Buffer) => void} visit
 */
export function eachMessage(buffer, visit) {
  for (let at = 0; at + 5 <= buffer.length; ) {
    const end = at + 1 + buffer.readInt32BE(at + 1);
    visit(String.fromCharCode(buffer[at]), buffer.subarray(at, end));
    at = end;
  }
}

/**
 * The fields of an ErrorResponse by their letter.
 * @param {Buffer} whole
 */
export function errorFields(whole) {
  /** @type {Record<string, string>} */
  const fields = {};
  for (const field of whole.toString("utf8", 5).split("\0")) {
    if (field) fields[field[0]] = field.slice(1);
  }
  return fields;
}

/**
 * The text columns of a DataRow; NULL is null.
 * @param {Buffer} whole
 */
export function dataRow(whole) {
  /** @type {(string | null)[]} */
  const columns = [];
  let at = 7;
  for (let left = whole.readInt16BE(5); left > 0; left--) {
    const length = whole.readInt32BE(at);
    at += 4;
    columns.push(length < 0 ? null : whole.toString("utf8", at, at + length));
    at += Math.max(length, 0);
  }
  return columns;
}

/**
 * Splits a byte stream into messages. Copies only a message that spans several chunks.
 */
export class Framer {
  /** @type {Buffer[]} */
  #chunks = [];
  #size = 0;
  #needed = 5;
  #checkLength;

  /** @param {(length: number) => void} checkLength may throw */
  constructor(checkLength) {
    this.#checkLength = checkLength;
  }

  /** @param {Buffer} chunk @param {(type: number, whole: Buffer) => void} onMessage */
  push(chunk, onMessage) {
    this.#chunks.push(chunk);
    this.#size += chunk.length;
    if (this.#size < this.#needed) return;
    const buffer = this.#chunks.length === 1 ? chunk : Buffer.concat(this.#chunks);
    let at = 0;
    this.#needed = 5;
    while (buffer.length - at >= 5) {
      const length = buffer.readInt32BE(at + 1);
      this.#checkLength(length);
      if (buffer.length - at < length + 1) {
        this.#needed = length + 1;
        break;
      }
      onMessage(buffer[at], buffer.subarray(at, at + length + 1));
      at += length + 1;
    }
    this.#size = buffer.length - at;
    this.#chunks = this.#size ? [buffer.subarray(at)] : [];
  }
}
