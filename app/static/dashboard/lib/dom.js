/** Builds elements. Strings become text nodes, always: there is no way to set markup from here. */

const SVG = "http://www.w3.org/2000/svg";
// Live properties: the attribute of the same name is only their default.
const PROPERTIES = new Set(["value", "checked", "selected", "disabled", "open", "indeterminate"]);
const SAFE_ADDRESS = /^(https?:|blob:|data:image\/)/i;
const HAS_SCHEME = /^[a-z][a-z0-9+.-]*:/i;

/**
 * An element.
 * @param {string} tag
 * @param {?Object} props `class` (text or list, falsy left out), `dataset`, `style` (by property, set
 *   through CSSOM), `on: {click: fn}`, `ref: fn(node)`; all else are attributes: null, undefined and
 *   false leave one out, true sets it empty (aria-* takes "true"/"false" from booleans).
 * @param {...(Node|string|number|null|undefined|false|Array)} children
 * @returns {HTMLElement}
 */
export function h(tag, props, ...children) {
  return build(document.createElement(tag), props, children);
}

/** The same for SVG. @returns {SVGElement} */
export function svg(tag, props, ...children) {
  return build(document.createElementNS(SVG, tag), props, children);
}

/** Replace all children of `node`. @returns {Element} the node */
export function replace(node, ...children) {
  node.replaceChildren(...nodes(children));
  return node;
}

/** Set the text of a node if it differs, so that a refresh leaves selections alone. */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
  return node;
}

/** Set an attribute as `h` would, if it differs. */
export function setAttribute(node, name, value) {
  if (PROPERTIES.has(name) && name in node) {
    if (node[name] !== (value ?? "")) node[name] = value ?? "";
    return;
  }
  const text = attributeText(name, value);
  if (text === null) node.removeAttribute(name);
  else if (node.getAttribute(name) !== text) node.setAttribute(name, text);
}

const keptByParent = new WeakMap();

/**
 * Make the children of `parent` those of `items`, keeping the element of each key, so that focus,
 * selection and scroll position survive a refresh. `parent` must hold nothing else.
 * @template T
 * @param {Element} parent
 * @param {T[]} items
 * @param {function(T): string|number} key unique among the items; a repeated one is left out
 * @param {function(T): Element} make a new element, already up to date
 * @param {function(Element, T): void} [update] brings a kept element up to date
 */
export function keyed(parent, items, key, make, update) {
  const kept = keptByParent.get(parent) ?? new Map();
  const next = new Map();
  for (const item of items) {
    const id = key(item);
    if (next.has(id)) continue;
    const old = kept.get(id);
    if (old && update) update(old, item);
    next.set(id, old ?? make(item));
  }
  for (const [id, node] of kept) if (!next.has(id)) node.remove();
  let place = parent.firstChild;
  for (const node of next.values()) {
    if (node === place) place = place.nextSibling;
    else parent.insertBefore(node, place);
  }
  while (place) {
    const following = place.nextSibling;
    place.remove();
    place = following;
  }
  keptByParent.set(parent, next);
}

function build(node, props, children) {
  for (const [name, value] of Object.entries(props ?? {})) setProp(node, name, value);
  node.append(...nodes(children));
  return node;
}

function setProp(node, name, value) {
  if (value === null || value === undefined || value === false) {
    if (name.startsWith("aria-") && value === false) node.setAttribute(name, "false");
    return;
  }
  if (name === "class") node.setAttribute("class", classText(value));
  else if (name === "dataset") Object.assign(node.dataset, withoutNull(value));
  else if (name === "style") setStyle(node, value);
  else if (name === "on")
    for (const [event, fn] of Object.entries(value)) node.addEventListener(event, fn);
  else if (name === "ref") value(node);
  else if (PROPERTIES.has(name) && name in node) node[name] = value;
  else if (/^on/i.test(name)) throw new TypeError(`no inline handlers: ${name}`);
  else {
    const text = attributeText(name, value);
    if (text !== null) node.setAttribute(name, text);
  }
}

function setStyle(node, style) {
  for (const [name, value] of Object.entries(style)) node.style.setProperty(name, value);
}

function classText(value) {
  return Array.isArray(value) ? value.filter(Boolean).join(" ") : value;
}

function withoutNull(data) {
  return Object.fromEntries(
    Object.entries(data).filter(([, value]) => value !== null && value !== undefined),
  );
}

/** @returns {?string} null: leave it out. An address may not run a script, whoever wrote it. */
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

function* nodes(children) {
  for (const child of children) {
    if (child === null || child === undefined || child === false || child === true) continue;
    if (Array.isArray(child)) yield* nodes(child);
    else yield child instanceof Node ? child : document.createTextNode(String(child));
  }
}
