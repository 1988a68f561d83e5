// Every live lease, nearest deadline first, and stopping one.

import { now, stopLease } from "./api.js";
import { fill, h, uniqueId } from "./dom.js";
import { deadlineReason, duration, gpuTime, gpus, moment, money } from "./format.js";
import { ask, cell, empty, payer, served, simulatedTag, table, tag, under } from "./parts.js";

const COLUMNS = [
  { name: "User" }, { name: "Flavor" }, { name: "Account" }, { name: "Since" }, { name: "Until" },
  { name: "GPU time", number: true }, { name: "Cost", number: true }, { name: "" },
];
const SHOWN = 100;

/** Show the leases that match what is looked for. `changed` is called after a stop. */
export function showLive(container, leases, { find, mayWrite, changed }) {
  if (leases.length === 0) {
    fill(container, empty("Nobody holds a lease right now."));
    return;
  }
  const words = find.toLowerCase().split(/\s+/).filter(Boolean);
  const found = leases.filter((lease) => {
    const text = `${lease.user} ${lease.account} ${lease.flavor} ${lease.pool} ${lease.tier} ${lease.state} ${lease.id} ${lease.server_name}`.toLowerCase();
    return words.every((word) => text.includes(word));
  });
  if (found.length === 0) {
    fill(container, empty("No live lease matches."));
    return;
  }
  // A redraw must not take the focus from the button that somebody is about to press.
  const focused = container.contains(document.activeElement) ? document.activeElement.dataset.lease : null;
  const rows = found.slice(0, SHOWN).map((lease) => row(lease, mayWrite, changed));
  const more = found.length > SHOWN && h("p", { class: "pager" }, `${found.length - SHOWN} more; look for a user, account or flavor to see them.`);
  fill(container, h("div", { class: "card table-card" }, h("div", { class: "scroll" }, table("Live leases, nearest deadline first", COLUMNS, rows)), more));
  if (focused) container.querySelector(`[data-lease="${CSS.escape(focused)}"]`)?.focus();
}

function row(lease, mayWrite, changed) {
  const left = (new Date(lease.deadline_at) - now()) / 1000;
  return h("tr", {},
    cell("User", {}, h("strong", {}, lease.user), under(served(lease) ? `serves ${served(lease)}` : lease.server_name || "default server")),
    cell("Flavor", {}, lease.flavor, " ", simulatedTag(lease.simulated), under(`${gpus(lease.gpus_milli)}, ${lease.tier}`)),
    cell("Account", {}, payer(lease)),
    cell("Since", {}, moment(lease.started_at ?? lease.requested_at), lease.state !== "active" && under(tag(lease.state === "granted" ? "starting" : lease.state, lease.state))),
    cell("Until", {}, moment(lease.deadline_at), ` (in ${duration(left)})`, under(deadlineReason(lease))),
    cell("GPU time", { number: true }, lease.gpus_milli === 0 ? "—" : gpuTime(lease.gpu_seconds)),
    cell("Cost", { number: true }, money(lease.cost_microunits, lease.currency)),
    mayWrite
      ? cell("", { actions: true }, h("button", {
        type: "button", class: "quiet", "data-lease": lease.id, disabled: lease.state === "ending",
        "aria-label": `Stop the lease of ${lease.user}`, onclick: () => confirmStop(lease, changed),
      }, "Stop…"))
      : cell(""));
}

function confirmStop(lease, changed) {
  const [whyId, name] = [uniqueId("why"), uniqueId("how")];
  const choice = (value, text, checked) => h("label", { class: "check" },
    h("input", { type: "radio", name, value, checked }), h("span", {}, text));
  const how = h("div", { class: "field", role: "radiogroup", "aria-label": "How" },
    choice("notice", "With a notice first, so that work can be saved", true),
    choice("now", "Immediately: it has a few seconds to save", false));
  const why = h("input", { id: whyId, maxlength: "500", placeholder: "maintenance of the machine" });
  ask({
    title: `Stop the lease of ${lease.user}?`,
    body: [
      h("p", { class: "soft" }, `${lease.flavor}, ${lease.tier}, paid by ${payer(lease) === "own account" ? "their own account" : payer(lease)}.`),
      how,
      h("div", { class: "field" }, h("label", { for: whyId }, "Why (kept in the audit record)"), why),
    ],
    confirm: "Stop lease",
    act: async () => {
      await stopLease(lease.id, { immediately: how.querySelector(":checked").value === "now", why: why.value.trim() });
      await changed();
    },
  });
}
