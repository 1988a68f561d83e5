// The quotas that were set, the default first; each can be edited where it stands.

import * as api from "./api.js";
import { fill, h, reconcile, uniqueId } from "./dom.js";
import { accountName, limitName, moment } from "./format.js";
import { ask, empty, limitBar } from "./parts.js";
import { quotaForm } from "./quota_form.js";

const MOST = 1000;
const SHOWN = 50;

export class Quotas {
  constructor({ container, find, mayWrite, changed }) {
    Object.assign(this, { container, find, mayWrite, changed });
    this.readings = [];
    this.flavors = [];
    this.currency = "USD";
    this.drafts = [];
  }

  async load() {
    const [offers, first] = await Promise.all([this.flavors.length ? null : api.flavors(), api.quotas({ limit: 200 })]);
    if (offers) {
      this.flavors = offers.map((offer) => offer.flavor);
      this.currency = offers[0]?.currency ?? this.currency;
    }
    const found = [...first.items];
    let page = first;
    while (page.next && found.length < MOST) {
      page = await api.following(page.next);
      found.push(...page.items);
    }
    this.readings = found;
  }

  draw() {
    const wanted = this.find.value.trim().toLowerCase();
    const own = this.readings.filter((reading) => reading.subject.toLowerCase().includes(wanted));
    const rest = own.length - SHOWN;
    const items = [...this.drafts.map((draft) => ({ draft, subject: `draft ${draft.id}` })), ...own.slice(0, SHOWN)];
    for (const child of [...this.container.children]) if (!child.dataset.key) child.remove();
    reconcile(this.container, items, (item) => item.subject, (item) => (item.draft ? this.draftCard(item.draft) : new QuotaCard(item, this).element));
    if (!this.readings.some((reading) => reading.subject === "default") && !wanted) {
      this.container.prepend(empty("There is no default quota: who has no quota of their own can lease nothing.",
        this.mayWrite && h("button", { type: "button", onclick: () => this.addDefault() }, "Set a default quota")));
    } else if (items.length === 0) {
      this.container.append(empty(`No quota of its own matches “${this.find.value.trim()}”; the default applies.`));
    }
    if (rest > 0) this.container.append(h("p", { class: "soft" }, `${rest} more; look for a user or group to see them.`));
  }

  async changedQuota() {
    await this.load();
    this.draw();
    await this.changed();
  }

  add(kind = "user") {
    if (this.drafts.length) {
      this.container.querySelector("[data-draft] input, [data-draft] select")?.focus();
      return;
    }
    this.drafts.push({ id: uniqueId("draft"), kind });
    this.draw();
    this.container.querySelector("[data-draft] select")?.focus();
  }

  addDefault() {
    this.drafts = [];
    this.add("default");
  }

  draftCard(draft) {
    const [kindId, nameId] = [uniqueId("kind"), uniqueId("name")];
    const [fault, said] = [h("p", { class: "field-error", id: `${nameId}-fault`, role: "alert" }), uniqueId("title")];
    const kinds = draft.kind === "default" ? [["default", "the default"]] : [["user", "user"], ["group", "group"]];
    const kind = h("select", { id: kindId }, kinds.map(([value, text]) => h("option", { value }, text)));
    const name = h("input", { id: nameId, autocomplete: "off", spellcheck: "false", "aria-describedby": fault.id });
    const base = this.readings.find((reading) => reading.subject === "default") ?? { limits: [], time_zone: "UTC" };
    const close = () => { this.drafts = []; this.draw(); document.getElementById("quota-add")?.focus(); };
    const form = quotaForm({
      reading: base, flavors: this.flavors, currency: this.currency, confirm: "Set this quota", cancel: close,
      save: async (body) => {
        fault.textContent = "";
        name.removeAttribute("aria-invalid");
        const subject = draft.kind === "default" ? "default" : `${kind.value}:${name.value.trim()}`;
        const unknown = (text) => {
          fault.textContent = text;
          name.setAttribute("aria-invalid", "true");
          name.focus();
        };
        if (subject.endsWith(":")) return unknown("Write a name.");
        if (this.readings.some((reading) => reading.subject === subject)) return unknown(`${accountName(subject)} has a quota already; edit it below.`);
        try {
          await api.putQuota(subject, body);
        } catch (problem) {
          if (problem.type === "not-found") return unknown(problem.message);
          throw problem;
        }
        this.drafts = [];
        await this.changedQuota();
        this.container.querySelector(`[data-key="${CSS.escape(subject)}"] button`)?.focus();
      },
    });
    return h("article", { class: "card", "data-draft": true, "aria-labelledby": said },
      h("div", { class: "card-head" }, h("h3", { id: said }, draft.kind === "default" ? "Default quota" : "A quota for one user or group")),
      draft.kind !== "default" && h("div", { class: "edit-foot" },
        h("div", { class: "field" }, h("label", { for: kindId }, "For"), kind),
        h("div", { class: "field" }, h("label", { for: nameId }, "Name"), name, fault)),
      form);
  }
}

/** One quota: shown as bars, or as a form while it is edited. */
class QuotaCard {
  constructor(reading, list) {
    this.reading = reading;
    this.list = list;
    this.editing = false;
    this.titleId = uniqueId("quota");
    this.result = null;
    this.element = h("article", { class: "card", "aria-labelledby": this.titleId });
    this.element.update = (newer) => {
      this.reading = newer;
      if (!this.editing && !this.element.contains(document.activeElement)) this.draw();
    };
    this.draw();
  }

  get title() {
    const name = accountName(this.reading.subject);
    return this.reading.subject === "default" ? "Default quota" : name.charAt(0).toUpperCase() === name.charAt(0) ? name : name;
  }

  draw() {
    const { subject, limits, time_zone: zone } = this.reading;
    const actions = this.list.mayWrite && !this.editing && h("div", { class: "buttons" },
      h("button", { type: "button", class: "quiet", "aria-label": `Edit the quota of ${accountName(subject)}`, onclick: () => this.edit() }, "Edit"),
      subject !== "default" && h("button", { type: "button", class: "quiet", "aria-label": `Delete the quota of ${accountName(subject)}`, onclick: () => this.confirmDelete() }, "Delete…"));
    const shown = subject === "default" ? limits.map((limit) => plain(limit, this.list.currency)) : limits.map((limit) => limitBar(limit, this.list.currency));
    fill(this.element,
      h("div", { class: "card-head" }, h("h3", { id: this.titleId }, this.title, h("span", { class: "soft small" }, zone)), actions),
      this.editing ? this.form() : limits.length ? h("div", { class: "quota-limits" }, shown) : h("p", { class: "soft" }, "Nothing is limited."),
      this.result);
  }

  form() {
    return quotaForm({
      reading: this.reading, flavors: this.list.flavors, currency: this.list.currency, confirm: "Save", cancel: () => this.leave(),
      save: async (body) => {
        const change = await api.putQuota(this.reading.subject, body);
        this.reading = change;
        this.result = outcome(change.leases);
        this.leave();
        await this.list.changedQuota();
      },
    });
  }

  edit() {
    this.editing = true;
    this.result = null;
    this.draw();
    this.element.querySelector("select, input")?.focus();
  }

  leave() {
    this.editing = false;
    this.draw();
    this.element.querySelector("button")?.focus();
  }

  confirmDelete() {
    const { subject } = this.reading;
    ask({
      title: `Delete the quota of ${accountName(subject)}?`,
      body: h("p", {}, "The default's applies from then on, also to leases that run now."),
      confirm: "Delete",
      act: async () => {
        await api.deleteQuota(subject);
        await this.list.changedQuota();
      },
    });
  }
}

/** The default's limits have no use of their own: each account counts for itself. */
function plain(limit, currency) {
  const bar = limitBar({ ...limit, what: limit.what, used: 0, held: 0, left: limit.limit, resets_at: null }, currency);
  const words = bar.querySelector("strong").textContent.replace(/ left$/, "");
  return h("div", { class: "limit" }, h("div", { class: "limit-head" }, h("span", {}, limitName(limit)), h("strong", {}, limit.limit === 0 ? "none" : words)));
}

/** What a change did to leases that run. */
function outcome(leases) {
  const head = h("span", { class: "done" }, "Saved. ");
  if (leases.length === 0) return h("p", { class: "moved", role: "status" }, head, "No running lease's deadline moved.");
  return h("div", { class: "moved", role: "status" }, head, leases.length === 1 ? "One running lease's deadline moved:" : `The deadlines of ${leases.length} running leases moved:`,
    h("ul", {}, leases.map((lease) => h("li", {}, `${lease.user} on ${lease.flavor} now ends at `, moment(lease.deadline_at)))));
}
