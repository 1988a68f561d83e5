// What an account used of each model: calls, tokens, price.

import { fill, h } from "./dom.js";
import { money, number } from "./format.js";
import { cell, table } from "./parts.js";

const COLUMNS = [
  { name: "Model" }, { name: "Calls", number: true }, { name: "Tokens in", number: true }, { name: "Tokens out", number: true },
  { name: "Cost", number: true },
];

export function showModelUse(container, use) {
  const rows = byModel(use.days).map((each) => h("tr", {},
    cell("Model", {}, h("strong", {}, each.model)),
    cell("Calls", { number: true }, number(each.calls)),
    cell("Tokens in", { number: true }, number(each.input_tokens)),
    cell("Tokens out", { number: true }, number(each.output_tokens)),
    cell("Cost", { number: true }, money(each.cost_microunits, use.currency))));
  fill(container, h("div", { class: "card table-card" }, h("div", { class: "scroll" }, table("Calls of models", COLUMNS, rows))));
}

/** The days together, the most expensive model first. */
function byModel(days) {
  const sums = new Map();
  for (const day of days) {
    const sum = sums.get(day.model) ?? { model: day.model, calls: 0, input_tokens: 0, output_tokens: 0, cost_microunits: 0 };
    for (const name of ["calls", "input_tokens", "output_tokens", "cost_microunits"]) sum[name] += day[name];
    sums.set(day.model, sum);
  }
  return [...sums.values()].sort((a, b) => b.cost_microunits - a.cost_microunits || b.calls - a.calls);
}
