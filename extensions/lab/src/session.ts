/** The one place of this page that knows how things stand; everything shown is drawn from it. */

import { Signal, type ISignal } from "@lumino/signaling";

import type { Requests } from "./request";
import type { SaveRequest, ServerState } from "./routes";
import { EventStream, type StreamEvent } from "./stream";
import { Tabs, type Saves } from "./tabs";
import { bannerOf, lost, NOTHING, platformNow, received, type Banner, type View } from "./view";

/** Saves all open documents that have changes; `until` is when it must be over (ms of the browser's clock). */
export type SaveAll = (until: number) => Promise<Saves>;

/** How much earlier than asked for the saving ends, so that its report still arrives. */
const REPORT_MS = 500;
const DISMISSED_KEY = "sublet:dismissed";
const DISMISSED_KEPT = 20;

export class Session {
  private readonly signal = new Signal<this, void>(this);
  private readonly hidden = new Set<string>(remembered());
  private readonly tabs: Tabs;
  private stream: EventStream | null = null;
  view: View = NOTHING;
  /** What the last saving of all documents came to; for the banner. */
  saves: Saves | null = null;

  constructor(
    readonly requests: Requests,
    private readonly saveAll: SaveAll,
    baseUrl: string,
  ) {
    this.tabs = new Tabs({
      name: `sublet:${baseUrl}`,
      lead: signal => this.follow(signal),
      onEvent: event => this.handle(event),
      onLost: () => this.lose(),
      locks: navigator.locks as LockManager | undefined,
    });
  }

  /** Something of what is shown has changed. */
  get changed(): ISignal<this, void> {
    return this.signal;
  }

  start(): void {
    window.addEventListener("online", () => this.stream?.hurry());
    window.addEventListener("pagehide", () => this.tabs.close());
    // A page that comes back from the browser's cache has given up its place; it is read anew.
    window.addEventListener("pageshow", event => event.persisted && window.location.reload());
    this.tabs.run().catch((error: unknown) => console.error("Sublet: the stream of events ended.", error));
  }

  /** The platform's time, in ms. */
  now(): number {
    return platformNow(this.view, Date.now());
  }

  banner(): Banner | null {
    return bannerOf(this.view.state, this.hidden);
  }

  /** Don't show this again in this tab, also not after a reload. */
  dismiss(banner: Banner): void {
    this.hidden.add(banner.key);
    remember([...this.hidden]);
    this.signal.emit();
    if (banner.kind === "previous") {
      // It stays hidden here in any case; the server forgets it with its own end at the latest.
      this.requests.dismiss().catch((error: unknown) => console.warn("Sublet: could not dismiss.", error));
    }
  }

  /** Save what is open in this tab, because the user wishes it. */
  async save(): Promise<Saves> {
    const saves = await this.saveAll(Date.now() + 30_000);
    this.noteSaves(saves);
    return saves;
  }

  private async follow(signal: AbortSignal): Promise<void> {
    this.stream = new EventStream({
      open: abort => this.requests.events(abort),
      onEvent: event => {
        this.tabs.tell(event);
        this.handle(event);
      },
      onLost: why => {
        console.warn("Sublet: lost the stream of events; trying again.", why);
        this.tabs.tellLost();
        this.lose();
      },
    });
    signal.addEventListener("abort", () => this.stream?.stop());
    await this.stream.run();
  }

  private handle({ event, data }: StreamEvent): void {
    if (event === "state") {
      this.view = received(this.view, JSON.parse(data) as ServerState, Date.now());
      this.signal.emit();
    } else if (event === "save") {
      this.saveForServer(JSON.parse(data) as SaveRequest).catch((error: unknown) =>
        console.error("Sublet: saving the open documents failed.", error),
      );
    }
  }

  private async saveForServer(request: SaveRequest): Promise<void> {
    const until = Date.parse(request.until) - this.view.offset - REPORT_MS;
    const saveHere = async () => {
      const saves = await this.saveAll(until);
      this.noteSaves(saves);
      return saves;
    };
    const all = await this.tabs.saveEverywhere(request.id, until, saveHere);
    if (all) await this.requests.saved({ id: request.id, ...all });
  }

  private noteSaves(saves: Saves): void {
    this.saves = saves;
    this.signal.emit();
  }

  private lose(): void {
    this.view = lost(this.view, Date.now());
    this.signal.emit();
  }
}

function remembered(): string[] {
  try {
    return JSON.parse(window.sessionStorage.getItem(DISMISSED_KEY) ?? "[]") as string[];
  } catch {
    return []; // storage is forbidden, or holds something else
  }
}

function remember(keys: string[]): void {
  try {
    window.sessionStorage.setItem(DISMISSED_KEY, JSON.stringify(keys.slice(-DISMISSED_KEPT)));
  } catch {
    // Storage is forbidden: it holds for this page then.
  }
}
