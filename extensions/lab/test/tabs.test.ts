import { afterEach, expect, it, vi } from "vitest";

import type { StreamEvent } from "../src/stream";
import { Tabs } from "../src/tabs";

/** Web Locks with one lock, first come first served. */
class OneLock {
  private last: Promise<void> = Promise.resolve();

  request(_name: string, { signal }: { signal: AbortSignal }, hold: () => Promise<void>): Promise<void> {
    const before = this.last;
    this.last = before.then(() => (signal.aborted ? undefined : hold()));
    return this.last;
  }
}

const opened: Tabs[] = [];
let names = 0;

function tabs(count: number, locks: OneLock | undefined = new OneLock()) {
  const name = `test-${names++}`;
  return Array.from({ length: count }, () => {
    const heard: StreamEvent[] = [];
    const tab = new Tabs({
      name,
      lead: signal => new Promise(done => signal.addEventListener("abort", () => done())),
      onEvent: event => heard.push(event),
      onLost: () => heard.push({ event: "lost", data: "" }),
      locks: locks as unknown as LockManager,
    });
    opened.push(tab);
    void tab.run();
    return { tab, heard };
  });
}

const until = (holds: () => boolean) => vi.waitFor(() => expect(holds()).toBe(true), { timeout: 5000 });
const STATE: StreamEvent = { event: "state", data: "{}" };
const SAVE: StreamEvent = { event: "save", data: '{"id": "s"}' };

afterEach(() => opened.splice(0).forEach(tab => tab.close()));

it("has one tab lead, and the others hear of it", async () => {
  const [first, second] = tabs(2);
  await until(() => first!.tab.leading);
  expect(second!.tab.leading).toBe(false);
  first!.tab.tell(STATE);
  first!.tab.tellLost();
  await until(() => second!.heard.length === 2);
  expect(second!.heard).toEqual([STATE, { event: "lost", data: "" }]);
  expect(first!.heard).toEqual([]);
});

it("passes the lead on when the tab is closed", async () => {
  const [first, second] = tabs(2);
  await until(() => first!.tab.leading);
  first!.tab.close();
  await until(() => second!.tab.leading);
});

it("sums up what all tabs saved, and only the leading one reports", async () => {
  const [first, second, third] = tabs(3);
  await until(() => first!.tab.leading);
  first!.tab.tell(SAVE);
  await until(() => second!.heard.length === 1 && third!.heard.length === 1);
  const end = Date.now() + 5000;
  const results = await Promise.all([
    first!.tab.saveEverywhere("s", end, async () => ({ saved: 1, failed: 0 })),
    second!.tab.saveEverywhere("s", end, async () => ({ saved: 2, failed: 1 })),
    third!.tab.saveEverywhere("s", end, async () => ({ saved: 0, failed: 0 })),
  ]);
  expect(results).toEqual([{ saved: 3, failed: 1 }, null, null]);
});

it("does not wait past the deadline for a tab that hangs", async () => {
  const [first, second] = tabs(2);
  await until(() => first!.tab.leading);
  first!.tab.tell(SAVE);
  await until(() => second!.heard.length === 1);
  void second!.tab.saveEverywhere("s", 0, () => new Promise(() => {}));
  const all = await first!.tab.saveEverywhere("s", Date.now() + 600, async () => ({ saved: 1, failed: 0 }));
  expect(all).toEqual({ saved: 1, failed: 0 });
});

it("leads in each tab where the browser has no locks", async () => {
  const [first] = tabs(1);
  await until(() => first!.tab.leading);
  const alone = new Tabs({ name: "x", lead: async () => {}, onEvent: () => {}, onLost: () => {}, locks: undefined });
  await alone.run();
  expect(alone.leading).toBe(true);
  expect(await alone.saveEverywhere("s", 0, async () => ({ saved: 4, failed: 0 }))).toEqual({ saved: 4, failed: 0 });
});
