// Warnings before a stop, each with the time that is left and what to do next.

import { now } from "./api.js";
import { h, reconcile, say } from "./dom.js";
import { accountName, countdown, limitName, moment, momentText } from "./format.js";
import { everySecond } from "./live.js";
import { served } from "./parts.js";

const WHY = {
  quota: "Its quota runs out.",
  limit: "It reaches the longest time that a lease may last.",
  reclaim: "The owner of the GPUs takes them back.",
  idle: "It has been idle.",
  admin: "An admin has ended it.",
};
const contact = document.getElementById("main").dataset.contact;
const NEXT = {
  quota: `Save your work. To get more, ask ${contact}; what is left of each quota is below.`,
  limit: "Save your work. You can start a new lease as soon as this one has ended.",
  reclaim: "Save your work. You can start again on another flavor, or on this one when it is free.",
  idle: "Run something to keep it, or save your work and start again later.",
  admin: `Save your work. If you need it for longer, ask ${contact}.`,
};

/** Why it stops: the limit by its name where the lease tells it, else the notice's own words. */
function why(notice, lease) {
  const bound = lease?.deadline_limit;
  if (notice.reason === "quota" && bound) {
    const anew = bound.resets_at ? ` It ${/^P/.test(bound.window) ? "frees up bit by bit from" : "begins anew"} ${momentText(new Date(bound.resets_at))}.` : "";
    return `${limitName(bound)} of ${accountName(bound.subject)} is used up by then.${anew}`;
  }
  return WHY[notice.reason] ?? notice.message;
}

/** Show the newest notice of each lease. `leases` are those open now: their deadline may have moved since. */
export function showNotices(container, notices, leases, titles) {
  const newest = new Map();
  for (const notice of notices) {
    const other = newest.get(notice.lease_id);
    if (!other || notice.written_at > other.written_at) newest.set(notice.lease_id, notice);
  }
  const open = new Map(leases.map((lease) => [lease.id, lease]));
  const shown = [...newest.values()].sort((a, b) => a.deadline_at.localeCompare(b.deadline_at))
    .map((notice) => ({ notice, lease: open.get(notice.lease_id) }));
  reconcile(container, shown, ({ notice }) => notice.lease_id, ({ lease }) => banner(lease, titles));
}

function banner(lease, titles) {
  const title = lease ? titles.get(lease.flavor) ?? lease.flavor : "Your lease";
  let deadline = new Date();
  const heading = h("strong", {}, `${title} stops soon`);
  const message = h("span", {});
  const next = h("span", { class: "soft" });
  const clock = h("span", { role: "timer", "aria-live": "off" });
  const at = h("span", {});
  const element = h("div", { class: "banner warn", role: "alert" },
    h("p", { class: "say" }, heading, message, " ", next),
    h("div", { class: "clock" }, clock, at));
  clock.className = "clock-time";

  function tick() {
    const left = (deadline - now()) / 1000;
    say(clock, left > 0 ? countdown(left) : "stopping");
    element.className = `banner ${left <= 60 ? "bad" : "warn"}`;
  }
  element.update = ({ notice, lease: current }) => {
    const iso = current?.deadline_at ?? notice.deadline_at;
    deadline = new Date(iso);
    say(message, why(notice, current));
    say(next, current && served(current) ? "New calls go to another server, where one is to be had." : NEXT[notice.reason] ?? "");
    at.replaceChildren("left, until ", moment(iso));
    tick();
  };
  everySecond(element, tick);
  return element;
}
