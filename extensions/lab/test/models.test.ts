import { expect, test } from "vitest";

import {
  acceptedText,
  ALL,
  families,
  found,
  memoryText,
  openedText,
  parameters,
  placeOf,
  priceText,
  shortOf,
  shortText,
  sizeText,
  tagsOf,
} from "../src/models";
import type { Model, Offer } from "../src/routes";
import { lease } from "./states";
import { words } from "./words";

const MIT = { name: "mit", title: "MIT License", version: "1", url: "https://example.org/mit" };
const GIB = 2 ** 30;

function model(name: string, changes: Partial<Model> = {}): Model {
  return {
    name,
    title: name,
    family: "Llama",
    task: "text-generation",
    description: "",
    repository: "",
    revision: "main",
    parameters: 1_200_000_000,
    dtype: "bfloat16",
    memory_bytes: 3 * GIB,
    size_bytes: 2.5 * GIB,
    loader: "transformers",
    formats: ["safetensors"],
    on_disk: true,
    served: null,
    flavors: ["cpu", "h100-2x"],
    licence: { ...MIT, gated: false, accepted: true, accepted_by: [] },
    example: "import sublet",
    ...changes,
  };
}

const served: Model["served"] = {
  context_tokens: 8192,
  output_tokens_max: 1024,
  input_microunits_per_million_tokens: 100_000,
  output_microunits_per_million_tokens: 300_000,
  currency: "USD",
};
const offers = [
  { flavor: "cpu", title: "CPU" },
  { flavor: "h100-2x", title: "2 × H100" },
  { flavor: "slice", title: "A slice" },
] as Offer[];
const closed = { ...MIT, gated: true, accepted: false, accepted_by: [] };
const opened = { ...closed, accepted: true, accepted_by: ["user:ada", "group:lab"] };

const tiny = model("tiny-llama", { served });
const sam = model("sam-2", { family: "SAM", task: "segmentation", description: "Cuts out what is in a picture." });
const gated = model("llama-big", { licence: closed, served });
const remote = model("llama-huge", { size_bytes: 0, on_disk: false, served });
const list = { models: [tiny, sam, gated, remote], here: ["tiny-llama", "sam-2"] };
const names = (models: Model[]) => models.map(({ name }) => name);

test("each word that is looked for is somewhere in what is said of a model", () => {
  const text = (text: string) => names(found(list, { ...ALL, text }, lease(), offers));
  expect(text("")).toEqual(["tiny-llama", "sam-2", "llama-big", "llama-huge"]);
  expect(text("  PICTURE cuts ")).toEqual(["sam-2"]);
  expect(text("llama segmentation")).toEqual([]);
});

test("families and where a model can be used narrow the list down", () => {
  expect(families(list.models)).toEqual(["Llama", "SAM"]);
  const only = (changes: object) => names(found(list, { ...ALL, ...changes }, lease(), offers));
  expect(only({ family: "SAM" })).toEqual(["sam-2"]);
  expect(only({ kind: "here" })).toEqual(["tiny-llama", "sam-2"]);
  expect(only({ kind: "served" })).toEqual(["tiny-llama", "llama-big", "llama-huge"]);
  expect(only({ kind: "ready" })).toEqual(["tiny-llama", "sam-2", "llama-huge"]);
  const onSlice = lease({ flavor: "slice" });
  expect(names(found(list, { ...ALL, kind: "ready" }, onSlice, offers))).toEqual(["tiny-llama", "llama-huge"]);
});

test.each([
  [tiny, ["tiny-llama"], "here", ["on this server", "served"]],
  [sam, [], "absent", ["not on this server"]],
  [gated, [], "closed", ["served"]],
  [model("a", { licence: opened }), [], "next", ["on this server from its next start"]],
  [remote, [], "none", ["served"]],
  [model("b", { on_disk: false }), [], "none", ["not here yet"]],
])("where the files of %o are", (each, here, place, tags) => {
  expect(placeOf(each, here)).toBe(place);
  expect(tagsOf(each, placeOf(each, here), words).map(({ text }) => text)).toEqual(tags);
});

test("what does not fit says so before it is tried, with what would do", () => {
  const onSlice = lease({ flavor: "slice" });
  expect(shortOf(sam, onSlice, offers)).toEqual(["CPU", "2 × H100"]);
  expect(shortText(sam, ["CPU", "2 × H100"], words)).toBe(
    "It needs 3 GiB of memory, which this lease does not have. It fits: CPU, 2 × H100.",
  );
  expect(shortText(gated, [], words)).toBe(
    "It needs 3 GiB of memory, which this lease does not have. No flavor here has so much memory. " +
      "It can be called from here all the same.",
  );
});

test("nothing is said of memory where nothing is known, or nothing is loaded", () => {
  const onSlice = lease({ flavor: "slice" });
  expect(shortOf(sam, lease(), offers)).toBeNull();
  expect(shortOf(sam, null, offers)).toBeNull();
  expect(shortOf(remote, onSlice, offers)).toBeNull();
  expect(shortOf(sam, lease({ flavor: "retired" }), offers)).toBeNull();
  // Titles are a nicety: without the offers flavors show by their names.
  expect(shortOf(sam, onSlice, null)).toEqual(["cpu", "h100-2x"]);
});

test("sizes and prices", () => {
  expect([parameters(1_235_814_400), parameters(8_405_568), parameters(999)]).toEqual(["1.2B", "8.4M", "999"]);
  expect(sizeText(sam, words)).toBe("1.2B parameters, bfloat16, 2.5 GiB on disk");
  expect(sizeText(model("c", { parameters: 0, dtype: "", size_bytes: 0 }), words)).toBe("");
  expect(priceText(tiny, words)).toBe("$0.10 in, $0.30 out, per million tokens");
  expect(priceText(sam, words)).toBe("");
  expect([memoryText(sam, words), memoryText(remote, words)]).toEqual(["3 GiB to load it", ""]);
  const free = { ...served, input_microunits_per_million_tokens: 0, output_microunits_per_million_tokens: 0 };
  expect(priceText(model("d", { served: free, size_bytes: 0 }), words)).toBe("calls are free");
});

test("who accepted, and what that opens", () => {
  expect(acceptedText(["user:ada", "group:lab"], words)).toBe("accepted by you, group lab");
  expect(acceptedText([], words)).toBe("accepted");
  const files = "Its files are on this server from its next start.";
  expect(openedText(gated, words)).toBe(`Accepted. Calls work at once. ${files}`);
  expect(openedText(sam, words)).toBe(`Accepted. ${files}`);
  expect(openedText(remote, words)).toBe("Accepted. Calls work at once.");
});
