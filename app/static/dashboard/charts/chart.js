/** One canvas of ECharts: loads the library once and follows size and theme. */

import { h } from "../lib/dom.js";
import { onThemeChange, readTheme } from "./theme.js";

/** @typedef {typeof import("echarts")} ECharts */

/** @type {Promise<ECharts> | undefined} */
let library;

/** The library, loaded by the first view that draws. */
export function loadECharts() {
  library ??= import("../../node_modules/echarts/dist/echarts.esm.min.mjs").catch((error) => {
    library = undefined; // the hub may respond at the next attempt
    throw error;
  });
  return library;
}

/** @typedef {Awaited<ReturnType<typeof createChart>>} Chart */

/**
 * A chart in `container`. Call `dispose` when the view is left.
 * @param {HTMLElement} container
 * @param {object} options
 * @param {string} options.label
 * @param {string} [options.className]
 * @param {(item: ChartItem) => void} [options.onClick] called for a click on an item
 */
export async function createChart(container, { label, className = "", onClick }) {
  const echarts = await loadECharts();
  const canvas = h("div", { class: `chart-canvas ${className}`, role: "img", "aria-label": label });
  container.append(canvas);
  const chart = echarts.init(canvas, null, { renderer: "canvas" });
  let theme = readTheme();
  /** @type {ChartBuilder | null} */
  let build = null;
  let frame = 0;
  /** @type {number | null} */
  let drawStartedAt = null;

  const size = () => ({ width: chart.getWidth(), height: chart.getHeight() });
  const redraw = () => {
    if (!build || chart.isDisposed()) return;
    drawStartedAt ??= performance.now();
    chart.setOption(withDefaults(build(theme, size()), theme), { replaceMerge: REPLACED });
  };
  // The time from building the option to the end of drawing, for tests.
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
    chart.getZr().flush(); // printing does not wait for the next frame
  });
  const stopPrint = onPrint((isPrinting) => {
    chart.resize(
      isPrinting ? { width: Math.min(canvas.clientWidth, PAPER_WIDTH) } : { width: "auto" },
    );
    redraw();
    chart.getZr().flush();
  });
  if (onClick) chart.on("click", (item) => onClick(/** @type {any} */ (item)));

  return {
    canvas,
    /** @param {ChartBuilder} nextBuild makes the option of ECharts @param {string} [nextLabel] */
    draw(nextBuild, nextLabel) {
      build = nextBuild;
      if (nextLabel !== undefined) canvas.setAttribute("aria-label", nextLabel);
      redraw();
    },
    /** The value of the x axis at `x` pixels from the left edge. @param {number} x */
    valueAt: (x) => Number(chart.convertFromPixel({ xAxisIndex: 0 }, x)),
    /** @param {number} value */
    pixelAt: (value) => Number(chart.convertToPixel({ xAxisIndex: 0 }, value)),
    /** @param {PictureTitle} title */
    png: (title) => composePng(chart.getDataURL.bind(chart), theme, title),
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

/** @param {(isPrinting: boolean) => void} changed */
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

// Components whose number may change from one drawing to the next.
const REPLACED = ["series", "xAxis", "yAxis", "grid"];

/** @param {Record<string, any>} option @param {Theme} theme */
function withDefaults(option, theme) {
  return {
    animation: false,
    aria: { enabled: false }, // label and table are more useful
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

/**
 * The value axis of all charts; `name` is its unit.
 * @param {Theme} theme
 * @param {{max: number, interval?: number, name?: string, [option: string]: unknown}} options
 */
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

/** Rounds 0.6000000000000001 to 0.6. @param {number} value */
const plainNumber = (value) => String(Number(value.toPrecision(6)));

/** @typedef {{title: string, subtitle: string}} PictureTitle */

/**
 * The chart below its title and subtitle, as a PNG.
 * @param {(options: {pixelRatio: number, backgroundColor: string}) => string} getDataUrl
 * @param {Theme} theme
 * @param {PictureTitle} title
 * @returns {Promise<Blob | null>}
 */
async function composePng(getDataUrl, theme, { title, subtitle }) {
  const ratio = 2;
  const picture = new Image();
  picture.src = getDataUrl({ pixelRatio: ratio, backgroundColor: theme.surface });
  await picture.decode();
  const head = 56 * ratio;
  const canvas = document.createElement("canvas");
  canvas.width = picture.width;
  canvas.height = picture.height + head;
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  context.fillStyle = theme.surface;
  context.fillRect(0, 0, canvas.width, canvas.height);
  const lines = [
    { text: title, font: `600 ${15 * ratio}px ${theme.font}`, colour: theme.text, y: 24 },
    { text: subtitle, font: `400 ${12 * ratio}px ${theme.font}`, colour: theme.muted, y: 44 },
  ];
  for (const { text, font, colour, y } of lines) {
    context.font = font;
    context.fillStyle = colour;
    context.fillText(text, 16 * ratio, y * ratio, canvas.width - 32 * ratio);
  }
  context.drawImage(picture, 0, head);
  return new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
}

/** Starts a download. @param {Blob} blob @param {string} name */
export function download(blob, name) {
  const url = URL.createObjectURL(blob);
  const link = h("a", { href: url, download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000); // the download has started by then
}
