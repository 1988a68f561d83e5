import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";

import { EventParser, EventStream, pauseMs, SILENCE_MS, type StreamEvent } from "../src/stream";

describe("the parser", () => {
  it("gives events only when they are complete, in whatever pieces they come", () => {
    const text = 'retry: 3000\n: alive\nevent: state\ndata: {"a":\ndata: 1}\n\nevent: save\r\ndata: {}\r\n\r\n';
    const whole = new EventParser().feed(text);
    expect(whole).toEqual([
      { event: "state", data: '{"a":\n1}' },
      { event: "save", data: "{}" },
    ]);
    const parser = new EventParser();
    expect([...text].flatMap(character => parser.feed(character))).toEqual(whole);
  });

  it("skips comments and events without data", () => {
    expect(new EventParser().feed(": alive\n\nevent: nothing\n\ndata:no name\n\n")).toEqual([
      { event: "message", data: "no name" },
    ]);
  });
});

it("waits longer after each failure, up to 30 s, and never less than half of that", () => {
  expect([1, 2, 3, 4, 5, 6, 60].map(failures => pauseMs(failures, () => 0))).toEqual([
    1000, 2000, 4000, 8000, 16_000, 30_000, 30_000,
  ]);
  expect(pauseMs(2, () => 1)).toBe(1000);
});

describe("the stream", () => {
  beforeEach(() => vi.useFakeTimers());
  afterEach(() => vi.useRealTimers());

  /** A server that is down where null, else says this and hangs up, or stays silent. */
  function following(script: (string | null | "silent")[]) {
    const events: StreamEvent[] = [];
    const lost: unknown[] = [];
    const opened: number[] = [];
    const open = (signal: AbortSignal) => {
      const said = script[opened.length] ?? null;
      opened.push(Date.now());
      if (said === null) return Promise.reject(new Error("down"));
      const body = new ReadableStream<Uint8Array>({
        start: controller => {
          signal.addEventListener("abort", () => controller.error(signal.reason));
          if (said === "silent") return;
          controller.enqueue(new TextEncoder().encode(said));
          controller.close();
        },
      });
      return Promise.resolve(new Response(body));
    };
    const stream = new EventStream({
      open,
      onEvent: event => events.push(event),
      onLost: why => lost.push(why),
      random: () => 0,
    });
    const began = Date.now();
    void stream.run();
    return { stream, events, lost, after: () => opened.map(at => at - began) };
  }

  it("comes back ever slower while the server is down, and at once after it has told something", async () => {
    const { stream, events, lost, after } = following([null, null, null, "data: 1\n\n", null]);
    await vi.advanceTimersByTimeAsync(10_000);
    expect(after()).toEqual([0, 1000, 3000, 7000, 8000, 10_000]);
    expect(events).toEqual([{ event: "message", data: "1" }]);
    expect(lost.length).toBeGreaterThanOrEqual(4);
    stream.stop();
  });

  it("does not call an orderly end a loss: the server ends each stream after a while", async () => {
    const { stream, lost } = following(["data: 1\n\n", "data: 2\n\n", "silent"]);
    await vi.advanceTimersByTimeAsync(3000);
    expect(lost).toEqual([]);
    stream.stop();
  });

  it("gives up a connection that is silent", async () => {
    const { stream, lost, after } = following(["silent", "data: 1\n\n"]);
    await vi.advanceTimersByTimeAsync(SILENCE_MS + 1000);
    expect(lost).toHaveLength(1);
    expect(after()).toEqual([0, SILENCE_MS + 1000]);
    stream.stop();
  });

  it("does not wait when the network is back", async () => {
    const { stream, after } = following([null, null, null, null, null, "silent"]);
    await vi.advanceTimersByTimeAsync(16_000);
    stream.hurry();
    await vi.advanceTimersByTimeAsync(0);
    expect(after().at(-1)).toBe(16_000);
    stream.stop();
  });

  it("ends when it is stopped", async () => {
    const { stream, after } = following([null, null]);
    await vi.advanceTimersByTimeAsync(0);
    stream.stop();
    await vi.advanceTimersByTimeAsync(60_000);
    expect(after()).toEqual([0]);
  });
});
