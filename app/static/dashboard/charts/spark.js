/** A sparkline as SVG: no library, no axes, no style attribute. */

import { svg } from "../lib/dom.js";

/** @typedef {(number | null)[]} Values ascending by time, evenly spaced, null for a gap */

/**
 * @param {Values} values
 * @param {Size & {label: string, max?: number}} options `max`: the value at the top
 */
export function sparkline(values, { label, width, height, max }) {
  const points = sparkPoints(values, { width, height, max });
  const last = points.at(-1);
  return svg(
    "svg",
    {
      class: "spark",
      role: "img",
      "aria-label": label,
      width,
      height,
      viewBox: `0 0 ${width} ${height}`,
      focusable: "false",
    },
    svg("path", { class: "spark-line", d: sparkPath(points) }),
    last && svg("circle", { class: "spark-end", cx: round(last[0]), cy: round(last[1]), r: 2 }),
  );
}

/**
 * The positions of the values: `[x, y]`, or null for a gap; 0 is at the bottom.
 * @param {Values} values
 * @param {Size & {max?: number}} options
 * @returns {([number, number] | null)[]}
 */
export function sparkPoints(values, { width, height, max }) {
  const inset = 2.5; // room for the dot at the end
  const top = max ?? Math.max(...values.map((value) => value ?? 0), 0);
  const step = values.length > 1 ? (width - 2 * inset) / (values.length - 1) : 0;
  return values.map((value, index) => {
    if (value === null) return null;
    const share = top > 0 ? Math.min(Math.max(value / top, 0), 1) : 0;
    return [inset + index * step, height - inset - share * (height - 2 * inset)];
  });
}

/** The path through the points, broken at null. @param {([number, number] | null)[]} points */
export function sparkPath(points) {
  let path = "";
  points.forEach((point, index) => {
    if (!point) return;
    path += `${points[index - 1] ? "L" : "M"}${round(point[0])} ${round(point[1])}`;
    const isLone = !points[index - 1] && !points[index + 1];
    if (isLone) path += "h0.01"; // a round cap makes it a dot
  });
  return path;
}

/** @param {number} number */
const round = (number) => Math.round(number * 10) / 10;
