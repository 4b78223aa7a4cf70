/** Builds elements. Strings always become text nodes; there is no way to set markup from here. */

const SVG = "http://www.w3.org/2000/svg";
// Properties whose attribute of the same name is only the default.
const PROPERTIES = new Set(["value", "checked", "selected", "disabled", "open", "indeterminate"]);
const SAFE_ADDRESS = /^(https?:|blob:|data:image\/)/i;
const HAS_SCHEME = /^[a-z][a-z0-9+.-]*:/i;

/** @typedef {Record<string, any>} Props */

/**
 * An element.
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} tag
 * @param {Props | null} [props] `class` (text or list, falsy left out), `dataset`, `style` (by
 *   property, set through CSSOM), `on: {click: fn}`; everything else is an attribute: null, undefined
 *   and false leave it out, true sets it empty (aria-* takes "true"/"false" from booleans).
 * @param {...Child} children
 */
export function h(tag, props, ...children) {
  return build(document.createElement(tag), props, children);
}

/**
 * The same for SVG.
 * @template {keyof SVGElementTagNameMap} K
 * @param {K} tag
 * @param {Props | null} [props]
 * @param {...Child} children
 */
export function svg(tag, props, ...children) {
  return build(document.createElementNS(SVG, tag), props, children);
}

/**
 * Replaces all children of `node`, and returns it.
 * @template {Element} T
 * @param {T} node
 * @param {...Child} children
 */
export function replace(node, ...children) {
  node.replaceChildren(...nodes(children));
  return node;
}

/**
 * The child elements of an element that this page has built.
 * @param {Element} node
 */
export const childElements = (node) => /** @type {HTMLElement[]} */ ([...node.children]);

/**
 * Sets the text of a node if it differs, so that a refresh keeps the user's selection.
 * @template {Node} T
 * @param {T} node
 * @param {string} text
 */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
  return node;
}

/**
 * Sets an attribute as `h` does, if it differs.
 * @param {Element} node
 * @param {string} name
 * @param {unknown} value
 */
export function setAttribute(node, name, value) {
  if (PROPERTIES.has(name) && name in node) {
    const properties = /** @type {Record<string, any>} */ (/** @type {unknown} */ (node));
    if (properties[name] !== (value ?? "")) properties[name] = value ?? "";
    return;
  }
  const text = attributeText(name, value);
  if (text === null) node.removeAttribute(name);
  else if (node.getAttribute(name) !== text) node.setAttribute(name, text);
}

/** @type {WeakMap<Element, Map<string | number, Element>>} */
const keyedChildren = new WeakMap();

/**
 * Makes `parent` have one child per item and keeps the element of each key, so that focus,
 * selection and scroll position survive a refresh. `parent` must have no other children.
 * @template T
 * @template {Element} E
 * @param {Element} parent
 * @param {T[]} items
 * @param {(item: T) => string | number} key unique among the items; a repeated one is left out
 * @param {(item: T) => E} make returns a new, complete element
 * @param {(node: E, item: T) => void} [update] updates an existing element
 */
export function keyed(parent, items, key, make, update) {
  const before = keyedChildren.get(parent) ?? new Map();
  const next = new Map();
  for (const item of items) {
    const id = key(item);
    if (next.has(id)) continue;
    const old = before.get(id);
    if (old && update) update(old, item);
    next.set(id, old ?? make(item));
  }
  for (const [id, node] of before) if (!next.has(id)) node.remove();
  arrange(parent, [...next.values()]);
  keyedChildren.set(parent, next);
}

/**
 * Moves only the children that are not in their place.
 * @param {Element} parent
 * @param {Element[]} children
 */
function arrange(parent, children) {
  let place = parent.firstChild;
  for (const node of children) {
    if (node === place) place = place.nextSibling;
    else parent.insertBefore(node, place);
  }
  while (place) {
    const following = place.nextSibling;
    place.remove();
    place = following;
  }
}

/**
 * @template {HTMLElement | SVGElement} T
 * @param {T} node
 * @param {Props | null | undefined} props
 * @param {Child[]} children
 */
function build(node, props, children) {
  for (const [name, value] of Object.entries(props ?? {})) setProp(node, name, value);
  node.append(...nodes(children));
  return node;
}

/** @type {Record<string, (node: HTMLElement | SVGElement, value: any) => void>} */
const SETTERS = {
  class: (node, value) => node.setAttribute("class", classText(value)),
  dataset: (node, value) => Object.assign(node.dataset, withoutNull(value)),
  style(node, value) {
    for (const [name, text] of Object.entries(value)) node.style.setProperty(name, String(text));
  },
  on(node, value) {
    for (const [event, fn] of Object.entries(value)) node.addEventListener(event, fn);
  },
};

/** @param {HTMLElement | SVGElement} node @param {string} name @param {any} value */
function setProp(node, name, value) {
  if (value === null || value === undefined || value === false) {
    if (name.startsWith("aria-") && value === false) node.setAttribute(name, "false");
  } else if (Object.hasOwn(SETTERS, name)) SETTERS[name](node, value);
  else if (PROPERTIES.has(name) && name in node) Object.assign(node, { [name]: value });
  else if (/^on/i.test(name)) throw new TypeError(`inline event handler: ${name}`);
  else setAttribute(node, name, value);
}

/** @param {string | any[]} value */
function classText(value) {
  return Array.isArray(value) ? value.filter(Boolean).join(" ") : value;
}

/** @param {object} data */
function withoutNull(data) {
  return Object.fromEntries(
    Object.entries(data).filter(([, value]) => value !== null && value !== undefined),
  );
}

/**
 * The value as text, or null to leave the attribute out. An address must not run a script.
 * @param {string} name
 * @param {unknown} value
 */
function attributeText(name, value) {
  if (value === null || value === undefined) return null;
  if (typeof value === "boolean") {
    if (name.startsWith("aria-")) return String(value);
    return value ? "" : null;
  }
  const text = String(value);
  if (name === "href" || name === "src") {
    const trimmed = text.replace(/[\u0000-\u0020]/g, "");
    if (HAS_SCHEME.test(trimmed) && !SAFE_ADDRESS.test(trimmed)) return null;
  }
  return text;
}

/**
 * @param {Child[]} children
 * @returns {Generator<Node>}
 */
function* nodes(children) {
  for (const child of children) {
    if (child === null || child === undefined || child === false || child === true) continue;
    if (Array.isArray(child)) yield* nodes(child);
    else yield child instanceof Node ? child : document.createTextNode(String(child));
  }
}
