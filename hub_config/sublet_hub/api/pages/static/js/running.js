// The leases that a person holds now: each a card whose time, GPU time and cost run on by the second.

import { now, stopLease } from "./api.js";
import { h, reconcile, say } from "./dom.js";
import { countdown, deadlineReason, duration, gpus, moment, money, momentText } from "./format.js";
import { everySecond } from "./live.js";
import { ask, empty, payer, served, simulatedTag, tag } from "./parts.js";

/** Show these leases; `titles` maps flavors to what people call them. `changed` is called after a stop. */
export function showRunning(container, leases, titles, changed) {
  document.getElementById("start").hidden = leases.length === 0;
  if (leases.length === 0) {
    container.replaceChildren(empty("No lease is running. Pick a flavor and you are in JupyterLab within seconds.",
      h("a", { class: "button", href: "/hub/spawn" }, "Start a lease")));
    return;
  }
  for (const child of [...container.children]) if (!child.dataset.key) child.remove();
  reconcile(container, leases, (lease) => lease.id, (lease) => card(lease, titles, changed));
}

function fact(label) {
  const big = h("div", { class: "big" });
  const small = h("div", { class: "under" });
  return { element: h("div", { class: "fact" }, h("div", { class: "label" }, label), big, small), big, small };
}

function card(first, titles, changed) {
  let lease = first;
  let readAt = now();
  const title = titles.get(lease.flavor) ?? lease.flavor;
  const state = h("span", { class: "tag" });
  const [ends, used, cost] = [fact("Ends"), fact("GPU time"), fact("Cost so far")];
  const stop = h("button", { type: "button", class: "quiet", onclick: () => confirmStop(lease, title, changed) }, "Stop");
  const open = h("a", { class: "button", href: serverUrl(lease) }, "Open");
  const since = h("div", { class: "under soft small" });
  const element = h("article", { class: "card lease", "aria-label": `Lease of ${title}` },
    h("div", { class: "what" },
      h("div", { class: "title" }, h("h3", {}, title), simulatedTag(lease.simulated)),
      since,
      h("div", { class: "title" }, state, tag(lease.tier), served(lease) ? tag(`serves ${served(lease)}`) : lease.server_name && tag(lease.server_name))),
    ends.element, used.element, cost.element,
    h("div", { class: "buttons" }, lease.kind === "notebook" && open, stop));

  function tick() {
    const at = now();
    const left = (new Date(lease.deadline_at) - at) / 1000;
    say(ends.big, left <= 0 ? "now" : left < 3600 ? `in ${countdown(left)}` : `in ${duration(left)}`);
    const runs = lease.state === "active" ? Math.max(0, (Math.min(at, new Date(lease.deadline_at)) - readAt) / 1000) : 0;
    say(used.big, lease.gpus_milli === 0 ? "—" : countdown(Math.floor(lease.gpu_seconds + (runs * lease.gpus_milli) / 1000)));
    const rate = (lease.price_microunits_per_gpu_hour * lease.gpus_milli) / 1000 / 3600;
    const places = rate === 0 ? 2 : 4;
    say(cost.big, money(lease.cost_microunits + Math.floor(runs * rate), lease.currency, places));
  }

  element.update = (newer) => {
    lease = newer;
    readAt = now();
    say(state, { granted: "starting", active: "running", ending: "ending" }[lease.state] ?? lease.state);
    state.className = `tag ${lease.state}`;
    const started = lease.started_at ?? lease.requested_at;
    since.replaceChildren(`since `, moment(started), `, paid by ${payer(lease) === "own account" ? "your own account" : payer(lease)}`);
    ends.small.replaceChildren("at ", moment(lease.deadline_at), `, ${deadlineReason(lease)}`);
    say(used.small, gpus(lease.gpus_milli));
    const perHour = (lease.price_microunits_per_gpu_hour * lease.gpus_milli) / 1000;
    say(cost.small, `${money(Math.round(perHour), lease.currency)} per hour`);
    stop.disabled = lease.state === "ending";
    tick();
  };
  everySecond(element, tick);
  return element;
}

function serverUrl(lease) {
  const name = lease.server_name ? `${encodeURIComponent(lease.server_name)}/` : "";
  return `/user/${encodeURIComponent(lease.user)}/${name}`;
}

function confirmStop(lease, title, changed) {
  ask({
    title: `Stop ${title}?`,
    body: h("p", {}, served(lease)
      ? "It serves calls of a model: those that run break off, new ones start another server where one is to be had. "
      : "Open documents are saved, then its kernels and terminals end; files in your home stay. ",
      `Without a stop it ends at ${momentText(new Date(lease.deadline_at))}.`),
    confirm: "Stop now",
    act: async () => {
      await stopLease(lease.id, {});
      await changed();
    },
  });
}
