/** The colours of the charts, read from the style sheet, which alone defines the themes. */

import { RUN_LOOKS } from "../lib/looks.js";

const TOKENS = {
  text: "--text",
  muted: "--chart-label",
  grid: "--chart-grid",
  axis: "--chart-axis",
  surface: "--surface",
  speed: "--chart-1",
  band: "--chart-band",
  mean: "--chart-average",
  progress: "--chart-progress",
  phase: "--surface-2",
  phaseAlternate: "--accent-soft",
  gap_silence: "--text-3",
  gap_hub_away: "--status-stalled",
  gap_sender_lost: "--status-failed",
};
const SERIES = 6;

/**
 * The colours as `rgb(…)`, as a canvas does not support custom properties.
 * @returns {Theme}
 */
export function readTheme(root = document.documentElement) {
  const probe = document.createElement("span");
  probe.hidden = true;
  root.append(probe);
  const computed = getComputedStyle(probe);
  const colour = (/** @type {string} */ token) => {
    probe.style.setProperty("color", `var(${token})`);
    return computed.color;
  };
  const theme = /** @type {any} */ ({
    ...Object.fromEntries(Object.entries(TOKENS).map(([name, token]) => [name, colour(token)])),
    look: Object.fromEntries(RUN_LOOKS.map((look) => [look, colour(`--status-${look}`)])),
    series: Array.from({ length: SERIES }, (_, index) => colour(`--chart-${index + 1}`)),
    font: getComputedStyle(document.body).fontFamily,
  });
  probe.remove();
  return theme;
}

const DIAGONAL = Math.PI / 4;
/**
 * Patterns that tell the looks apart without their colours, as decals of ECharts. The classes
 * `.slice` of the style sheet are the same.
 * @type {Partial<Record<RunLook, object>>}
 */
const DECALS = {
  warning: { dashArrayX: [1, 0], dashArrayY: [2, 4] },
  running: {
    symbol: "circle",
    dashArrayX: [
      [0, 6],
      [6, 0],
    ],
    dashArrayY: [3, 3],
  },
  stalled: { dashArrayX: [1, 0], dashArrayY: [2, 4], rotation: DIAGONAL },
  pending: { dashArrayX: [2, 4], dashArrayY: [1, 0] },
  failed: { dashArrayX: [1, 0], dashArrayY: [3, 3], rotation: -DIAGONAL },
  cancelled: { symbol: "rect", dashArrayX: [3, 3], dashArrayY: [3, 3], symbolSize: 1 },
};

/** The pattern of a look; undefined for the plain one. @param {RunLook} look @param {Theme} theme */
export const decalOf = (look, theme) =>
  DECALS[look] && { color: fade(theme.surface, 0.75), ...DECALS[look] };

/**
 * Calls `changed` when the theme changes or the page is printed, which is always light.
 * @param {() => void} changed
 */
export function onThemeChange(changed) {
  const print = matchMedia("print");
  const observer = new MutationObserver(changed);
  observer.observe(document.documentElement, { attributeFilter: ["data-theme"] });
  print.addEventListener("change", changed);
  return () => {
    observer.disconnect();
    print.removeEventListener("change", changed);
  };
}

/**
 * A colour with another opacity; anything except `rgb()` is returned unchanged.
 * @param {string} colour
 * @param {number} alpha
 */
export function fade(colour, alpha) {
  const parts = /^rgba?\(([^,]+),([^,]+),([^,)]+)/.exec(colour);
  return parts ? `rgba(${parts[1]},${parts[2]},${parts[3]},${alpha})` : colour;
}
