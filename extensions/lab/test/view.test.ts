import { describe, expect, it } from "vitest";

import {
  actionsFor,
  bannerOf,
  costSoFar,
  currentNotice,
  loadOf,
  lost,
  nearness,
  NOTHING,
  platformNow,
  received,
} from "../src/view";
import { at, lease, notice, START, state } from "./states";

const NONE = new Set<string>();
const ms = (seconds: number) => START + seconds * 1000;

describe("what is received", () => {
  it("corrects the browser's clock by the platform's", () => {
    const view = received(NOTHING, state({ now: at(600) }), ms(630));
    expect(platformNow(view, ms(640))).toBe(ms(610));
  });

  it("keeps the last state and the first moment when the server is lost", () => {
    const view = received(NOTHING, state(), 1000);
    const gone = lost(lost(view, 2000), 3000);
    expect(gone.state).toBe(view.state);
    expect(gone.serverLost).toBe(2000);
    expect(received(gone, state(), 4000).serverLost).toBeNull();
  });

  it("notes since when the platform is away, until it is back", () => {
    const away = received(NOTHING, state({ connected: false }), 1000);
    expect(received(away, state({ connected: false }), 9000).platformLost).toBe(1000);
    expect(received(away, state(), 9000).platformLost).toBeNull();
  });

  it("does not miss the platform where there is no lease", () => {
    expect(received(NOTHING, state({ lease: null, connected: false }), 1000).platformLost).toBeNull();
  });
});

describe("cost so far", () => {
  it("is what was told when it was read", () => {
    expect(costSoFar(lease(), ms(600))).toBe(1_000_000);
  });

  it("runs on by the rate of all GPUs: 2 × $3 an hour for ten minutes more", () => {
    expect(costSoFar(lease(), ms(1200))).toBe(2_000_000);
  });

  it("stops at the deadline, and stays for what has ended", () => {
    expect(costSoFar(lease(), ms(99_999))).toBe(costSoFar(lease(), ms(7200)));
    expect(costSoFar(lease({ ended_at: at(700) }), ms(1200))).toBe(1_000_000);
  });

  it("does not run without a GPU or before the start", () => {
    expect(costSoFar(lease({ gpus_milli: 0, cost_microunits: 5 }), ms(1200))).toBe(5);
    expect(costSoFar(lease({ started_at: null, cost_microunits: 0 }), ms(1200))).toBe(0);
  });
});

describe("nearness", () => {
  it.each([
    ["calm far from the end", {}, 600, "calm"],
    ["warn in the last ten minutes", {}, 6600, "warn"],
    ["warn under a notice, however far the end", { notices: [notice()] }, 600, "warn"],
    ["urgent in the last minute", {}, 7140, "urgent"],
    ["urgent while the server ends", { ending: true }, 600, "urgent"],
    ["calm without a lease", { lease: null, ending: true }, 600, "calm"],
  ] as const)("is %s", (_, changes, seconds, expected) => {
    expect(nearness(state(changes as object), ms(seconds))).toBe(expected);
  });
});

describe("the current notice", () => {
  it("is the newest that stands, of this lease", () => {
    const notices = [
      notice({ id: "first", written_at: at(1) }),
      notice({ id: "last", written_at: at(2) }),
      notice({ id: "withdrawn", written_at: at(3), withdrawn_at: at(4) }),
      notice({ id: "another's", written_at: at(5), lease_id: "lease-2" }),
    ];
    expect(currentNotice(state({ notices }))?.id).toBe("last");
  });
});

describe("the banner", () => {
  const all = state({
    notices: [notice()],
    accepting: false,
    refusal: "It ends.",
    previous: { lease: lease({ id: "lease-0" }), sentence: "Reclaimed." },
  });

  it("shows the most urgent thing first, then what is left when that is dismissed", () => {
    expect(bannerOf(all, NONE)?.kind).toBe("notice");
    expect(bannerOf(all, new Set(["notice notice-1"]))?.kind).toBe("refusal");
    expect(bannerOf(all, new Set(["notice notice-1", "refusal It ends."]))?.kind).toBe("previous");
    expect(bannerOf(all, new Set(["notice notice-1", "refusal It ends.", "previous lease-0"]))).toBeNull();
  });

  it("comes again for the next notice", () => {
    const next = state({ notices: [notice({ id: "notice-2" })] });
    expect(bannerOf(next, new Set(["notice notice-1"]))?.key).toBe("notice notice-2");
  });

  it("is none where there is nothing to say", () => {
    expect(bannerOf(null, NONE)).toBeNull();
    expect(bannerOf(state(), NONE)).toBeNull();
  });
});

it("offers what fits the reason", () => {
  expect(actionsFor("idle")).toContain("extend");
  expect(actionsFor("reclaim")).toContain("switch");
  expect(actionsFor("quota")).toContain("more");
  expect(actionsFor("quota")).not.toContain("extend");
  expect(actionsFor("something new")).toContain("save");
});

it("takes all GPUs as one", () => {
  const gpu = (utilisation_percent: number | null, memory_used_bytes: number) => ({
    device: "GPU",
    utilisation_percent,
    memory_used_bytes,
    memory_total_bytes: 80,
  });
  expect(loadOf([gpu(100, 40), gpu(50, 20)])).toEqual({ utilisation: 75, memoryUsed: 60, memoryTotal: 160 });
  expect(loadOf([gpu(null, 40), gpu(50, 20)])?.utilisation).toBe(50);
  expect(loadOf([gpu(null, 40)])).toEqual({ utilisation: null, memoryUsed: 40, memoryTotal: 80 });
  expect(loadOf([])).toBeNull();
});
