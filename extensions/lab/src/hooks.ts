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

/** The platform's time in ms, anew every second. */
export function useNow(session: Session): number {
  const [, draw] = React.useReducer((count: number) => count + 1, 0);
  React.useEffect(() => {
    const timer = window.setInterval(draw, 1000);
    return () => window.clearInterval(timer);
  }, []);
  return session.now();
}

export interface Said {
  readonly text: string;
  readonly fault: boolean;
}

/** For buttons: one thing is done at a time, and what came of it is said. */
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
  return { busy, said, run: work => void go(work) };
}

export function sentenceOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
