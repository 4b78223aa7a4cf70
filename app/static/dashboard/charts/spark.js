/** A line the size of a word, as SVG: no library, no axes, no style attribute. */

const SVG = "http://www.w3.org/2000/svg";

/** `values` ascend by time, evenly spaced, null for a gap; the line fills `width` x `height`. */
export function sparkline(values, { label, width = 120, height = 28, max } = {}) {
  const svg = make("svg", {
    class: "spark",
    role: "img",
    "aria-label": label ?? "",
    width,
    height,
    viewBox: `0 0 ${width} ${height}`,
    focusable: "false",
  });
  const points = sparkPoints(values, { width, height, max });
  svg.append(make("path", { class: "spark-line", d: sparkPath(points) }));
  const last = points.at(-1);
  if (last)
    svg.append(
      make("circle", { class: "spark-end", cx: round(last[0]), cy: round(last[1]), r: 2 }),
    );
  return svg;
}

/** Where the values lie: `[x, y]` or null each, 0 at the bottom. */
export function sparkPoints(values, { width, height, max }) {
  const inset = 2.5; // the end's dot
  const known = values.filter((value) => Number.isFinite(value));
  const top = max ?? (known.length ? Math.max(...known) : 1);
  const step = values.length > 1 ? (width - 2 * inset) / (values.length - 1) : 0;
  return values.map((value, index) => {
    if (!Number.isFinite(value)) return null;
    const share = top > 0 ? Math.min(Math.max(value / top, 0), 1) : 0;
    return [inset + index * step, height - inset - share * (height - 2 * inset)];
  });
}

/** The path through the points; a null lifts the pen. */
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

const round = (number) => Math.round(number * 10) / 10;

function make(name, attributes) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, String(value));
  return element;
}
