/** What needs attention: the open items, the worst first. */

import { copyable } from "../../components/copyable.js";
import { lookColour, statusIcon } from "../../components/status.js";
import { ageElement, updateTime } from "../../components/time.js";
import { errorText, get, post } from "../../lib/api.js";
import { h, keyed, replace, setAttribute, setText } from "../../lib/dom.js";
import { visible } from "../../lib/format.js";
import { mayChange, readSession } from "../../lib/session.js";
import { apiUrl, jobUrl, machineUrl, nodeUrl } from "../../lib/urls.js";
import { attentionRequest } from "./requests.js";

const FEW = matchMedia("(min-width: 48rem)").matches ? 10 : 5;
const MOST = 500; // of one request

/** @typedef {{items: AttentionItem[], hasMore: boolean, isLong: boolean}} SavedItems */

export class AttentionPanel {
  /**
   * @param {{onCount: (mark: string) => void, refresh: () => void}} options `onCount` gets the number
   *   of open items that have not been acknowledged: "(3) ", or "" for none
   */
  constructor({ onCount, refresh }) {
    this.onCount = onCount;
    this.refreshPage = refresh;
    /** @type {AttentionItem[] | null} */
    this.items = null;
    this.hasMore = false;
    this.isLong = false;
    /** @type {boolean | null} */
    this.mayAcknowledge = null;
    this.head = h("h2", { tabindex: -1 }, "Needs attention");
    this.calm = h("p", { class: "attention-calm muted" }, "Looking for what needs attention …");
    this.list = h("ul", { class: "attention-list" });
    this.more = h("button", {
      type: "button",
      class: "button button-quiet",
      hidden: true,
      on: { click: () => this.#toggleLength() },
    });
    this.seenTitle = h("summary");
    this.seen = h("ul", { class: "attention-list" });
    this.seenFold = h(
      "details",
      { class: "disclosure attention-seen", hidden: true },
      this.seenTitle,
      this.seen,
    );
    this.status = h("p", { class: "visually-hidden", role: "status" });
    this.node = h(
      "section",
      { class: "card attention" },
      h("div", { class: "section-head" }, this.head, this.more),
      this.calm,
      this.list,
      this.seenFold,
      this.status,
    );
  }

  /** A failure is shown here and leaves the rest of the page as it is. @param {AbortSignal} signal */
  async refresh(signal) {
    try {
      const request = attentionRequest(this.isLong ? MOST : undefined);
      const { data, notModified } = await get(...request, { signal });
      if (signal.aborted) return;
      if (!notModified || !this.items) this.#show(data.items, data.next_cursor !== null);
      await this.#readSession();
    } catch (error) {
      if (signal.aborted) throw error;
      if (!this.items) replace(this.calm, errorText(error));
    }
  }

  /** @returns {SavedItems | null} */
  save() {
    return this.items && { items: this.items, hasMore: this.hasMore, isLong: this.isLong };
  }

  /** @param {SavedItems | null} saved */
  restore(saved) {
    if (!saved) return;
    this.isLong = saved.isLong;
    this.#show(saved.items, saved.hasMore);
  }

  async #readSession() {
    if (this.mayAcknowledge !== null || !this.items?.length) return;
    this.mayAcknowledge = mayChange(await readSession());
    this.#render();
  }

  /** @param {AttentionItem[]} items @param {boolean} hasMore */
  #show(items, hasMore) {
    this.items = items;
    this.hasMore = hasMore;
    this.#render();
  }

  #render() {
    const items = this.items ?? [];
    const fresh = items.filter((item) => item.acknowledged_at === null);
    const seen = items.filter((item) => item.acknowledged_at !== null);
    const number = `${fresh.length}${this.hasMore ? "+" : ""}`;
    const isCalm = !fresh.length && !this.hasMore;
    setText(this.head, isCalm ? "Needs attention" : `Needs attention (${number})`);
    this.onCount(isCalm ? "" : `(${number}) `);
    this.calm.hidden = !isCalm;
    replace(
      this.calm,
      statusIcon("completed"),
      seen.length ? "Nothing new needs attention." : "Nothing needs attention.",
    );
    const update = (/** @type {HTMLElement} */ node, /** @type {AttentionItem} */ item) =>
      updateRow(node, item, this.mayAcknowledge);
    const make = (/** @type {AttentionItem} */ item) => {
      const node = makeRow(item, () => this.#acknowledge(item.id));
      update(node, item);
      return node;
    };
    const shown = this.isLong ? fresh : fresh.slice(0, FEW);
    keyed(this.list, shown, ({ id }) => id, make, update);
    keyed(this.seen, seen, ({ id }) => id, make, update);
    this.more.hidden = fresh.length <= FEW && !this.hasMore;
    setText(this.more, this.isLong ? `Show the first ${FEW}` : `Show all ${number}`);
    this.seenFold.hidden = !seen.length;
    setText(this.seenTitle, `Acknowledged (${seen.length})`);
  }

  #toggleLength() {
    this.isLong = !this.isLong;
    this.#render();
    if (this.hasMore) this.refreshPage();
  }

  /** @param {number} id */
  async #acknowledge(id) {
    const row = rowOf(this.list, id);
    const next = row?.nextElementSibling ?? row?.previousElementSibling;
    try {
      /** @type {AttentionItem} */
      const answer = await post(`/attention/${id}/acknowledge`, {});
      this.#show(
        (this.items ?? []).map((item) => (item.id === id ? answer : item)),
        this.hasMore,
      );
      setText(this.status, `Acknowledged: ${subjectOf(answer).text}`);
      const target = next?.isConnected ? next.querySelector("button") : null;
      (target ?? this.head).focus();
      this.refreshPage(); // what was requested before would show it as it was
    } catch (error) {
      if (row) showProblem(row, errorText(error));
    }
  }
}

/** @param {HTMLElement} list @param {number} id @returns {HTMLElement | null} */
const rowOf = (list, id) => list.querySelector(`[data-item="${id}"]`);

/**
 * What an item is about, and its address: a run, else a node or a machine.
 * @param {AttentionItem} item
 */
export function subjectOf({
  kind,
  job_id: id,
  run,
  node_id: node,
  vm_name: machine,
  job_type: type,
}) {
  if (id !== null) {
    const number = run ?? 1;
    const text = number > 1 ? `${id} · run ${number}` : id;
    // The newest run may be another one.
    return { text, href: jobUrl({ job_id: id, run: number, runs: 2 }) };
  }
  if (node !== null) return { text: node, href: nodeUrl(node) };
  if (machine !== null) return { text: machine, href: machineUrl(machine) };
  return { text: kind === "hub" ? "This hub" : (type ?? "This hub"), href: null };
}

/** "node offline". @param {AttentionItem} item */
const kindText = ({ kind }) => kind.replaceAll("_", " ");

/** "ann", "ann: the disk is on its way". @param {AttentionItem} item */
export const noteText = ({ acknowledged_by: by, note }) => [by, note].filter(Boolean).join(": ");

/** @type {WeakMap<HTMLElement, ReturnType<typeof makeParts>>} */
const parts = new WeakMap();

/** @param {() => void} acknowledge */
const makeParts = (acknowledge) => ({
  badge: h("span", { class: "badge" }),
  subject: h("span", { class: "attention-subject" }),
  about: h("p", { class: "muted small" }),
  since: ageElement(null),
  summary: h("p", { dir: "auto" }),
  advice: h("p", { class: "muted small" }),
  seen: h("p", { class: "small", hidden: true }),
  button: h(
    "button",
    { type: "button", class: "button", on: { click: acknowledge } },
    "Acknowledge",
  ),
  how: h("details", { class: "disclosure attention-how", hidden: true }),
  problem: h("p", { class: "error-text small", role: "alert", hidden: true }),
});

/** @param {AttentionItem} item @param {() => void} acknowledge */
function makeRow(item, acknowledge) {
  const part = makeParts(acknowledge);
  const { text, href } = subjectOf(item);
  const subject = h("bdi", null, visible(text));
  part.subject.append(href ? h("a", { href }, subject) : subject);
  const node = h(
    "li",
    { class: "attention-item", dataset: { item: item.id } },
    part.badge,
    h("div", { class: "attention-what" }, part.subject, part.about),
    h("div", { class: "attention-why" }, part.summary, part.advice, part.seen, part.problem),
    part.since,
    h("div", { class: "attention-act no-print" }, part.button, part.how),
  );
  parts.set(node, part);
  return node;
}

/** @param {HTMLElement} node @param {AttentionItem} item @param {boolean | null} mayAcknowledge */
function updateRow(node, item, mayAcknowledge) {
  const part = parts.get(node);
  if (!part) return;
  const { text } = subjectOf(item);
  if (part.badge.dataset.severity !== item.severity) {
    Object.assign(part.badge.dataset, { severity: item.severity, look: lookColour(item.severity) });
    replace(
      part.badge,
      statusIcon(item.severity),
      h("span", { class: "visually-hidden" }, `${item.severity}: `),
      kindText(item),
    );
  }
  const about = [item.vm_name, item.job_type, item.repository_id].filter(
    (name) => name && name !== text,
  );
  if (part.about.dataset.key !== about.join("\0")) {
    part.about.dataset.key = about.join("\0");
    replace(
      part.about,
      about.map((name, index) => [index ? " · " : "", h("bdi", null, visible(name))]),
    );
  }
  updateTime(part.since, item.since);
  setText(part.summary, item.summary);
  setText(part.advice, item.advice);
  const isSeen = item.acknowledged_at !== null;
  part.seen.hidden = !isSeen;
  if (isSeen) replace(part.seen, "Acknowledged by ", h("bdi", null, noteText(item)));
  part.button.hidden = isSeen || mayAcknowledge !== true;
  setAttribute(part.button, "aria-label", `Acknowledge ${kindText(item)} of ${text}`);
  part.how.hidden = isSeen || mayAcknowledge !== false;
  if (!part.how.hidden && !part.how.childElementCount) replace(part.how, howTo(item));
}

/** How to acknowledge an item elsewhere. @param {AttentionItem} item */
function howTo(item) {
  const url = new URL(apiUrl(`/attention/${item.id}/acknowledge`), location.href);
  const command =
    `curl -X POST ${url} -H "Authorization: Bearer $TOKEN" ` +
    `-H "Content-Type: application/json" -d '{"note": "known"}'`;
  return [
    h(
      "summary",
      null,
      "Acknowledge …",
      h("span", { class: "visually-hidden" }, ` ${kindText(item)} of ${subjectOf(item).text}`),
    ),
    h("p", { class: "small" }, "This browser may only read. With a token of scope admin:"),
    copyable(command, { label: "command", shown: h("code", { class: "small" }, command) }),
  ];
}

/** @param {HTMLElement} row @param {string} text */
function showProblem(row, text) {
  const part = parts.get(row);
  if (!part) return;
  part.problem.hidden = false;
  setText(part.problem, `Not acknowledged: ${text}`);
}
