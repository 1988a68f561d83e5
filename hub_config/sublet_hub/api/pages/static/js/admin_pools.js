// Pools: how much of each is leased.

import { fill, h } from "./dom.js";
import { gpus, number } from "./format.js";
import { bar, empty, simulatedTag } from "./parts.js";

export function showPools(container, pools) {
  if (pools.length === 0) {
    fill(container, empty("No pool is set up. Describe your GPUs in sublet.toml, in the platform's data folder, and start Sublet again."));
    return;
  }
  fill(container, pools.map((pool) => h("article", { class: "card", "aria-label": `Pool ${pool.name}` },
    h("div", { class: "card-head" },
      h("h3", {}, pool.name, simulatedTag(pool.simulated)),
      h("span", { class: "soft small" }, pool.gpu_model || "no GPUs")),
    pool.capacity_gpus_milli > 0 ? use(pool) : h("p", { class: "soft" }, leases(pool)))));
}

function use(pool) {
  const text = `${number(pool.leased_gpus_milli / 1000, 3)} of ${gpus(pool.capacity_gpus_milli)} leased`;
  return h("div", { class: "limit" },
    h("div", { class: "limit-head" }, h("span", {}, text), h("strong", {}, pool.free_gpus_milli > 0 ? `${number(pool.free_gpus_milli / 1000, 3)} free` : "full")),
    bar(pool.leased_gpus_milli, 0, pool.capacity_gpus_milli, text),
    h("div", { class: "limit-foot" }, leases(pool)));
}

function leases(pool) {
  return pool.leases === 1 ? "1 live lease" : `${number(pool.leases)} live leases`;
}
