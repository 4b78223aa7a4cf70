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

/** Rounded: "4.2 s", "12 min 05 s", "1 h 02 min", "3 d 04 h", "< 1 s". @param {Value} seconds */
export function duration(seconds) {
  if (!isNumber(seconds) || seconds < 0) return UNKNOWN;
  if (seconds < 1) return "< 1 s";
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`;
  // Compares the rounded value: 59.99 s is 1 min 00 s.
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${twoDigits(whole % 60)} s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 1440) return `${Math.floor(minutes / 60)} h ${twoDigits(minutes % 60)} min`;
  const hours = Math.round(seconds / 3600);
  return `${Math.floor(hours / 24)} d ${twoDigits(hours % 24)} h`;
}

/** Percent, rounded: "42.6 %". @param {Value} value */
export function percent(value) {
  return isNumber(value) ? percentText(Math.round(value * 10) / 10) : UNKNOWN;
}

/** The progress of a job, truncated so that only a complete one has 100: "99.9 %". @param {Value} value */
export function progressPercent(value) {
  return isNumber(value) ? percentText(Math.floor(value * 10 + 1e-6) / 10) : UNKNOWN;
}

/** @param {number} value */
const percentText = (value) => `${value === 0 || value === 100 ? value : value.toFixed(1)} %`;

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

/** A count with its noun: "1 point", "10,000 points". @param {number} number @param {string} noun */
export function counted(number, noun) {
  return `${count(number)} ${noun}${number === 1 ? "" : "s"}`;
}

/** A number with `digits` decimals: "1.25". @param {Value} value @param {number} [digits] */
export function decimal(value, digits = 2) {
  return isNumber(value) ? value.toFixed(digits) : UNKNOWN;
}

/**
 * How long ago: "12 s ago", "2 min 05 s ago", "5 h 20 min ago", "2 d 23 h ago", "12 d ago".
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

/**
 * Whole units that have passed, a smaller one with less than ten of a larger: "2 d" never stands for
 * 2 d 23 h.
 * @param {number} seconds
 */
function coarse(seconds) {
  if (seconds < 1) return "< 1 s";
  if (seconds < 60) return `${Math.floor(seconds)} s`;
  if (seconds < 600) return units(seconds, [60, "min"], [1, "s"]);
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 36_000) return units(seconds, [3600, "h"], [60, "min"]);
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)} h`;
  if (seconds < 864_000) return units(seconds, [86_400, "d"], [3600, "h"]);
  return `${Math.floor(seconds / 86_400)} d`;
}

/**
 * "2 d 04 h".
 * @param {number} seconds
 * @param {[number, string]} large a unit's seconds and name
 * @param {[number, string]} small
 */
function units(seconds, [large, largeName], [small, smallName]) {
  const rest = Math.floor((seconds % large) / small);
  const whole = `${Math.floor(seconds / large)} ${largeName}`;
  return rest ? `${whole} ${twoDigits(rest)} ${smallName}` : whole;
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

/**
 * The user's time zone: "Asia/Kolkata (UTC+05:30)".
 * @param {Date} [at] the instant whose offset is shown
 */
export function zone(at = serverNow()) {
  const minutes = -at.getTimezoneOffset();
  const [hours, rest] = [Math.abs(minutes) / 60, Math.abs(minutes) % 60].map(twoDigits);
  const name = Intl.DateTimeFormat().resolvedOptions().timeZone;
  if (name === "UTC") return name;
  return `${name} (UTC${minutes < 0 ? "−" : "+"}${hours}:${rest})`;
}

// White space, and characters without a shape: at the ends of a text, or several in a row.
const BLANKS =
  /^[\s\u2800\u3164\u115f\u1160\uffa0]+|[\s\u2800\u3164\u115f\u1160\uffa0]+$|[\s\u2800\u3164\u115f\u1160\uffa0]{2,}/g;

/**
 * A name with "␣" for the blanks that could not be seen, so that a name of blanks can be clicked and
 * two names never look the same.
 * @param {string | null} name
 */
export const visible = (name) =>
  (name ?? "").replace(BLANKS, (blanks) => "␣".repeat(blanks.length));

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
