/** What there is to say of a model of the catalogue, as it stands on this server: pure, from what the platform tells. */

import { bytes, money, number, type Words } from "./format";
import type { Lease, Model, Models, Offer } from "./routes";
import { accountName } from "./wording";

export type Kind = "all" | "here" | "served" | "ready";

export interface Filter {
  readonly text: string;
  /** Empty: every family. */
  readonly family: string;
  readonly kind: Kind;
}

export const ALL: Filter = { text: "", family: "", kind: "all" };

/** Families by their names. */
export function families(models: readonly Model[]): string[] {
  return [...new Set(models.map(model => model.family))].sort((a, b) => a.localeCompare(b));
}

/** The models that are looked for: each word of the text is somewhere in what is said of them. */
export function found(
  { models, here }: Models,
  filter: Filter,
  lease: Lease | null,
  offers: readonly Offer[] | null,
) {
  const words = filter.text.toLowerCase().split(/\s+/).filter(Boolean);
  const kinds: Record<Kind, (model: Model) => boolean> = {
    all: () => true,
    here: model => here.includes(model.name),
    served: model => model.served !== null,
    ready: model =>
      model.licence.accepted &&
      (model.served !== null || (here.includes(model.name) && shortOf(model, lease, offers) === null)),
  };
  return models.filter(model => {
    const { name, title, family, task, description, repository } = model;
    const text = [name, title, family, task, description, repository].join(" ").toLowerCase();
    return (
      words.every(word => text.includes(word)) &&
      (!filter.family || family === filter.family) &&
      kinds[filter.kind](model)
    );
  });
}

/**
 * Where a model's files are, seen from this server: `here`; in it from its `next` start; `closed` until the licence is
 * accepted; in the platform's store but `absent` from this server; `none` at all.
 */
export type Place = "here" | "next" | "closed" | "absent" | "none";

export function placeOf(model: Model, here: readonly string[]): Place {
  if (here.includes(model.name)) return "here";
  if (!model.on_disk) return "none";
  if (!model.licence.gated) return "absent";
  return model.licence.accepted ? "next" : "closed";
}

/** What is called out beside a model's title; `lit` is what can be used as it is. */
export function tagsOf(model: Model, place: Place, words: Words): { text: string; lit: boolean }[] {
  const where: Record<Place, string | null> = {
    here: words.__("on this server"),
    next: words.__("on this server from its next start"),
    closed: null, // the licence says so
    absent: words.__("not on this server"),
    none: model.served ? null : words.__("not here yet"),
  };
  const text = where[place];
  return [
    ...(text === null ? [] : [{ text, lit: place === "here" }]),
    ...(model.served ? [{ text: words.__("served"), lit: true }] : []),
  ];
}

/**
 * The names of the flavors with enough memory, where this lease has too little of it to load a model; null where it has
 * enough, or where there is nothing to load or to compare. Which flavors those are is the platform's to say.
 */
export function shortOf(model: Model, lease: Lease | null, offers: readonly Offer[] | null): string[] | null {
  if (lease === null || model.size_bytes === 0 || model.flavors.includes(lease.flavor)) return null;
  // A flavor that is no longer in the catalogue fits nothing there, whatever it has.
  if (offers !== null && !offers.some(({ flavor }) => flavor === lease.flavor)) return null;
  return model.flavors.map(name => offers?.find(({ flavor }) => flavor === name)?.title ?? name);
}

/** Why a model can't be loaded on this lease, and what to do. */
export function shortText(model: Model, enough: readonly string[], words: Words): string {
  const needs = words.__("It needs %1 of memory, which this lease does not have.", bytes(model.memory_bytes));
  const where = enough.length
    ? words.__("It fits: %1.", enough.join(", "))
    : words.__("No flavor here has so much memory.");
  const call = model.served ? words.__("It can be called from here all the same.") : "";
  return [needs, where, call].filter(Boolean).join(" ");
}

/** `1.2B`, `8.4M`: as models are called. */
export function parameters(count: number): string {
  const units: [number, string][] = [
    [1e9, "B"],
    [1e6, "M"],
    [1e3, "k"],
  ];
  const [scale, letter] = units.find(([least]) => count >= least) ?? [1, ""];
  return number(count / scale, 1) + letter;
}

/** How large a model is, in what form. */
export function sizeText(model: Model, words: Words): string {
  const parts = [
    model.parameters > 0 && words.__("%1 parameters", parameters(model.parameters)),
    model.dtype,
    model.size_bytes > 0 && words.__("%1 on disk", bytes(model.size_bytes)),
  ];
  return parts.filter(Boolean).join(", ");
}

/** What a call costs, by tokens. */
export function priceText({ served }: Model, words: Words): string {
  if (!served) return "";
  const { input_microunits_per_million_tokens: input, output_microunits_per_million_tokens: output } = served;
  if (input === 0 && output === 0) return words.__("calls are free");
  const price = (micros: number) => money(micros, served.currency);
  return words.__("%1 in, %2 out, per million tokens", price(input), price(output));
}

/** What loading takes of the GPU's memory. */
export function memoryText({ size_bytes, memory_bytes }: Model, words: Words): string {
  return size_bytes > 0 && memory_bytes > 0 ? words.__("%1 to load it", bytes(memory_bytes)) : "";
}

/** By whom a licence was accepted. */
export function acceptedText(by: readonly string[], words: Words): string {
  const names = by.map(subject => (subject.startsWith("user:") ? words.__("you") : accountName(subject, words)));
  return names.length ? words.__("accepted by %1", names.join(", ")) : words.__("accepted");
}

/** What an acceptance has opened, and what it will. */
export function openedText(model: Model, words: Words): string {
  const calls = model.served ? words.__("Calls work at once.") : "";
  const files = model.size_bytes > 0 ? words.__("Its files are on this server from its next start.") : "";
  return [words.__("Accepted."), calls, files].filter(Boolean).join(" ");
}
