/**
 * One stream for all tabs of a browser. A browser opens six connections to a server and no more (HTTP/1.1), and Notebook
 * opens a tab per notebook: with a stream in each, the seventh would hang. So one tab leads: it holds a lock, follows the
 * stream and tells the others. When it closes, the lock and the lead pass to the next.
 *
 * Locks exist on https and localhost only. Elsewhere each tab leads itself.
 */

import type { StreamEvent } from "./stream";

export interface Saves {
  readonly saved: number;
  readonly failed: number;
}

type Message =
  | { readonly kind: "hello" }
  | { readonly kind: "event"; readonly event: StreamEvent }
  | { readonly kind: "lost" }
  | { readonly kind: "saving"; readonly id: string; readonly tab: string }
  | ({ readonly kind: "saved"; readonly id: string; readonly tab: string } & Saves);

export interface TabsOptions {
  /** The same in all tabs of one server. */
  readonly name: string;
  /** Follow the stream until `signal`; called once this tab leads. */
  lead(signal: AbortSignal): Promise<void>;
  /** What the leading tab tells; never called in the leading tab itself. */
  onEvent(event: StreamEvent): void;
  onLost(): void;
  readonly locks?: LockManager;
}

/** How long the leading tab waits for others to say that they have something to save. */
const ANSWER_MS = 300;

export class Tabs {
  private readonly id = Math.random().toString(36).slice(2);
  private readonly channel: BroadcastChannel | null;
  private readonly closing = new AbortController();
  private readonly awaited = new Map<string, Map<string, Saves | null>>();
  private lastState: StreamEvent | null = null;
  private progress: (() => void) | null = null;
  leading = false;

  constructor(private readonly options: TabsOptions) {
    this.channel = options.locks ? new BroadcastChannel(options.name) : null;
    if (this.channel) this.channel.onmessage = ({ data }) => this.hear(data as Message);
  }

  async run(): Promise<void> {
    const { locks, name, lead } = this.options;
    const { signal } = this.closing;
    const begin = async () => {
      this.leading = true;
      await lead(signal);
    };
    if (!locks) return begin();
    this.send({ kind: "hello" });
    try {
      await locks.request(name, { signal }, begin);
    } catch (error) {
      if (!signal.aborted) throw error;
    }
  }

  close(): void {
    this.closing.abort();
    this.channel?.close();
  }

  /** The leading tab passes on what it was told. */
  tell(event: StreamEvent): void {
    if (event.event === "state") this.lastState = event;
    if (event.event === "save") this.awaited.set(saveId(event), new Map());
    this.send({ kind: "event", event });
  }

  tellLost(): void {
    this.send({ kind: "lost" });
  }

  /** Save what this tab has open. In the leading tab: gives the sum of all tabs, at `until` (ms) at the latest. In others null. */
  async saveEverywhere(id: string, until: number, saveHere: () => Promise<Saves>): Promise<Saves | null> {
    if (!this.leading) {
      this.send({ kind: "saving", id, tab: this.id });
      this.send({ kind: "saved", id, tab: this.id, ...(await saveHere()) });
      return null;
    }
    const [here] = await Promise.all([saveHere(), this.channel ? sleep(ANSWER_MS) : null]);
    const others = this.awaited.get(id) ?? new Map<string, Saves | null>();
    while ([...others.values()].includes(null) && Date.now() < until) {
      await Promise.race([sleep(until - Date.now()), new Promise<void>(done => (this.progress = done))]);
    }
    this.awaited.delete(id);
    let { saved, failed } = here;
    for (const told of others.values()) {
      saved += told?.saved ?? 0;
      failed += told?.failed ?? 0;
    }
    return { saved, failed };
  }

  private hear(message: Message): void {
    if (message.kind === "hello") {
      if (this.leading && this.lastState) this.send({ kind: "event", event: this.lastState });
    } else if (message.kind === "event") {
      if (!this.leading) this.options.onEvent(message.event);
    } else if (message.kind === "lost") {
      if (!this.leading) this.options.onLost();
    } else {
      const told = message.kind === "saved" ? { saved: message.saved, failed: message.failed } : null;
      this.awaited.get(message.id)?.set(message.tab, told);
      this.progress?.();
    }
  }

  private send(message: Message): void {
    if (!this.closing.signal.aborted) this.channel?.postMessage(message);
  }
}

function saveId(event: StreamEvent): string {
  return (JSON.parse(event.data) as { id: string }).id;
}

export function sleep(ms: number): Promise<void> {
  return new Promise(done => setTimeout(done, Math.max(0, ms)));
}
