/**
 * An infinite list by cursor that draws only the pages near the viewport.
 *
 * Other pages are empty boxes of the same height and are not refreshed; they are fetched again when
 * they come near. So a list of 10,000 jobs costs no more than one of 200.
 */

import { errorText } from "./api.js";
import { h, keyed, replace, setAttribute } from "./dom.js";

const NEAR = "900px"; // pages within this distance of the viewport are drawn

/**
 * @typedef {object} DrawnPage
 * @property {string | null} cursor its start; null: the first
 * @property {string | null | undefined} next the start of the next one; undefined until it is known
 * @property {HTMLElement} node
 * @property {number} count of its items
 * @property {boolean} near
 * @property {boolean} filled
 *
 * @typedef {{cursor: string | null, next?: string | null, count: number, height: number}} SavedPage
 */

/**
 * @template T
 * @typedef {object} ListOptions
 * @property {(cursor: string | null, signal: AbortSignal) =>
 *   Promise<{data: Page<T>, notModified: boolean}>} fetchPage
 * @property {(item: T) => string} key
 * @property {(item: T) => HTMLElement} make
 * @property {(node: HTMLElement, item: T) => void} update
 * @property {() => void} [onChange]
 * @property {string} [moreLabel]
 */

/** @template T */
export class PagedList {
  /** @param {ListOptions<T>} options */
  constructor({ fetchPage, key, make, update, onChange = () => {}, moreLabel = "Show more" }) {
    this.fetchPage = fetchPage;
    this.key = key;
    this.make = make;
    this.update = update;
    this.onChange = onChange;
    /** @type {DrawnPage[]} */
    this.pages = [];
    this.body = h("div", { class: "pages", role: "presentation" });
    this.more = h(
      "button",
      {
        type: "button",
        class: "button more no-print",
        hidden: true,
        on: { click: () => this.#loadMore({ isClick: true }) },
      },
      moreLabel,
    );
    this.error = h("div", { role: "status" });
    this.foot = h("div", { class: "list-foot" }, this.error, this.more);
    this.observer = new IntersectionObserver((entries) => this.#onIntersection(entries), {
      rootMargin: `${NEAR} 0px`,
    });
    this.observer.observe(this.more);
    this.controller = new AbortController();
  }

  /** Whether all pages are loaded and none has items. */
  get isEmpty() {
    return (
      this.pages.at(-1)?.next === null &&
      this.pages.every((page) => page.filled && page.count === 0)
    );
  }

  get isLoaded() {
    return this.pages.some((page) => page.next !== undefined);
  }

  /** Updates the pages near the viewport. @param {AbortSignal} signal */
  async refresh(signal) {
    if (!this.pages.length) this.#append(null);
    for (let index = 0; index < this.pages.length; index += 1) {
      const page = this.pages[index];
      // A search may have pages without a match; only the first gets new items.
      const isBarren = index > 0 && page.filled && page.count === 0 && page.next !== null;
      if (isWanted(page) && !isBarren) await this.#fill(page, signal);
      if (signal.aborted) return;
    }
  }

  /** Starts again with other filters. The first page stays visible until the first response. */
  reset() {
    this.controller.abort();
    this.controller = new AbortController();
    const [first, ...others] = this.pages;
    for (const page of others) this.#drop(page);
    this.pages = first ? [first] : [];
    if (first) Object.assign(first, { next: undefined, near: true, filled: false });
    this.more.hidden = true;
    replace(this.error);
  }

  stop() {
    this.controller.abort();
    this.observer.disconnect();
  }

  /** The state for `restore` of a later list. @returns {SavedPage[]} */
  save() {
    return this.pages.map(({ cursor, next, node, count }) => ({
      cursor,
      next,
      count,
      height: node.offsetHeight,
    }));
  }

  /** Adds empty boxes of the height of the saved pages. @param {SavedPage[]} saved */
  restore(saved) {
    for (const { cursor, next, count, height } of saved) {
      const page = this.#append(cursor);
      Object.assign(page, { next, count, near: false });
      page.node.style.setProperty("height", `${height}px`);
    }
    this.#renumber();
  }

  /** @param {string | null} cursor */
  #append(cursor) {
    /** @type {DrawnPage} */
    const page = {
      cursor,
      next: undefined,
      count: 0,
      near: true,
      filled: false,
      node: h("div", { role: "rowgroup", class: "page-of-rows" }),
    };
    this.pages.push(page);
    this.body.append(page.node);
    this.observer.observe(page.node);
    return page;
  }

  /** @param {DrawnPage} page */
  #drop(page) {
    this.observer.unobserve(page.node);
    page.node.remove();
  }

  /** @param {DrawnPage} page @param {AbortSignal} signal */
  async #fill(page, signal) {
    const { data, notModified } = await this.fetchPage(page.cursor, signal);
    if (signal.aborted || !this.pages.includes(page)) return;
    // If it was scrolled past while it was fetched, it stays an empty box.
    if (isWanted(page) && !(notModified && page.filled)) this.#draw(page, data.items);
    page.next = data.next_cursor;
    this.#link(page);
    this.onChange();
  }

  /** @param {DrawnPage} page @param {T[]} items */
  #draw(page, items) {
    keyed(page.node, items, this.key, this.make, this.update);
    page.node.style.removeProperty("height");
    Object.assign(page, { count: items.length, filled: true });
    this.#renumber();
  }

  /** Starts the next page where this one ends, as items may have been added or removed. */
  #link(/** @type {DrawnPage} */ page) {
    const index = this.pages.indexOf(page);
    const following = this.pages[index + 1];
    if (page.next === null) {
      for (const dropped of this.pages.splice(index + 1)) this.#drop(dropped);
    } else if (following && page.next !== undefined) {
      following.cursor = page.next;
    }
    const wasHidden = this.more.hidden;
    this.more.hidden = typeof this.pages.at(-1)?.next !== "string";
    // An observer reports changes only, and the button may still be visible.
    if (!this.more.hidden && wasHidden) this.#watchMore();
  }

  #watchMore() {
    this.observer.unobserve(this.more);
    this.observer.observe(this.more);
  }

  #renumber() {
    let row = 2; // row 1 is the header
    for (const page of this.pages) {
      for (const child of page.node.children) setAttribute(child, "aria-rowindex", row++);
      if (!page.filled) row += page.count;
    }
  }

  /** @param {IntersectionObserverEntry[]} entries */
  #onIntersection(entries) {
    for (const { target, isIntersecting } of entries) {
      if (target === this.more) {
        if (isIntersecting) this.#loadMore({ isClick: false });
        continue;
      }
      const page = this.pages.find(({ node }) => node === target);
      if (!page || page.near === isIntersecting) continue;
      page.near = isIntersecting;
      if (isIntersecting) this.#onNear(page);
      else if (!page.node.contains(document.activeElement)) this.#empty(page);
    }
  }

  /** A filled page is up to date. @param {DrawnPage} page */
  #onNear(page) {
    if (!page.filled) this.#run(() => this.#fill(page, this.controller.signal));
  }

  /** @param {DrawnPage} page */
  #empty(page) {
    const height = page.node.offsetHeight;
    if (!page.filled || height === 0) return; // the whole list is hidden
    page.node.style.setProperty("height", `${height}px`);
    keyed(page.node, [], this.key, this.make);
    page.filled = false;
  }

  /** @param {{isClick: boolean}} options */
  #loadMore({ isClick }) {
    const last = this.pages.at(-1);
    if (!last || typeof last.next !== "string") return;
    const page = this.#append(last.next);
    this.more.hidden = true;
    this.#run(async () => {
      await this.#fill(page, this.controller.signal);
      if (isClick) page.node.querySelector("a")?.focus();
    }, page);
  }

  /**
   * Fetches between two refreshes. The user can retry a new page that failed.
   * @param {() => Promise<void>} fetch
   * @param {DrawnPage} [added]
   */
  #run(fetch, added) {
    const { signal } = this.controller;
    fetch()
      .catch((error) => {
        if (signal.aborted) return;
        if (added) {
          this.#drop(added);
          this.pages = this.pages.filter((page) => page !== added);
          replace(this.error, h("p", { class: "error-text" }, errorText(error)));
          this.more.hidden = false;
        }
      })
      .then(() => {
        if (added?.filled) replace(this.error);
      });
  }
}

/** A page without items has no height but must be fetched. @param {DrawnPage} page */
function isWanted(page) {
  return page.near || page.count === 0;
}
