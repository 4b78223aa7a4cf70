/** Text from senders on a canvas: one line, of limited length, never parsed as a style. Pure. */

const BREAKS = /[\u0000-\u001f\u007f\u2028\u2029]+/g;
// Without these, right-to-left text would reverse the rest of the line.
const ISOLATE = ["\u2068", "\u2069"];

/**
 * `text` on one line of at most `longest` characters, isolated from the text around it.
 * @param {string | null} text
 * @param {number} [longest]
 */
export function plain(text, longest = 60) {
  const characters = [...String(text ?? "").replace(BREAKS, " ")];
  const cut = characters.length > longest ? [...characters.slice(0, longest - 1), "…"] : characters;
  // ECharts would parse "{name|text}" as a style.
  return ISOLATE[0] + cut.join("").replaceAll("{", "{\u200b") + ISOLATE[1];
}
