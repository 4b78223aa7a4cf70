// Turns on PostgreSQL's data checksums in a new database that is not open, as pg_checksums does:
// PGlite's initdb takes no options. From then on a page that the disk has changed is an error.
// Layout: PostgreSQL 17's bufpage.h, checksum_impl.h and pg_control.h.

import fs from "node:fs";
import path from "node:path";

const PAGE_BYTES = 8192;
const CHECKSUM_AT = 8; // pd_checksum, uint16
const UPPER_AT = 14; // pd_upper, uint16; 0 in a page that was never used
const VERSION_AT = 252; // data_checksum_version, uint32
const CRC_AT = 288;
const RELATION_FILE = /^\d+(?:_(?:fsm|vm|init))?$/;

const LANES = 32;
const FNV_PRIME = 16777619;
const BASE_OFFSETS = Uint32Array.of(
  0x5b1f36e9,
  0xb8525960,
  0x02ab50aa,
  0x1de66d2a,
  0x79ff467a,
  0x9bb9f8a3,
  0x217e7cd2,
  0x83e13d2c,
  0xf8d4474f,
  0xe39eb970,
  0x42c6ae16,
  0x993216fa,
  0x7b093b5d,
  0x98daff3c,
  0xf718902a,
  0x0b1c9cdb,
  0xe58f764b,
  0x187636bc,
  0x5d7b3bb1,
  0xe73de7de,
  0x92bec979,
  0xcca6c0b2,
  0x304a0979,
  0x85aa43d4,
  0x783125bb,
  0x6ca8eaa2,
  0xe407eac6,
  0x4b5cfc3e,
  0x9fbf8c76,
  0x15ca20be,
  0xf2ca9fd3,
  0x959bd756,
);

/** @param {Buffer} page whose checksum is 0 @param {number} blockNumber */
function pageChecksum(page, blockNumber) {
  const sums = Uint32Array.from(BASE_OFFSETS);
  const mix = (/** @type {number} */ lane, /** @type {number} */ word) => {
    const mixed = sums[lane] ^ word;
    sums[lane] = Math.imul(mixed, FNV_PRIME) ^ (mixed >>> 17);
  };
  for (let at = 0; at < PAGE_BYTES; at += 4) mix((at / 4) % LANES, page.readUInt32LE(at));
  for (let i = 0; i < 2 * LANES; i++) mix(i % LANES, 0);
  const sum = sums.reduce((all, lane) => all ^ lane, blockNumber) >>> 0;
  return (sum % 65535) + 1;
}

/** @param {Buffer} bytes */
function crc32c(bytes) {
  let crc = 0xffffffff;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? 0x82f63b78 : 0);
  }
  return ~crc >>> 0;
}

/** @param {string} file of a relation, smaller than a segment */
function addToPages(file) {
  const content = fs.readFileSync(file);
  for (let at = 0; at + PAGE_BYTES <= content.length; at += PAGE_BYTES) {
    const page = content.subarray(at, at + PAGE_BYTES);
    if (page.readUInt16LE(UPPER_AT) === 0) continue;
    page.writeUInt16LE(0, CHECKSUM_AT);
    page.writeUInt16LE(pageChecksum(page, at / PAGE_BYTES), CHECKSUM_AT);
  }
  fs.writeFileSync(file, content);
}

/** @param {string} directory of a database that is shut down */
export function enableChecksums(directory) {
  const control = path.join(directory, "global", "pg_control");
  const content = fs.readFileSync(control);
  if (content.readUInt32LE(CRC_AT) !== crc32c(content.subarray(0, CRC_AT))) {
    throw new Error(`${control} is not as PostgreSQL 17 writes it`);
  }
  for (const entry of fs.readdirSync(directory, { recursive: true, encoding: "utf8" })) {
    const isRelation = /^(?:base|global)\//.test(entry) && RELATION_FILE.test(path.basename(entry));
    const file = path.join(directory, entry);
    if (isRelation && fs.statSync(file).isFile()) addToPages(file);
  }
  content.writeUInt32LE(1, VERSION_AT);
  content.writeUInt32LE(crc32c(content.subarray(0, CRC_AT)), CRC_AT);
  fs.writeFileSync(control, content);
}
