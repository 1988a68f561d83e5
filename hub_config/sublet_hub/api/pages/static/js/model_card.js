// One model: what it is for, its licence, where it is, what it costs and fits, and a cell to begin with.

import { fill, h } from "./dom.js";
import { accountName, bytes, money, number } from "./format.js";
import { tag } from "./parts.js";

/** An element with a method `update(model)`. `flavors` are the platform's offers, `openLicence(model)` shows the terms. */
export function modelCard(flavors, openLicence) {
  const card = h("article", { class: "card model", tabindex: "-1" });
  let shown = "";
  card.update = (model) => {
    const state = JSON.stringify(model);
    if (state === shown) return;
    shown = state;
    card.setAttribute("aria-label", model.title);
    card.id = `model-${model.name}`;
    fill(card, head(model), model.description && h("p", {}, model.description), facts(model, flavors, openLicence), example(model));
  };
  return card;
}

function head(model) {
  const place = [
    model.served && tag("served", "active", "It can be called from any server, without a GPU of your own."),
    model.on_disk && tag("on disk", "active", "Its files are in every server, read-only: loading one downloads nothing."),
    !model.served && !model.on_disk && tag("not here yet", "ending", "It is in the catalogue, but its files have not been fetched."),
  ];
  return h("div", { class: "card-head" },
    h("div", {}, h("h3", {}, model.title), h("p", { class: "soft small name" }, h("code", {}, model.name), ` ${model.family} · ${model.task}`)),
    h("div", { class: "tags" }, place));
}

function facts(model, flavors, openLicence) {
  return h("dl", { class: "facts" },
    fact("Licence", licence(model, openLicence)),
    model.served && fact("Price", price(model.served)),
    model.served && fact("Context", `${number(model.served.context_tokens)} tokens`),
    fact("Size", size(model)),
    model.on_disk && fact("Fits on", fits(model, flavors)));
}

function fact(name, ...content) {
  return h("div", {}, h("dt", {}, name), h("dd", {}, ...content));
}

function licence(model, openLicence) {
  const { title, url, gated, accepted, accepted_by: by } = model.licence;
  if (!gated) return [h("a", { href: url, rel: "noreferrer", target: "_blank" }, title), " — nothing to accept"];
  const open = (text, kind) => h("button", { type: "button", class: kind, onclick: () => openLicence(model), "aria-label": `${text}: ${model.title}` }, text);
  if (!accepted) return h("div", { class: "terms" }, h("span", {}, title), tag("not accepted", "ending"), open("Read and accept", "small"));
  const whose = by.map((subject) => (subject.startsWith("user:") ? "you" : accountName(subject))).join(", ");
  return h("div", { class: "terms" }, h("span", {}, title), tag(`accepted by ${whose}`, "active"), open("Read", "bare small"));
}

function price({ input_microunits_per_million_tokens: input, output_microunits_per_million_tokens: output, currency }) {
  if (input === 0 && output === 0) return "free";
  return `${money(input, currency)} in, ${money(output, currency)} out, per million tokens`;
}

function size(model) {
  return [
    model.parameters > 0 && `${inWords(model.parameters)} parameters`,
    model.dtype,
    model.memory_bytes > 0 && `${bytes(model.memory_bytes)} of memory`,
    model.size_bytes > 0 && `${bytes(model.size_bytes)} on disk`,
  ].filter(Boolean).join(", ") || "not told";
}

function inWords(count) {
  const [scale, unit] = [[1e9, "billion"], [1e6, "million"]].find(([least]) => count >= least) ?? [1, ""];
  return `${number(count / scale, 1)} ${unit}`.trim();
}

function fits(model, flavors) {
  const names = model.flavors.map((name) => flavors.find((offer) => offer.flavor === name)?.title ?? name);
  if (names.length === 0) {
    return h("span", { class: "no-fit" }, `no flavor here: it needs ${bytes(model.memory_bytes)}`);
  }
  if (flavors.length > 0 && names.length === flavors.length) return "all flavors";
  const others = flavors.filter((offer) => !model.flavors.includes(offer.flavor)).map((offer) => offer.title);
  return others.length ? `${names.join(", ")} — not ${others.join(", ")}` : names.join(", ");
}

function example(model) {
  if (!model.example) return null;
  const code = h("code", {}, model.example);
  const copy = h("button", { type: "button", class: "quiet small", "aria-label": `Copy the example for ${model.title}`, onclick: () => copied(copy, code) }, "Copy");
  return h("details", { class: "example" }, h("summary", {}, "A cell to begin with"), h("div", { class: "cell" }, h("pre", { tabindex: "0" }, code), copy));
}

/** Where the clipboard is not to be had (a page that isn't from this machine and has no TLS), the text is selected. */
async function copied(button, code) {
  try {
    await navigator.clipboard.writeText(code.textContent);
    button.textContent = "Copied";
  } catch {
    getSelection().selectAllChildren(code);
    button.textContent = "Selected: press Ctrl-C";
  }
}
