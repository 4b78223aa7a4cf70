/** Text of senders on a canvas: one line, of bounded length, never taken for a style. Pure. */

const BREAKS = /[\u0000-\u001f\u007f\u2028\u2029]+/g;
// Written the wrong way round, one name would turn the rest of the line around too.
const ISOLATE = ["\u2068", "\u2069"];

/** `text` on one line of at most `longest` characters, isolated from the text around it. */
export function plain(text, longest = 60) {
  const characters = [...String(text ?? "").replace(BREAKS, " ")];
  const cut = characters.length > longest ? [...characters.slice(0, longest - 1), "…"] : characters;
  // A canvas label would read "{name|text}" as a style.
  return ISOLATE[0] + cut.join("").replaceAll("{", "{\u200b") + ISOLATE[1];
}
