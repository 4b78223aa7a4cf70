/** Numbers and instants as text, in IEC units; an unknown value is a dash. */

import { serverNow } from "./clock.js";

export const UNKNOWN = "–";

const UNITS = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
const MEGABYTE = 1024 ** 2; // as in the fields `_mb` and `_mbps`
const GIGABYTE = 1024 ** 3;

/** @typedef {number | null | undefined} Value */
/** @typedef {Date | string | number | null | undefined} DateLike */

/**
 * @param {unknown} value
 * @returns {value is number}
 */
const isNumber = (value) => typeof value === "number" && Number.isFinite(value);

/** Bytes: "1.5 GiB". @param {Value} value */
export function bytes(value) {
  if (!isNumber(value)) return UNKNOWN;
  let size = Math.abs(value);
  let unit = 0;
  // Compares the rounded value: 1,023.96 KiB is 1.0 MiB.
  while (unit < UNITS.length - 1 && Number(size.toFixed(unit ? 1 : 0)) >= 1024) {
    size /= 1024;
    unit += 1;
  }
  return `${value < 0 ? "−" : ""}${size.toFixed(unit && size < 99.95 ? 1 : 0)} ${UNITS[unit]}`;
}

/** Bytes per second: "320 MiB/s". @param {Value} value */
export function speed(value) {
  return isNumber(value) ? `${bytes(value)}/s` : UNKNOWN;
}

/** A `_mbps` field of a node, megabytes per second: "1.4 MiB/s". @param {Value} value */
export function megabytesPerSecond(value) {
  return isNumber(value) ? speed(value * MEGABYTE) : UNKNOWN;
}

/** A `_mb` field of a node. @param {Value} value */
export const megabytes = (value) => (isNumber(value) ? bytes(value * MEGABYTE) : UNKNOWN);

/** A `_gb` field of a node. @param {Value} value */
export const gigabytes = (value) => (isNumber(value) ? bytes(value * GIGABYTE) : UNKNOWN);

/** @param {number} value */
const twoDigits = (value) => String(Math.floor(value)).padStart(2, "0");

/** "4.2 s", "12 min 05 s", "1 h 02 min", "3 d 04 h", "< 1 s". @param {Value} seconds */
export function duration(seconds) {
  if (!isNumber(seconds) || seconds < 0) return UNKNOWN;
  if (seconds < 1) return "< 1 s";
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`;
  if (seconds < 60) return `${Math.floor(seconds)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${twoDigits(seconds % 60)} s`;
  if (seconds < 86_400) {
    return `${Math.floor(seconds / 3600)} h ${twoDigits((seconds % 3600) / 60)} min`;
  }
  return `${Math.floor(seconds / 86_400)} d ${twoDigits((seconds % 86_400) / 3600)} h`;
}

/** Percent, truncated so that only a complete job has 100: "42.5 %". @param {Value} value */
export function percent(value) {
  if (!isNumber(value)) return UNKNOWN;
  const cut = Math.floor(value * 10 + 1e-6) / 10;
  return `${cut === 0 || cut === 100 ? cut : cut.toFixed(1)} %`;
}

/**
 * A part of a whole in percent, rounded; only all of it is 100 %, and only nothing 0 %: "66.7 %".
 * @param {number} part
 * @param {number} whole
 */
export function share(part, whole) {
  if (!whole) return UNKNOWN;
  if (part === 0 || part === whole) return part ? "100 %" : "0 %";
  const rounded = Math.round((1000 * part) / whole) / 10;
  return `${Math.min(Math.max(rounded, 0.1), 99.9).toFixed(1)} %`;
}

const COUNT = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });

/** A count: "10,000". @param {Value} value */
export function count(value) {
  return isNumber(value) ? COUNT.format(value) : UNKNOWN;
}

/** A number with `digits` decimals: "1.25". @param {Value} value @param {number} [digits] */
export function decimal(value, digits = 2) {
  return isNumber(value) ? value.toFixed(digits) : UNKNOWN;
}

/**
 * How long ago: "12 s ago", "3 min ago", "2 h ago", "5 d ago".
 * @param {DateLike} date
 * @param {Date} [now]
 */
export function age(date, now = serverNow()) {
  const at = toDate(date);
  if (!at) return UNKNOWN;
  const seconds = (now.getTime() - at.getTime()) / 1000;
  if (seconds < -5) return `in ${coarse(-seconds)}`;
  return `${coarse(Math.max(seconds, 0))} ago`;
}

/** @param {number} seconds */
function coarse(seconds) {
  if (seconds < 1) return "< 1 s";
  if (seconds < 60) return `${Math.floor(seconds)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 172_800) return `${Math.floor(seconds / 3600)} h`;
  return `${Math.floor(seconds / 86_400)} d`;
}

/** An instant in the user's time zone: "2026-11-22 05:22:10". @param {DateLike} date */
export function time(date) {
  const at = toDate(date);
  return at ? `${day(at)} ${clock(at)}` : UNKNOWN;
}

/** Its date in the user's time zone: "2026-11-22". @param {DateLike} date */
export function day(date) {
  const at = toDate(date);
  if (!at) return UNKNOWN;
  return [at.getFullYear(), twoDigits(at.getMonth() + 1), twoDigits(at.getDate())].join("-");
}

/** Its time of day in the user's time zone: "05:22:10". @param {DateLike} date */
export function clock(date) {
  const at = toDate(date);
  return at ? [at.getHours(), at.getMinutes(), at.getSeconds()].map(twoDigits).join(":") : UNKNOWN;
}

/**
 * The time of day, with the date unless it is today.
 * @param {DateLike} date
 * @param {Date} [now]
 */
export function shortTime(date, now = serverNow()) {
  const at = toDate(date);
  if (!at) return UNKNOWN;
  return day(at) === day(now) ? clock(at) : `${day(at)} ${clock(at).slice(0, 5)}`;
}

/** An instant in UTC: "2026-11-22 05:22:10 UTC". @param {DateLike} date */
export function utc(date) {
  const at = toDate(date);
  return at ? `${at.toISOString().slice(0, 19).replace("T", " ")} UTC` : UNKNOWN;
}

/**
 * @param {DateLike} date
 * @returns {Date | null} null if it is not a date
 */
export function toDate(date) {
  if (date === null || date === undefined || date === "") return null;
  const at = date instanceof Date ? date : new Date(date);
  return Number.isNaN(at.getTime()) ? null : at;
}
