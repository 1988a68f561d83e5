import { describe, expect, it } from "vitest";

import { areaPath, linePath, mean, runs, series, type Frame, type Point } from "../src/plot";
import type { GpuUse } from "../src/routes";
import { at, START } from "./states";

const FRAME: Frame = { from: START, to: START + 3_600_000, width: 60, height: 100 };
const minute = (number: number, share: number): Point => ({ at: START + number * 60_000, share });

describe("paths", () => {
  it("join minutes that follow each other", () => {
    expect(linePath([minute(0, 0), minute(1, 0.5), minute(2, 1)], FRAME)).toBe("M0 100L1 50L2 0");
  });

  it("leave a gap where nothing is known", () => {
    expect(linePath([minute(0, 1), minute(1, 1), minute(10, 0), minute(11, 0)], FRAME)).toBe(
      "M0 0L1 0M10 100L11 100",
    );
  });

  it("show a lone minute as a dash", () => {
    expect(linePath([minute(30, 0.25)], FRAME)).toBe("M30 75h2");
    expect(areaPath([minute(30, 0.25)], FRAME)).toBe("");
  });

  it("close the ground under each run", () => {
    expect(areaPath([minute(0, 1), minute(1, 1)], FRAME)).toBe("M0 100L0 0L1 0L1 100Z");
  });

  it("are empty for nothing, and for what is outside of the frame", () => {
    expect(linePath([], FRAME)).toBe("");
    expect(runs([minute(-1, 1), minute(61, 1)], FRAME)).toEqual([]);
  });
});

describe("series", () => {
  const gpu: GpuUse = { device: "GPU", utilisation_percent: 50, memory_used_bytes: 20, memory_total_bytes: 80 };
  const record = (seconds: number, gpus = [gpu]) => ({
    at: at(seconds),
    seconds: 60,
    gpus,
    kernels: 1,
    kernels_busy: 0,
  });

  it("are shares in the order of time", () => {
    const { utilisation, memory } = series([record(60), record(0)]);
    expect(utilisation).toEqual([
      { at: START, share: 0.5 },
      { at: START + 60_000, share: 0.5 },
    ]);
    expect(memory[0]?.share).toBe(0.25);
  });

  it("stay within 0 and 1, and leave out minutes without a GPU", () => {
    const odd = { ...gpu, utilisation_percent: 120, memory_total_bytes: 0 };
    const { utilisation, memory } = series([record(0, [odd]), record(60, [])]);
    expect(utilisation.map(({ share }) => share)).toEqual([1]);
    expect(memory.map(({ share }) => share)).toEqual([0]);
  });

  it("leave out a utilisation that is not told", () => {
    const { utilisation, memory } = series([record(0, [{ ...gpu, utilisation_percent: null }])]);
    expect([utilisation.length, memory.length]).toEqual([0, 1]);
  });

  it("have a mean, of nothing too", () => {
    expect(mean([minute(0, 0), minute(1, 1)])).toBe(0.5);
    expect(mean([])).toBe(0);
  });
});
