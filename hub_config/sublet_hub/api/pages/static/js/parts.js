// Pieces that both pages are made of: messages, tags, tables, bars, dialogs.

import { fill, h, uniqueId } from "./dom.js";
import { accountName, duration, limitAmount, limitName, moment } from "./format.js";
import { now } from "./api.js";

/** A failed load, in place of what was to be shown, or above it where something older still is. */
export function trouble(problem, retry) {
  return h("div", { class: "banner bad" },
    h("p", { class: "say" }, h("strong", {}, "This could not be read."), problem.message),
    retry && h("button", { type: "button", class: "quiet", onclick: retry }, "Try again"));
}

/** What to see, and what to do, where there is nothing. */
export function empty(sentence, ...actions) {
  return h("div", { class: "empty" }, h("p", {}, sentence), actions.length > 0 && h("p", {}, actions));
}

export function tag(text, kind = "", title = null) {
  return h("span", { class: `tag ${kind}`, title }, text);
}

export function simulatedTag(simulated) {
  return simulated && tag("simulated", "simulated", "There is no hardware behind these GPUs: they are for trying Sublet out.");
}

/** A table that on a phone becomes one block per row. `columns` are `{name, number}`. */
export function table(caption, columns, rows) {
  const head = columns.map(({ name, number }) => h("th", { scope: "col", class: number && "number" },
    name || h("span", { class: "visually-hidden" }, "Actions")));
  return h("table", { class: "stacked" },
    h("caption", { class: "visually-hidden" }, caption),
    h("thead", {}, h("tr", {}, head)),
    h("tbody", {}, rows));
}

/** A cell that says on a phone which column it is of. */
export function cell(label, { number = false, actions = false, whole = false } = {}, ...content) {
  const kind = [number && "number", actions && "actions", whole && "whole", !content.length && "blank"].filter(Boolean).join(" ");
  return h("td", { "data-label": label, class: kind || null }, h("div", {}, ...content));
}

export function under(...content) {
  return h("span", { class: "under" }, ...content);
}

const HELD_FOR = { model_tokens: "calls of models", money_microunits: "running leases and calls" };

/** One limit: how much is left, as words and as a bar of what is used and held. */
export function limitBar(limit, currency) {
  const amount = (value) => limitAmount(limit.what, value, currency);
  if (limit.what === "lease_seconds") {
    return h("div", { class: "limit" },
      h("div", { class: "limit-head" }, h("span", {}, limitName(limit)), h("strong", {}, `up to ${amount(limit.limit)}`)));
  }
  const share = limit.limit > 0 ? limit.left / limit.limit : 0;
  const state = limit.left === 0 ? "full" : share < 0.1 && limit.window ? "near" : "";
  const resets = limit.resets_at && h("span", {}, /^P/.test(limit.window) ? "frees up from " : "begins anew ", moment(limit.resets_at),
    ` (in ${duration((new Date(limit.resets_at) - now()) / 1000)})`);
  const held = limit.held > 0 ? `, ${amount(limit.held)} held for ${HELD_FOR[limit.what] ?? "running leases"}` : "";
  return h("div", { class: `limit ${state}` },
    h("div", { class: "limit-head" }, h("span", {}, limitName(limit)),
      h("strong", { class: "left" }, limit.limit === 0 ? "none allowed" : limit.left === 0 ? "nothing left" : `${amount(limit.left)} left`)),
    bar(limit.used, limit.held, limit.limit, `${limitName(limit)}: ${amount(limit.left)} of ${amount(limit.limit)} left`),
    h("div", { class: "limit-foot" }, h("span", {}, `${amount(limit.used)} of ${amount(limit.limit)} used${held}`), resets));
}

/** A bar of two shares of a whole. Its text alternative is `label`. */
export function bar(used, held, whole, label) {
  const part = (kind, value, before = 0) => {
    const share = whole > 0 ? Math.min(value / whole, 1 - before) : 0;
    if (share <= 0) return null;
    const element = h("i", { class: kind });
    element.style.width = `${100 * share}%`;
    return element;
  };
  return h("div", { class: "bar", role: "img", "aria-label": label },
    part("used", used), part("held", held, whole > 0 ? Math.min(1, used / whole) : 0));
}

export function legend(...entries) {
  return h("div", { class: "legend", "aria-hidden": "true" }, entries.map(([kind, text]) => h("span", {}, h("i", { class: kind }), text)));
}

/**
 * Ask before something is done. `body` are elements to show; `act()` does it, and its failure is shown in the
 * dialog, which then stays. Focus goes back to where it was by itself (HTML dialog).
 */
export function ask({ title, body, confirm, danger = true, act }) {
  const id = uniqueId("dialog");
  const fault = h("p", { class: "field-error form-error", role: "alert" });
  const go = h("button", { type: "submit", class: danger ? "danger" : null }, confirm);
  const cancel = h("button", { type: "button", class: "quiet", onclick: () => dialog.close() }, "Cancel");
  const form = h("form", { method: "dialog", onsubmit: run }, h("h2", { id }, title), body, fault, h("div", { class: "buttons" }, cancel, go));
  const dialog = h("dialog", { "aria-labelledby": id, onclose: () => dialog.remove() }, form);
  async function run(event) {
    event.preventDefault();
    go.disabled = true;
    fault.textContent = "";
    try {
      await act();
      dialog.close();
    } catch (problem) {
      fault.textContent = problem.message;
      go.disabled = false;
    }
  }
  document.body.append(dialog);
  dialog.showModal();
  return dialog;
}

/** Newer and older, for a list whose pages are linked one way: `load(next)` gives `{items, next}`. */
export class Pages {
  constructor(first, following) {
    this.first = first;
    this.following = following;
    this.before = [];
    this.here = null;
    this.next = null;
  }

  async load() {
    const page = this.here === null ? await this.first() : await this.following(this.here);
    this.next = page.next;
    return page.items;
  }

  get number() {
    return this.before.length + 1;
  }

  older() {
    this.before.push(this.here);
    this.here = this.next;
  }

  newer() {
    this.here = this.before.pop() ?? null;
  }

  /** The row under the table, or null where everything is on one page. */
  controls(reload) {
    if (!this.next && this.before.length === 0) return null;
    const go = (step) => () => { step(); reload(); };
    return h("div", { class: "pager" },
      h("button", { type: "button", class: "bare", disabled: this.before.length === 0, onclick: go(() => this.newer()) }, "← Newer"),
      h("span", {}, `Page ${this.number}`),
      h("button", { type: "button", class: "bare", disabled: !this.next, onclick: go(() => this.older()) }, "Older →"));
  }
}

/**
 * Show what `load` gives with `render`, or the failure with a way to try again; tells which. What is shown already stays
 * when a later load fails, with a word above it.
 */
export async function show(container, load, render, retry) {
  try {
    const content = await load();
    render(content);
    container.dataset.loaded = "yes";
    clearTrouble(container);
    return true;
  } catch (problem) {
    if (problem instanceof TypeError || problem instanceof ReferenceError) console.error(problem);
    if (container.dataset.loaded === "yes") raiseTrouble(container, problem);
    else fill(container, trouble(problem, retry));
    return false;
  } finally {
    container.removeAttribute("aria-busy");
  }
}

const troubled = new Set();

function raiseTrouble(container, problem) {
  troubled.add(container);
  const place = document.getElementById("trouble");
  if (!place.firstChild) fill(place, h("p", { class: "banner bad" }, problem.message));
}

function clearTrouble(container) {
  troubled.delete(container);
  if (troubled.size === 0) fill(document.getElementById("trouble"));
}

/** `alice`, or `alice on group lab` where a group pays. */
/** What a lease serves calls of, where it is no user's server: the model, and a few letters for which server. */
export function served(lease) {
  return lease.kind === "worker" && lease.server_name.startsWith("model:") ? lease.server_name.slice("model:".length) : null;
}

export function payer(lease) {
  return lease.account === `user:${lease.user}` ? "own account" : accountName(lease.account);
}
