/** Numbers and instants as text. IEC units throughout; what is not known is a dash, never NaN. */

import { serverNow } from "./clock.js";

export const UNKNOWN = "–";

const UNITS = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
const MEGABYTE = 1024 ** 2; // as the senders of `_mb` and `_mbps` count it
const GIGABYTE = 1024 ** 3;

const isNumber = (value) => typeof value === "number" && Number.isFinite(value);

/** Bytes: "1.5 GiB". */
export function bytes(value) {
  if (!isNumber(value)) return UNKNOWN;
  let size = Math.abs(value);
  let unit = 0;
  // Compared as it will be rounded: 1,023.96 KiB is 1.0 MiB.
  while (unit < UNITS.length - 1 && Number(size.toFixed(unit ? 1 : 0)) >= 1024) {
    size /= 1024;
    unit += 1;
  }
  return `${value < 0 ? "−" : ""}${size.toFixed(unit && size < 99.95 ? 1 : 0)} ${UNITS[unit]}`;
}

/** Bytes per second: "320 MiB/s". */
export function speed(value) {
  return isNumber(value) ? `${bytes(value)}/s` : UNKNOWN;
}

/** A `_mbps` field of a node, megabytes per second: "1.4 MiB/s". */
export function megabytesPerSecond(value) {
  return isNumber(value) ? speed(value * MEGABYTE) : UNKNOWN;
}

/** A `_mb` field of a node. */
export const megabytes = (value) => (isNumber(value) ? bytes(value * MEGABYTE) : UNKNOWN);

/** A `_gb` field of a node. */
export const gigabytes = (value) => (isNumber(value) ? bytes(value * GIGABYTE) : UNKNOWN);

/** Seconds: "4.2 s", "12 min 05 s", "1 h 02 min", "3 d 04 h", "< 1 s". */
export function duration(seconds) {
  if (!isNumber(seconds) || seconds < 0) return UNKNOWN;
  if (seconds < 1) return "< 1 s";
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`;
  if (seconds < 60) return `${Math.floor(seconds)} s`;
  const two = (value) => String(Math.floor(value)).padStart(2, "0");
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${two(seconds % 60)} s`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)} h ${two((seconds % 3600) / 60)} min`;
  return `${Math.floor(seconds / 86_400)} d ${two((seconds % 86_400) / 3600)} h`;
}

/** Percent, cut and not rounded: 100 only where all is done. "42.5 %" */
export function percent(value) {
  if (!isNumber(value)) return UNKNOWN;
  const cut = Math.floor(value * 10 + 1e-6) / 10;
  return `${cut === 0 || cut === 100 ? cut : cut.toFixed(1)} %`;
}

const COUNT = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });

/** A count: "10,000". */
export function count(value) {
  return isNumber(value) ? COUNT.format(value) : UNKNOWN;
}

/** A plain number with at most `digits` decimals: "1.25". */
export function decimal(value, digits = 2) {
  return isNumber(value) ? value.toFixed(digits) : UNKNOWN;
}

/** How long ago, coarse: "12 s ago", "3 min ago", "2 h ago", "5 d ago". */
export function age(date, now = serverNow()) {
  const at = toDate(date);
  if (!at) return UNKNOWN;
  const seconds = (now - at) / 1000;
  if (seconds < -5) return `in ${coarse(-seconds)}`;
  return `${coarse(Math.max(seconds, 0))} ago`;
}

function coarse(seconds) {
  if (seconds < 1) return "< 1 s";
  if (seconds < 60) return `${Math.floor(seconds)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 172_800) return `${Math.floor(seconds / 3600)} h`;
  return `${Math.floor(seconds / 86_400)} d`;
}

const two = (value) => String(value).padStart(2, "0");

/** An instant in the reader's zone: "2026-11-22 05:22:10". */
export function time(date) {
  const at = toDate(date);
  return at ? `${day(at)} ${clock(at)}` : UNKNOWN;
}

/** Its date in the reader's zone: "2026-11-22". */
export function day(date) {
  const at = toDate(date);
  return at ? `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}` : UNKNOWN;
}

/** Its time of day in the reader's zone: "05:22:10". */
export function clock(date) {
  const at = toDate(date);
  return at ? `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}` : UNKNOWN;
}

/** As short as it is clear: the time of day, with the date unless it is today's. */
export function shortTime(date, now = serverNow()) {
  const at = toDate(date);
  if (!at) return UNKNOWN;
  return day(at) === day(now) ? clock(at) : `${day(at)} ${clock(at).slice(0, 5)}`;
}

/** An instant in UTC: "2026-11-22 05:22:10 UTC". */
export function utc(date) {
  const at = toDate(date);
  return at ? `${at.toISOString().slice(0, 19).replace("T", " ")} UTC` : UNKNOWN;
}

/** @returns {?Date} */
export function toDate(date) {
  if (date === null || date === undefined || date === "") return null;
  const at = date instanceof Date ? date : new Date(date);
  return Number.isNaN(at.getTime()) ? null : at;
}
