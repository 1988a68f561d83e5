/** What is known of the lease, as it stands in this page: pure, from what the server tells and the page's own clock. */

import type { GpuUse, Lease, Notice, ServerState } from "./routes";

export interface View {
  /** The last that the server told; stays when the server or the platform goes away. */
  readonly state: ServerState | null;
  /** Since when this page can't reach its server, in ms of the browser's clock. */
  readonly serverLost: number | null;
  /** Since when the server can't reach the platform. */
  readonly platformLost: number | null;
  /** The platform's clock less the browser's, in ms. */
  readonly offset: number;
}

export const NOTHING: View = { state: null, serverLost: null, platformLost: null, offset: 0 };

export function received(view: View, state: ServerState, clock: number): View {
  const platformLost = state.connected || !state.lease ? null : (view.platformLost ?? clock);
  return { state, serverLost: null, platformLost, offset: Date.parse(state.now) - clock };
}

export function lost(view: View, clock: number): View {
  return view.serverLost === null ? { ...view, serverLost: clock } : view;
}

/** The platform's time, in ms. */
export function platformNow(view: View, clock: number): number {
  return clock + view.offset;
}

export function secondsLeft(lease: Lease, now: number): number {
  return Math.max(0, (Date.parse(lease.deadline_at) - now) / 1000);
}

/** What a lease has cost until `now`: what it had when it was told, and its rate since. Its GPU-seconds say when that was. */
export function costSoFar(lease: Lease, now: number): number {
  if (!lease.started_at || lease.ended_at || lease.gpus_milli === 0) return lease.cost_microunits;
  const told = Date.parse(lease.started_at) + (lease.gpu_seconds * 1_000_000) / lease.gpus_milli;
  const until = Math.min(now, Date.parse(lease.deadline_at));
  const gpuHours = (Math.max(0, until - told) * lease.gpus_milli) / 1000 / 3_600_000;
  return lease.cost_microunits + Math.floor(gpuHours * lease.price_microunits_per_gpu_hour);
}

/** The newest notice of the lease that still stands. */
export function currentNotice(state: ServerState | null): Notice | null {
  if (!state?.lease) return null;
  const lease = state.lease;
  const standing = state.notices.filter(notice => notice.lease_id === lease.id && !notice.withdrawn_at);
  return standing.reduce<Notice | null>((a, b) => (a && a.written_at >= b.written_at ? a : b), null);
}

export type Nearness = "calm" | "warn" | "urgent";

const WARN_SECONDS = 10 * 60;
const URGENT_SECONDS = 60;

/** How near the end is. A notice makes it at least `warn`, whenever the deadline is. */
export function nearness(state: ServerState | null, now: number): Nearness {
  if (!state?.lease) return "calm";
  const left = secondsLeft(state.lease, now);
  if (state.ending || left <= URGENT_SECONDS) return "urgent";
  return currentNotice(state) || left <= WARN_SECONDS ? "warn" : "calm";
}

export type Banner =
  | { readonly kind: "notice"; readonly key: string; readonly notice: Notice; readonly lease: Lease }
  | { readonly kind: "refusal"; readonly key: string; readonly sentence: string }
  | { readonly kind: "previous"; readonly key: string; readonly lease: Lease; readonly sentence: string };

/** What to put before the user's eyes: the most urgent thing that they have not dismissed. */
export function bannerOf(state: ServerState | null, dismissed: ReadonlySet<string>): Banner | null {
  if (!state) return null;
  const notice = currentNotice(state);
  const candidates: Banner[] = [];
  if (notice && state.lease)
    candidates.push({ kind: "notice", key: `notice ${notice.id}`, notice, lease: state.lease });
  if (!state.accepting && state.refusal) {
    candidates.push({ kind: "refusal", key: `refusal ${state.refusal}`, sentence: state.refusal });
  }
  if (state.previous) {
    const { lease, sentence } = state.previous;
    candidates.push({ kind: "previous", key: `previous ${lease.id}`, lease, sentence });
  }
  return candidates.find(({ key }) => !dismissed.has(key)) ?? null;
}

export type Action = "save" | "extend" | "more" | "switch";

/** What helps against each reason for an end. */
export function actionsFor(reason: string): readonly Action[] {
  switch (reason) {
    case "idle":
    case "user":
      return ["save", "extend"];
    case "reclaim":
    case "limit":
      return ["save", "switch"];
    case "quota":
      return ["save", "more", "switch"];
    default:
      return ["save", "more"];
  }
}

export interface Load {
  /** Mean of the GPUs that tell it, 0 to 100; null where none does. */
  readonly utilisation: number | null;
  readonly memoryUsed: number;
  readonly memoryTotal: number;
}

/** All GPUs of the lease as one. Null where there is none. */
export function loadOf(gpus: readonly GpuUse[]): Load | null {
  if (gpus.length === 0) return null;
  const sum = (numbers: readonly number[]) => numbers.reduce((total, each) => total + each, 0);
  const told = gpus.flatMap(gpu => gpu.utilisation_percent ?? []);
  return {
    utilisation: told.length > 0 ? sum(told) / told.length : null,
    memoryUsed: sum(gpus.map(gpu => gpu.memory_used_bytes)),
    memoryTotal: sum(gpus.map(gpu => gpu.memory_total_bytes)),
  };
}
