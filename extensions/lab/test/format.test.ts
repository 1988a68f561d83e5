import { describe, expect, it } from "vitest";

import { bytes, countdown, duration, gpus, gpuTime, localInput, moment, money, timeLeft } from "../src/format";
import { words } from "./words";

it.each([
  [0, "0 s"],
  [59.9, "59 s"],
  [60, "1 min"],
  [4800, "1 h 20 min"],
  [3600, "1 h"],
  [86_400 * 3 + 4 * 3600 + 59, "3 d 4 h"],
  [-5, "0 s"],
])("%d seconds last %s", (seconds, text) => {
  expect(duration(seconds, words)).toBe(text);
});

it.each([
  [299, "4:59"],
  [0.2, "0:01"],
  [0, "0:00"],
  [-3, "0:00"],
  [4800, "1:20:00"],
])("%d seconds count down as %s", (seconds, text) => {
  expect(countdown(seconds)).toBe(text);
});

it("counts seconds in the last hour only", () => {
  expect(timeLeft(3599, words)).toBe("59:59");
  expect(timeLeft(3600, words)).toBe("1 h");
});

describe("money", () => {
  it.each([
    [3_200_000, "USD", "$3.20"],
    [1, "USD", "< $0.01"],
    [0, "EUR", "€0.00"],
    [1_234_567_890, "USD", "$1,234.57"],
  ])("%d micro-%s is %s", (micros, currency, text) => {
    expect(money(micros, currency)).toBe(text);
  });
});

it.each([
  [0, "0 GPU-h"],
  [45, "45 GPU-s"],
  [2400, "40 GPU-min"],
  [4500, "1.25 GPU-h"],
])("%d GPU-seconds are %s", (seconds, text) => {
  expect(gpuTime(seconds, words)).toBe(text);
});

it("counts GPUs and bytes", () => {
  expect(gpus(0, words)).toBe("no GPU");
  expect(gpus(143, words)).toBe("0.143 GPU");
  expect(gpus(2000, words)).toBe("2 GPUs");
  expect(bytes(6.5 * 2 ** 30)).toBe("6.5 GiB");
  expect(bytes(300 * 2 ** 20)).toBe("300 MiB");
});

describe("moments", () => {
  const now = new Date(2026, 10, 23, 12, 0).getTime();
  const iso = (...parts: [number, number, number, number, number]) => new Date(...parts).toISOString();

  it("leave out what is clear", () => {
    expect(moment(iso(2026, 10, 23, 14, 5), now)).toBe("14:05");
    expect(moment(iso(2026, 10, 25, 14, 5), now)).toBe("Wed 14:05");
    expect(moment(iso(2026, 11, 24, 14, 5), now)).toMatch(/^24 Dec,? (at )?14:05$/);
  });

  it("go into a field in the browser's zone and come back the same", () => {
    expect(new Date(localInput(now)).getTime()).toBe(now);
  });
});
