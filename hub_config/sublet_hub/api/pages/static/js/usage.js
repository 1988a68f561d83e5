// The usage page: what I hold, what is left, what I used.

import * as api from "./api.js";
import { fill, h } from "./dom.js";
import { showUsage } from "./chart.js";
import { accountName, duration, endReason, gpuTime, moment, money } from "./format.js";
import { repeat } from "./live.js";
import { showModelUse } from "./model_use.js";
import { showNotices } from "./notices.js";
import { Pages, cell, empty, legend, limitBar, payer, served, show, simulatedTag, table, tag, under } from "./parts.js";
import { showRunning } from "./running.js";

const QUOTA_EVERY_MS = 10_000;
const QUOTA_WHILE_CHANGING_MS = 2_000;
const NOTICES_EVERY_MS = 2_500;
const USAGE_EVERY_MS = 60_000;
const HISTORY_PAGE = 10;
const DAYS = 30;

const place = (id) => document.getElementById(id);
const user = place("main").dataset.user;
const titles = new Map();
let openLeases = [];
let lastNotices = "";
let account = `user:${user}`;

const history = new Pages(() => api.leases({ user, limit: HISTORY_PAGE }), api.following);

const refreshQuota = repeat(async () => {
  const read = await show(place("running"), api.quota, showQuota, () => refreshQuota());
  const left = place("left");
  if (!read && left.hasAttribute("aria-busy")) {
    left.removeAttribute("aria-busy");
    fill(left, h("p", { class: "soft" }, "Not known until Sublet answers."));
  }
}, () => (openLeases.some((lease) => lease.state !== "active") ? QUOTA_WHILE_CHANGING_MS : QUOTA_EVERY_MS));

function showQuota(reading) {
  const before = openLeases.map((lease) => `${lease.id} ${lease.state}`).join();
  openLeases = reading.leases;
  showRunning(place("running"), openLeases, titles, refreshQuota);
  showLeft(reading);
  offerAccounts(reading.accounts);
  if (before !== openLeases.map((lease) => `${lease.id} ${lease.state}`).join()) refreshHistory();
}

repeat(async () => {
  let notices;
  try {
    notices = (await api.notices()).filter((notice) => notice.user === user);
  } catch {
    return; // The other reads say so; an old notice stays, its clock runs on.
  }
  const seen = notices.map((notice) => `${notice.id} ${notice.deadline_at}`).join();
  if (seen !== lastNotices) await refreshQuota();
  lastNotices = seen;
  showNotices(place("notices"), notices, openLeases, titles);
}, NOTICES_EVERY_MS);

const refreshUsage = repeat(async () => {
  await show(place("days"), () => api.usage(account, DAYS), (usage) => showUsage(place("days"), usage), () => refreshUsage());
  const since = new Date(api.now() - (DAYS - 1) * 86_400_000).toISOString();
  await show(place("calls"), () => api.modelUse(account, since), (use) => {
    place("calls-section").hidden = use.days.length === 0;
    showModelUse(place("calls"), use);
  }, () => refreshUsage());
}, USAGE_EVERY_MS);

function refreshHistory() {
  return show(place("history"), () => history.load(), showHistory, refreshHistory);
}
refreshHistory();

// Names for people are a nicety: without them a flavor shows by its own name.
api.flavors().then((offers) => {
  for (const offer of offers) titles.set(offer.flavor, offer.title);
  place("running").replaceChildren();
  return Promise.all([refreshQuota(), refreshHistory()]);
}).catch(() => {});

function showLeft(reading) {
  const container = place("left");
  container.removeAttribute("aria-busy");
  const cards = reading.accounts.map((quota) => h("article", { class: "card", "aria-label": `Account ${accountName(quota.subject)}` },
    h("div", { class: "card-head" }, h("h3", {}, quota.subject === `user:${user}` ? "Your own account" : `Account of ${accountName(quota.subject)}`),
      h("span", { class: "soft small" }, quota.own ? "own quota" : "default quota")),
    quota.limits.length === 0
      ? h("p", { class: "soft" }, "Nothing limits this account.")
      : quota.limits.map((limit) => limitBar(limit, reading.currency)),
    quota.limits.some((limit) => limit.window) && legend(["used", "used"], ["held", "held ahead of use"], ["", "left"])));
  if (cards.length) fill(container, cards);
  else fill(container, empty(`No quota is set for you, so no lease can be started. Ask ${place("main").dataset.contact} for one.`));
}

function offerAccounts(accounts) {
  const select = place("account");
  const names = accounts.map((quota) => quota.subject);
  place("account-label").hidden = names.length < 2;
  if (names.join() === [...select.options].map((option) => option.value).join()) return;
  fill(select, names.map((name) => h("option", { value: name, selected: name === account }, name === `user:${user}` ? "your own" : accountName(name))));
}

place("account").addEventListener("change", (event) => {
  account = event.target.value;
  refreshUsage();
});

const COLUMNS = [
  { name: "Flavor" }, { name: "Account" }, { name: "Began" }, { name: "Ended" },
  { name: "Lasted", number: true }, { name: "GPU time", number: true }, { name: "Cost", number: true },
];

function showHistory(leases) {
  if (leases.length === 0 && history.number === 1) {
    fill(place("history"), empty("You have had no lease yet.", h("a", { class: "button", href: "/hub/spawn" }, "Start one")));
    return;
  }
  const rows = leases.map(row);
  fill(place("history"), h("div", { class: "card table-card" },
    h("div", { class: "scroll" }, table("Your leases, newest first", COLUMNS, rows)), history.controls(refreshHistory)));
}

function row(lease) {
  const isOpen = ["granted", "active", "ending"].includes(lease.state);
  const began = lease.started_at ?? lease.requested_at;
  const ended = lease.ended_at ?? (isOpen ? api.now().toISOString() : began);
  return h("tr", {},
    cell("Flavor", {}, h("strong", {}, titles.get(lease.flavor) ?? lease.flavor), " ", simulatedTag(lease.simulated), under(served(lease) ? `${lease.tier}, serves ${served(lease)}` : lease.tier)),
    cell("Account", {}, payer(lease)),
    cell("Began", {}, moment(began)),
    isOpen
      ? cell("Ended", {}, tag({ granted: "starting", active: "running", ending: "ending" }[lease.state], lease.state))
      : cell("Ended", {}, lease.ended_at ? moment(lease.ended_at) : "—", under(endReason(lease))),
    cell("Lasted", { number: true }, duration((new Date(ended) - new Date(began)) / 1000)),
    cell("GPU time", { number: true }, lease.gpus_milli === 0 ? "—" : gpuTime(lease.gpu_seconds)),
    cell("Cost", { number: true }, money(lease.cost_microunits, lease.currency)));
}
