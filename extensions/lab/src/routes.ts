/**
 * What travels between this page and its own server (`<base_url>sublet/...`). The platform's documents come from its
 * published API (api.d.ts, generated); those that are the server extension's own are typed here by hand.
 */

import type { components } from "./api";

type Schemas = components["schemas"];

export type Lease = Schemas["LeaseModel"];
export type Notice = Schemas["NoticeModel"];
export type Quota = Schemas["OwnQuotaModel"];
export type Account = Schemas["QuotaModel"];
export type Limit = Schemas["LimitModel"];
export type Offer = Schemas["OfferModel"];
export type Model = Schemas["ModelSummary"];
export type ModelDetail = Schemas["ModelDetail"];
export type Acceptance = Schemas["AcceptanceModel"];
export type AcceptanceRequest = Schemas["AcceptanceRequest"];
export type Problem = Schemas["Problem"];

/** RFC 3339, UTC. */
export type Moment = string;

/** One record of the last hour, usually of a minute. */
export type Minute = Schemas["ActivityModel"];
/** One GPU as it was measured. A slice of one may not tell its utilisation. */
export type GpuUse = Schemas["GpuModel"];

export type GpuNow = GpuUse & {
  readonly processes?: readonly { readonly kernel: string | null; readonly memory_used_bytes: number }[];
};

/** `GET sublet/state`, and `event: state` of `GET sublet/events`. */
export interface ServerState {
  readonly lease: Lease | null;
  readonly notices: readonly Notice[];
  /** Whether the server follows its lease at the platform. */
  readonly connected: boolean;
  /** What keeps it from that, as a sentence. */
  readonly trouble: string | null;
  readonly now: Moment;
  /** Whether the server is about to stop. */
  readonly ending: boolean;
  /** Whether it starts kernels and terminals; if not, `refusal` says why. */
  readonly accepting: boolean;
  readonly refusal: string | null;
  readonly gpu: { readonly gpus: readonly GpuNow[] } | null;
  readonly history: readonly Minute[];
  /** How the last lease of this server ended, until it is dismissed. */
  readonly previous: { readonly lease: Lease; readonly sentence: string } | null;
  readonly idle_minutes: number;
  readonly idle_stop: { readonly after_minutes: number } | null;
}

/** `GET sublet/models`. */
export interface Models {
  readonly models: readonly Model[];
  /** Names of those whose files are on this server. */
  readonly here: readonly string[];
}

/** `event: save`: save all open documents now, then `POST sublet/saved`. */
export interface SaveRequest {
  readonly id: string;
  readonly until: Moment;
  readonly why: string;
}

export interface SaveReport {
  readonly id: string;
  readonly saved: number;
  readonly failed: number;
}
