/**
 * An endless list by cursor of which only the part near the window is in the page.
 *
 * Pages away from it are empty boxes of the same height, neither drawn nor refreshed; they are
 * fetched anew as they come near. So a list of 10,000 jobs costs no more than one of 200.
 */

import { h, keyed, replace, setAttribute } from "./dom.js";

const NEAR = "900px"; // so far beyond the window pages are kept, and the next one is fetched

/**
 * @typedef {Object} Page
 * @property {?string} cursor where it begins; null: the first
 * @property {?string} next where the next one begins; undefined until it is known
 * @property {HTMLElement} node
 * @property {number} count its items
 * @property {boolean} near
 * @property {boolean} filled
 */

export class PagedList {
  /**
   * @param {{fetchPage: function(?string, AbortSignal): Promise<{data: Object, notModified: boolean}>,
   *   key: function(any): string, make: function(any): Element, update: function(Element, any): void,
   *   onChange?: function(PagedList): void, moreLabel?: string}} options
   */
  constructor({ fetchPage, key, make, update, onChange = () => {}, moreLabel = "Show more" }) {
    Object.assign(this, { fetchPage, key, make, update, onChange });
    this.pages = [];
    this.body = h("div", { class: "pages", role: "presentation" });
    this.more = h(
      "button",
      {
        type: "button",
        class: "button more no-print",
        hidden: true,
        on: { click: () => this.#loadMore({ byHand: true }) },
      },
      moreLabel,
    );
    this.error = h("div", { role: "status" });
    this.foot = h("div", { class: "list-foot" }, this.error, this.more);
    this.observer = new IntersectionObserver((entries) => this.#moved(entries), {
      rootMargin: `${NEAR} 0px`,
    });
    this.observer.observe(this.more);
    this.controller = new AbortController();
  }

  /** Whether the first page is there and holds nothing. */
  get isEmpty() {
    return this.pages.length === 1 && this.pages[0].filled && this.pages[0].count === 0;
  }

  get isLoaded() {
    return this.pages.some((page) => page.next !== undefined);
  }

  /** Bring what is near the window up to date. */
  async refresh(signal) {
    if (!this.pages.length) this.#append(null);
    for (let index = 0; index < this.pages.length; index += 1) {
      const page = this.pages[index];
      if (isWanted(page)) await this.#fill(page, signal);
      if (signal.aborted) return;
    }
  }

  /** Forget all, to begin anew with other filters. What is shown stays until the first answer. */
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

  /** Where the reader is, to be given to `restore` of a later list. */
  remember() {
    return this.pages.map(({ cursor, next, node, count }) => ({
      cursor,
      next,
      count,
      height: node.offsetHeight,
    }));
  }

  /** Empty boxes as high as the pages were. */
  restore(remembered) {
    for (const { cursor, next, count, height } of remembered) {
      const page = this.#append(cursor);
      Object.assign(page, { next, count, near: false });
      page.node.style.setProperty("height", `${height}px`);
    }
    this.#renumber();
  }

  #append(cursor) {
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

  #drop(page) {
    this.observer.unobserve(page.node);
    page.node.remove();
  }

  async #fill(page, signal) {
    const { data, notModified } = await this.fetchPage(page.cursor, signal);
    if (signal.aborted || !this.pages.includes(page)) return;
    // Scrolled past while it was fetched: it stays an empty box.
    if (isWanted(page) && !(notModified && page.filled)) this.#draw(page, data.items);
    page.next = data.next_cursor;
    this.#chain(page);
    this.onChange(this);
  }

  #draw(page, items) {
    keyed(page.node, items, this.key, this.make, this.update);
    page.node.style.removeProperty("height");
    Object.assign(page, { count: items.length, filled: true });
    this.#renumber();
  }

  /** The next page begins where this one ends, also once a job was added or left. */
  #chain(page) {
    const index = this.pages.indexOf(page);
    const following = this.pages[index + 1];
    if (page.next === null) {
      for (const dropped of this.pages.splice(index + 1)) this.#drop(dropped);
    } else if (following && following.cursor !== page.next) {
      following.cursor = page.next;
    }
    const wasHidden = this.more.hidden;
    this.more.hidden = typeof this.pages.at(-1).next !== "string";
    // An observer tells of changes only: a button that is still in sight would not be told again.
    if (!this.more.hidden && wasHidden) this.#watchMore();
  }

  #watchMore() {
    this.observer.unobserve(this.more);
    this.observer.observe(this.more);
  }

  #renumber() {
    let row = 2; // the first is that of the columns' names
    for (const page of this.pages) {
      for (const child of page.node.children) setAttribute(child, "aria-rowindex", row++);
      if (!page.filled) row += page.count;
    }
  }

  #moved(entries) {
    for (const { target, isIntersecting } of entries) {
      if (target === this.more) {
        if (isIntersecting) this.#loadMore({ byHand: false });
        continue;
      }
      const page = this.pages.find(({ node }) => node === target);
      if (!page || page.near === isIntersecting) continue;
      page.near = isIntersecting;
      if (isIntersecting) this.#comesNear(page);
      else if (!page.node.contains(document.activeElement)) this.#empty(page);
    }
  }

  /** What is filled still has been kept up to date until now, and will be. */
  #comesNear(page) {
    if (!page.filled) this.#soon(() => this.#fill(page, this.controller.signal));
  }

  #empty(page) {
    const height = page.node.offsetHeight;
    if (!page.filled || height === 0) return; // the whole list is hidden
    page.node.style.setProperty("height", `${height}px`);
    keyed(page.node, [], this.key, this.make);
    page.filled = false;
  }

  #loadMore({ byHand }) {
    const last = this.pages.at(-1);
    if (!last || typeof last.next !== "string") return;
    const page = this.#append(last.next);
    this.more.hidden = true;
    this.#soon(async () => {
      await this.#fill(page, this.controller.signal);
      if (byHand) page.node.querySelector("a")?.focus();
    }, page);
  }

  /** Fetch outside the rhythm of the refreshes; a failure of a new page can be tried again. */
  #soon(fetch, added) {
    const { signal } = this.controller;
    fetch()
      .catch((error) => {
        if (signal.aborted) return;
        if (added) {
          this.#drop(added);
          this.pages = this.pages.filter((page) => page !== added);
          replace(this.error, h("p", { class: "error-text" }, error.detail ?? String(error)));
          this.more.hidden = false;
        }
      })
      .then(() => {
        if (added?.filled) replace(this.error);
      });
  }
}

/** A page without items is nowhere, and yet must be asked for: the first ones may come. */
function isWanted(page) {
  return page.near || page.count === 0;
}
