/** Draw anew when something changed, or when a second is over. */

import * as React from "react";

import type { Session } from "./session";
import type { View } from "./view";

export function useView(session: Session): View {
  const [, draw] = React.useReducer((count: number) => count + 1, 0);
  React.useEffect(() => {
    session.changed.connect(draw);
    return () => {
      session.changed.disconnect(draw);
    };
  }, [session]);
  return session.view;
}

/** The platform's time in ms, anew with every second of the clock, so that all that is shown counts in step. */
export function useNow(session: Session): number {
  const [, draw] = React.useReducer((count: number) => count + 1, 0);
  React.useEffect(() => {
    let timer = 0;
    const tick = () => {
      draw();
      timer = window.setTimeout(tick, 1000 - (session.now() % 1000));
    };
    timer = window.setTimeout(tick, 1000 - (session.now() % 1000));
    return () => window.clearTimeout(timer);
  }, [session]);
  return session.now();
}

export interface Said {
  readonly text: string;
  readonly fault: boolean;
}

/**
 * For buttons: one thing is done at a time, and what came of it is said. Meanwhile buttons are `aria-disabled`: one that
 * is `disabled` would lose the keyboard's focus.
 */
export function useDoing(): { busy: boolean; said: Said | null; run: (work: () => Promise<string | null>) => void } {
  const [busy, setBusy] = React.useState(false);
  const [said, setSaid] = React.useState<Said | null>(null);
  const go = async (work: () => Promise<string | null>) => {
    setBusy(true);
    setSaid(null);
    try {
      const text = await work();
      setSaid(text ? { text, fault: false } : null);
    } catch (error) {
      setSaid({ text: sentenceOf(error), fault: true });
    } finally {
      setBusy(false);
    }
  };
  return { busy, said, run: work => void (busy || go(work)) };
}

export function sentenceOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

export interface Reading<T> {
  readonly value: T | null;
  readonly fault: string | null;
}

/** Read when first shown, when `key` changes, and then every `everyMs`. A later failure leaves what was read. */
export function useRead<T>(read: () => Promise<T>, everyMs: number | null, key: string): Reading<T> {
  const [reading, setReading] = React.useState<Reading<T>>({ value: null, fault: null });
  React.useEffect(() => {
    let shown = true;
    const go = async () => {
      try {
        const value = await read();
        if (shown) setReading({ value, fault: null });
      } catch (error) {
        const fault = sentenceOf(error);
        if (shown) setReading(({ value }) => ({ value, fault }));
      }
    };
    void go();
    const timer = everyMs === null ? 0 : window.setInterval(() => void go(), everyMs);
    return () => {
      shown = false;
      window.clearInterval(timer);
    };
  }, [key, everyMs]);
  return reading;
}
