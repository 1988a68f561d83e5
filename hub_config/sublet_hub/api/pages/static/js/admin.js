// The admin page: who holds what, how full the pools are, who may use how much, and who did what.

import * as api from "./api.js";
import { showAudit } from "./admin_audit.js";
import { showLive } from "./admin_leases.js";
import { showPools } from "./admin_pools.js";
import { Quotas } from "./admin_quotas.js";
import { repeat } from "./live.js";
import { Pages, show } from "./parts.js";

const EVERY_MS = 5_000;
const QUOTAS_EVERY_MS = 15_000;
const MOST_LIVE = 1000;
const AUDIT_PAGE = 15;
const OPEN = ["granted", "active", "ending"];

const place = (id) => document.getElementById(id);
const mayWrite = place("main").dataset.writes === "yes";
let live = [];

async function readLive() {
  const found = [];
  for (const state of OPEN) {
    let page = await api.leases({ state, limit: 200 });
    found.push(...page.items);
    while (page.next && found.length < MOST_LIVE) {
      page = await api.following(page.next);
      found.push(...page.items);
    }
  }
  return found.sort((a, b) => a.deadline_at.localeCompare(b.deadline_at));
}

const drawLive = () => showLive(place("live"), live, { find: place("live-find").value, mayWrite, changed: refresh });

const refreshLive = repeat(() => show(place("live"), readLive, (found) => {
  live = found;
  place("live-count").textContent = found.length ? `(${found.length})` : "";
  drawLive();
}, () => refreshLive()), EVERY_MS);

const refreshPools = repeat(() => show(place("pools"), api.pools, (pools) => showPools(place("pools"), pools), () => refreshPools()), EVERY_MS);

const auditPages = new Pages(() => api.audit({ action: place("audit-action").value, limit: AUDIT_PAGE }), api.following);
const refreshAudit = () => show(place("audit"), () => auditPages.load(), (records) => showAudit(place("audit"), records, auditPages, refreshAudit), refreshAudit);

async function refresh() {
  await Promise.all([refreshLive(), refreshPools(), refreshAudit()]);
}

const quotas = new Quotas({ container: place("quotas"), find: place("quotas-find"), mayWrite, changed: refresh });
const refreshQuotas = repeat(() => show(place("quotas"), () => quotas.load(), () => quotas.draw(), () => refreshQuotas()), QUOTAS_EVERY_MS);

place("live-find").addEventListener("input", drawLive);
place("quotas-find").addEventListener("input", () => quotas.draw());
place("quota-add")?.addEventListener("click", () => quotas.add());
place("audit-action").addEventListener("change", () => {
  auditPages.here = null;
  auditPages.before = [];
  refreshAudit();
});
refreshAudit();
