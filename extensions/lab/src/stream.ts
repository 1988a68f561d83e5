/** Server-sent events over `fetch`, which unlike EventSource can send a token; connects again by itself, and ever slower. */

export interface StreamEvent {
  readonly event: string;
  readonly data: string;
}

const FIRST_PAUSE_MS = 1_000;
const LONGEST_PAUSE_MS = 30_000;
/** The server says something at least every 30 s: a stream that was silent for longer than this is dead. */
export const SILENCE_MS = 75_000;

/** How long to wait before the next try: 1, 2, 4 … 30 s, each less up to a half by chance, so that not all come at once. */
export function pauseMs(failures: number, random: () => number = Math.random): number {
  const longest = Math.min(FIRST_PAUSE_MS * 2 ** Math.max(0, failures - 1), LONGEST_PAUSE_MS);
  return Math.round(longest * (1 - random() / 2));
}

/** Takes a stream's text as it comes, in any pieces, and gives the events that are complete (WHATWG HTML, 9.2.6). */
export class EventParser {
  private rest = "";
  private event = "";
  private data: string[] = [];

  feed(text: string): StreamEvent[] {
    const complete: StreamEvent[] = [];
    let buffer = this.rest + text;
    // A CR at the very end may be half of a CRLF.
    const held = buffer.endsWith("\r") ? "\r" : "";
    buffer = buffer.slice(0, buffer.length - held.length);
    const lines = buffer.split(/\r\n|\n|\r/);
    this.rest = (lines.pop() ?? "") + held;
    for (const line of lines) {
      if (line === "") {
        if (this.data.length > 0) complete.push({ event: this.event || "message", data: this.data.join("\n") });
        this.event = "";
        this.data = [];
      } else {
        this.field(line);
      }
    }
    return complete;
  }

  private field(line: string): void {
    const colon = line.indexOf(":");
    if (colon === 0) return; // a comment: keeps the connection alive
    const name = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (name === "event") this.event = value;
    if (name === "data") this.data.push(value);
  }
}

export interface StreamOptions {
  /** Connect; the answer's body is the stream. */
  open(signal: AbortSignal): Promise<Response>;
  onEvent(event: StreamEvent): void;
  /** The stream is gone, and another try is under way. */
  onLost(why: unknown): void;
  readonly random?: () => number;
}

export class EventStream {
  private failures = 0;
  private stopped = false;
  private abort = new AbortController();
  private wake: (() => void) | null = null;

  constructor(private readonly options: StreamOptions) {}

  /** Follow the stream until `stop()`. */
  async run(): Promise<void> {
    while (!this.stopped) {
      let why: unknown = null;
      try {
        await this.once();
      } catch (error) {
        why = error;
      }
      if (this.stopped) return;
      // A stream that ended in order after it had told something is opened anew at once; only the second loss counts.
      this.failures += 1;
      if (why !== null || this.failures > 1) this.options.onLost(why);
      await this.pause(pauseMs(this.failures, this.options.random));
    }
  }

  stop(): void {
    this.stopped = true;
    this.abort.abort();
    this.wake?.();
  }

  /** Don't wait for the next try: the browser is back on the network. */
  hurry(): void {
    this.wake?.();
  }

  private async once(): Promise<void> {
    this.abort = new AbortController();
    const abort = this.abort;
    const silence = () => setTimeout(() => abort.abort(new Error("The server went silent.")), SILENCE_MS);
    let timer = silence();
    try {
      const response = await this.options.open(abort.signal);
      if (!response.body) throw new Error("The server sent no stream.");
      const reader = response.body.getReader();
      const decoder = new TextDecoder();
      const parser = new EventParser();
      for (;;) {
        const { done, value } = await reader.read();
        if (done) return;
        clearTimeout(timer);
        timer = silence();
        for (const event of parser.feed(decoder.decode(value, { stream: true }))) {
          this.failures = 0;
          this.options.onEvent(event);
        }
      }
    } finally {
      clearTimeout(timer);
    }
  }

  private pause(ms: number): Promise<void> {
    return new Promise(resolve => {
      const timer = setTimeout(resolve, ms);
      this.wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}
