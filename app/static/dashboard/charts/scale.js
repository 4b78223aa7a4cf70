/** Round numbers for axes of elapsed time, and of bytes and speeds in IEC units. Pure. */

const MINUTE = 60;
const HOUR = 3600;
const DAY = 86400;
const SECOND_STEPS = [
  1,
  2,
  5,
  10,
  15,
  30,
  MINUTE,
  2 * MINUTE,
  5 * MINUTE,
  10 * MINUTE,
  15 * MINUTE,
  30 * MINUTE,
  HOUR,
  2 * HOUR,
  3 * HOUR,
  6 * HOUR,
  12 * HOUR,
  DAY,
  2 * DAY,
  5 * DAY,
  10 * DAY,
  30 * DAY,
];
const UNITS = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];

/**
 * The smallest round step in seconds for at most `ticks` steps over `span`.
 * @param {number} span
 * @param {number} ticks
 */
export function secondsStep(span, ticks) {
  const wanted = span / Math.max(ticks, 1);
  return SECOND_STEPS.find((step) => step >= wanted) ?? Math.ceil(wanted / DAY) * DAY;
}

/**
 * The multiples of `step` from `from` to `to`, inclusive.
 * @param {number} from
 * @param {number} to
 * @param {number} step
 */
export function multiples(from, to, step) {
  const first = Math.ceil(from / step - 1e-9);
  const count = Math.floor(to / step + 1e-9) - first + 1;
  return Array.from({ length: Math.max(count, 0) }, (_, index) => (first + index) * step);
}

/** @param {number} n */
const two = (n) => String(n).padStart(2, "0");

/**
 * The format of elapsed seconds on an axis with a label every `step` seconds.
 * @param {number} longest
 * @param {number} step
 * @returns {{unit: string, text: (t: number) => string}}
 */
export function elapsedFormat(longest, step) {
  if (longest > 3 * DAY) {
    return {
      unit: step >= DAY ? "days" : "days, hours",
      text: (t) => (step >= DAY ? String(t / DAY) : dayAndHour(t)),
    };
  }
  if (longest >= HOUR) {
    const seconds = step < MINUTE;
    return {
      unit: seconds ? "h:min:s" : "h:min",
      text: (t) =>
        `${Math.floor(t / HOUR)}:${two(Math.floor((t % HOUR) / MINUTE))}` +
        (seconds ? `:${two(Math.round(t % MINUTE))}` : ""),
    };
  }
  if (longest > 2 * MINUTE) {
    const seconds = step < MINUTE;
    return {
      unit: seconds ? "min:s" : "min",
      text: (t) =>
        String(Math.floor(t / MINUTE)) + (seconds ? `:${two(Math.round(t % MINUTE))}` : ""),
    };
  }
  return { unit: "s", text: (t) => String(Math.round(t * 10) / 10) };
}

/** @param {number} t */
function dayAndHour(t) {
  const hours = Math.round((t % DAY) / HOUR);
  return `${Math.floor(t / DAY)} d${hours ? ` ${hours} h` : ""}`;
}

/** Elapsed seconds, such as "1:02:03 h" or "4.2 s"; the start is "0:00 min". @param {number} t */
export function elapsed(t) {
  if (!Number.isFinite(t)) return "–";
  if (t >= 0.05 && t < MINUTE) return `${Math.round(t * 10) / 10} s`;
  const whole = Math.round(t);
  const [hours, minutes, seconds] = [
    Math.floor(whole / HOUR),
    Math.floor((whole % HOUR) / MINUTE),
    whole % MINUTE,
  ];
  return hours ? `${hours}:${two(minutes)}:${two(seconds)} h` : `${minutes}:${two(seconds)} min`;
}

/** The IEC unit for numbers of bytes up to `largest`. @param {number} largest */
export function byteUnit(largest) {
  let power = 0;
  while (power < UNITS.length - 1 && largest >= 1024 ** (power + 1)) power += 1;
  return { factor: 1024 ** power, name: UNITS[power] };
}

/**
 * The end and the step of an axis from 0 to at least `largest`, with about `ticks` labels.
 * @param {number} largest
 * @param {number} [ticks]
 */
export function niceScale(largest, ticks = 4) {
  if (!(largest > 0)) return { max: 1, interval: 1 };
  const rough = largest / ticks;
  const power = 10 ** Math.floor(Math.log10(rough));
  const steps = [1, 1.5, 2, 2.5, 3, 4, 5, 6, 8].map((n) => n * power);
  const interval = steps.find((n) => n >= rough * 0.999) ?? 10 * power;
  return { max: Math.ceil(largest / interval - 1e-9) * interval, interval };
}
