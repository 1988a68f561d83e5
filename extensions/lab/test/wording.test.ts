import { describe, expect, it } from "vitest";

import type { Limit } from "../src/routes";
import { accountName, deadlineReason, idleTip, limitAmount, limitName, noticeWhy, resets } from "../src/wording";
import { lease, notice, START } from "./states";
import { words } from "./words";

const WEEK = { what: "gpu_seconds", window: "week", flavor: null } as const;
const limit = (changes: Partial<Limit>): Limit => ({
  ...WEEK,
  limit: 36_000,
  used: 0,
  held: 0,
  left: 36_000,
  resets_at: null,
  ...changes,
});

it("names limits as the pages do", () => {
  expect(limitName(WEEK, words)).toBe("GPU time this week");
  expect(limitName({ what: "gpus", window: null, flavor: "h100" }, words)).toBe("GPUs at once on h100");
  expect(limitName({ what: "model_tokens", window: "P30D", flavor: null }, words)).toBe(
    "Model tokens in the last 30 days",
  );
  expect(limitName({ what: "invented", window: "PT5H", flavor: null }, words)).toBe("invented in the last PT5H");
});

it("says amounts in the unit that people think in", () => {
  expect(limitAmount("gpu_seconds", 36_000, "USD", words)).toBe("10 GPU-h");
  expect(limitAmount("money_microunits", 2_800_000, "USD", words)).toBe("$2.80");
  expect(limitAmount("lease_seconds", 28_800, "USD", words)).toBe("8 h");
  expect(limitAmount("model_tokens", 1_000_000, "USD", words)).toBe("1,000,000");
});

it("says when there is more", () => {
  const soon = new Date(START + 7200_000).toISOString();
  expect(resets(limit({ resets_at: soon }), START, words)).toMatch(/^begins anew .*\(in 2 h\)$/);
  expect(resets(limit({ window: "P7D", resets_at: soon }), START, words)).toMatch(/^frees up from/);
  expect(resets(limit({}), START, words)).toBe("");
});

it("names accounts", () => {
  expect(["user:ada", "group:a:b", "default:", "ada"].map(name => accountName(name, words))).toEqual([
    "ada",
    "group a:b",
    "the default",
    "ada",
  ]);
});

describe("reasons", () => {
  const bound = { ...WEEK, subject: "group:lab", limit: 36_000, resets_at: null };

  it("tell the limit where it is known", () => {
    expect(deadlineReason(lease({ deadline_limit: bound }), words)).toBe(
      "when GPU time this week of group lab is used up",
    );
    expect(deadlineReason(lease(), words)).toBe("when the quota is used up");
    expect(deadlineReason(lease({ deadline_reason: "new" }), words)).toBe("new");
  });

  it("of a notice name the limit too, else say the platform's own words", () => {
    expect(noticeWhy(notice(), lease({ deadline_limit: bound }), START, words)).toBe(
      "GPU time this week of group lab is used up by then.",
    );
    expect(noticeWhy(notice({ reason: "new", message: "Maintenance." }), lease(), START, words)).toBe("Maintenance.");
  });
});

describe("tips for idle GPUs", () => {
  it.each([
    [25, 30, "Idle for 25 min: stops in 5 min. Run something to keep it."],
    [30, 30, "Idle for 30 min: it stops soon. Run something to keep it."],
    [3, 30, null],
    [25, null, "Idle for 25 min. Stop it when you are done: it costs $6.00 an hour."],
    [5, null, null],
  ] as const)("%s minutes idle, stop after %s", (minutes, after, tip) => {
    expect(idleTip(minutes, after, "$6.00", words)).toBe(tip);
  });
});
