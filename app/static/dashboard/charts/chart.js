/** One canvas of ECharts: loads the library once, follows size and theme, cleans up after itself. */

import { h } from "../lib/dom.js";
import { onThemeChange, readTheme } from "./theme.js";

let library;

/** The library, loaded by the first view that draws. */
export function loadECharts() {
  library ??= import("../../node_modules/echarts/dist/echarts.esm.min.mjs").catch((error) => {
    library = undefined; // the hub may be back at the next try
    throw error;
  });
  return library;
}

/**
 * A chart in `container`, drawn by `draw(build, label)`, where `build(theme, size)` makes the option.
 * A click on an item calls `onClick` with the event of ECharts. Call `dispose` when the view goes.
 */
export async function createChart(container, { label, className = "", onClick } = {}) {
  const echarts = await loadECharts();
  const canvas = h("div", { class: `chart-canvas ${className}`, role: "img", "aria-label": label });
  container.append(canvas);
  const chart = echarts.init(canvas, null, { renderer: "canvas" });
  let theme = readTheme();
  let build = null;
  let frame = 0;
  let drawStartedAt = null;

  const size = () => ({ width: chart.getWidth(), height: chart.getHeight() });
  const redraw = () => {
    if (!build || chart.isDisposed()) return;
    drawStartedAt ??= performance.now();
    chart.setOption(withDefaults(build(theme, size()), theme), { replaceMerge: REPLACED });
  };
  // From the option being made to the last stroke; tests read it.
  chart.on("finished", () => {
    if (drawStartedAt === null) return;
    canvas.dataset.drawMilliseconds = (performance.now() - drawStartedAt).toFixed(1);
    drawStartedAt = null;
  });
  const resized = new ResizeObserver(() => {
    cancelAnimationFrame(frame);
    frame = requestAnimationFrame(() => {
      const { clientWidth: width, clientHeight: height } = canvas;
      if (!width || !height || (width === chart.getWidth() && height === chart.getHeight())) return;
      chart.resize();
      redraw();
    });
  });
  resized.observe(canvas);
  const stopTheme = onThemeChange(() => {
    theme = readTheme();
    redraw();
    chart.getZr().flush(); // paper does not wait for the next frame
  });
  const stopPrint = onPrint((isPrinting) => {
    chart.resize(
      isPrinting ? { width: Math.min(canvas.clientWidth, PAPER_WIDTH) } : { width: "auto" },
    );
    redraw();
    chart.getZr().flush();
  });
  if (onClick) chart.on("click", onClick);

  return {
    canvas,
    draw(nextBuild, nextLabel) {
      build = nextBuild;
      if (nextLabel !== undefined) canvas.setAttribute("aria-label", nextLabel);
      redraw();
    },
    /** The value of the first x axis below a distance in pixels from the left edge. */
    valueAt: (x) => chart.convertFromPixel({ xAxisIndex: 0 }, x),
    pixelAt: (value) => chart.convertToPixel({ xAxisIndex: 0 }, value),
    png: (title) => composePng(chart, theme, title),
    dispose() {
      cancelAnimationFrame(frame);
      resized.disconnect();
      stopTheme();
      stopPrint();
      chart.dispose();
      canvas.remove();
    },
  };
}

const PAPER_WIDTH = 660; // A4 between its margins, at 96 pixels an inch

function onPrint(changed) {
  const before = () => changed(true);
  const after = () => changed(false);
  addEventListener("beforeprint", before);
  addEventListener("afterprint", after);
  return () => {
    removeEventListener("beforeprint", before);
    removeEventListener("afterprint", after);
  };
}

// What differs in number from one drawing to the next.
const REPLACED = ["series", "xAxis", "yAxis", "grid"];

function withDefaults(option, theme) {
  return {
    animation: false,
    aria: { enabled: false }, // the label and the table say it better
    textStyle: { fontFamily: theme.font, color: theme.text, fontSize: 12 },
    ...option,
    tooltip: option.tooltip && {
      renderMode: "richText", // never HTML: names come from senders
      confine: true,
      transitionDuration: 0,
      backgroundColor: theme.surface,
      borderColor: theme.muted,
      borderWidth: 1,
      padding: 8,
      textStyle: { color: theme.text, fontSize: 12, lineHeight: 17 },
      ...option.tooltip,
    },
  };
}

/** The axis of values that all charts share; `name` is its unit. */
export function valueAxis(theme, { max, interval, name, ...rest }) {
  return {
    type: "value",
    min: 0,
    max,
    interval,
    name,
    nameTextStyle: { color: theme.muted, align: "left", padding: [0, 0, 0, -28] },
    axisLabel: { color: theme.muted, formatter: plainNumber },
    axisLine: { show: false },
    axisTick: { show: false },
    splitLine: { lineStyle: { color: theme.grid } },
    ...rest,
  };
}

/** 0.6000000000000001 is 0.6. */
const plainNumber = (value) => String(Number(value.toPrecision(6)));

/** The picture below its title and what it is of, as a PNG. */
async function composePng(chart, theme, { title, subtitle }) {
  const ratio = 2;
  const picture = new Image();
  picture.src = chart.getDataURL({ pixelRatio: ratio, backgroundColor: theme.surface });
  await picture.decode();
  const head = 56 * ratio;
  const canvas = document.createElement("canvas");
  canvas.width = picture.width;
  canvas.height = picture.height + head;
  const pen = canvas.getContext("2d");
  pen.fillStyle = theme.surface;
  pen.fillRect(0, 0, canvas.width, canvas.height);
  const write = (text, weight, pixels, colour, y) => {
    pen.font = `${weight} ${pixels * ratio}px ${theme.font}`;
    pen.fillStyle = colour;
    pen.fillText(text, 16 * ratio, y * ratio, canvas.width - 32 * ratio);
  };
  write(title, 600, 15, theme.text, 24);
  write(subtitle, 400, 12, theme.muted, 44);
  pen.drawImage(picture, 0, head);
  return new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
}

/** Hands a file to the reader. */
export function download(blob, name) {
  const url = URL.createObjectURL(blob);
  const link = h("a", { href: url, download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000); // the browser has begun by then
}
