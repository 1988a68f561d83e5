// The models page: what there is, on what terms, and a licence to accept.

import * as api from "./api.js";
import { fill, h, reconcile, say } from "./dom.js";
import { number } from "./format.js";
import { acceptLicence } from "./licence.js";
import { modelCard } from "./model_card.js";
import { empty, show } from "./parts.js";

const place = (id) => document.getElementById(id);
const { user, contact, groups } = place("main").dataset;
const payers = [`user:${user}`, ...JSON.parse(groups)];
let models = [];
let flavors = [];

async function load() {
  // Names of flavors for people are a nicety: without them a flavor shows by its own name.
  const [found, offers] = await Promise.all([api.models(), api.flavors().catch(() => [])]);
  flavors = offers;
  return found;
}

function refresh() {
  return show(place("models"), load, (found) => {
    models = found;
    offerFamilies();
    showFound();
    goToNamed();
  }, refresh);
}

function offerFamilies() {
  const select = place("family");
  const chosen = select.value;
  const families = [...new Set(models.map((model) => model.family))].sort((a, b) => a.localeCompare(b));
  fill(select, h("option", { value: "" }, "all"), families.map((name) => h("option", { value: name, selected: name === chosen }, name)));
  place("filters").hidden = models.length === 0;
}

const KINDS = {
  "": () => true,
  served: (model) => model.served !== null,
  disk: (model) => model.on_disk,
  ready: (model) => model.licence.accepted && (model.served !== null || model.flavors.length > 0),
};

function matches(model) {
  const words = place("find").value.toLowerCase().split(/\s+/).filter(Boolean);
  const text = [model.name, model.title, model.family, model.task, model.description, model.repository].join(" ").toLowerCase();
  const family = place("family").value;
  return words.every((word) => text.includes(word)) && (!family || model.family === family) && KINDS[place("kind").value](model);
}

function showFound() {
  const container = place("models");
  if (models.length === 0) {
    fill(container, empty(`There are no models here yet. ${sentenceFor(contact)} can set them up in models.toml.`));
    return;
  }
  const found = models.filter(matches);
  say(place("count"), found.length === models.length ? `${number(models.length)} models` : `${number(found.length)} of ${number(models.length)} models`);
  if (found.length === 0) {
    fill(container, empty("No model is like that.", h("button", { type: "button", class: "quiet", onclick: clearFilters }, "Show all")));
    return;
  }
  reconcile(container, found, (model) => model.name, () => modelCard(flavors, openLicence));
}

function sentenceFor(name) {
  return name.charAt(0).toUpperCase() + name.slice(1);
}

function clearFilters() {
  for (const id of ["find", "family", "kind"]) place(id).value = "";
  showFound();
  place("find").focus();
}

function openLicence(model) {
  return acceptLicence(model, payers, refresh);
}

/** A link such as `models?model=llama-3.3-70b`, as a refused call carries it (or with `#`), leads to that model, and opens
 *  what is to be accepted. */
let gone = null;
function goToNamed() {
  const name = decodeURIComponent(location.hash.slice(1)) || new URLSearchParams(location.search).get("model");
  if (!name || gone === name) return;
  gone = name;
  const card = [...place("models").children].find((child) => child.dataset.key === name);
  if (!card) return;
  card.scrollIntoView({ block: "center" });
  card.focus({ preventScroll: true });
  const model = models.find((each) => each.name === name);
  if (!model.licence.accepted) openLicence(model);
}

for (const id of ["find", "family", "kind"]) place(id).addEventListener("input", showFound);
addEventListener("hashchange", () => { gone = null; goToNamed(); });
refresh();
