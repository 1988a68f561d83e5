import type { Lease, Notice, ServerState } from "../src/routes";

export const START = Date.parse("2026-11-23T12:00:00.000Z");

/** A moment, in seconds after 12:00. */
export function at(seconds: number): string {
  return new Date(START + seconds * 1000).toISOString();
}

/** Runs from 12:00 to 14:00 on two GPUs, and was read at 12:10. */
export function lease(changes: Partial<Lease> = {}): Lease {
  return {
    id: "lease-1",
    user: "ada",
    account: "group:lab",
    flavor: "h100-2x",
    tier: "surplus",
    kind: "notebook",
    state: "active",
    requested_at: at(-5),
    started_at: at(0),
    ended_at: null,
    deadline_at: at(7200),
    gpus_milli: 2000,
    gpu_seconds: 1200,
    cost_microunits: 1_000_000,
    currency: "USD",
    end_reason: null,
    simulated: false,
    server_name: "",
    pool: "h100",
    deadline_reason: "quota",
    deadline_limit: null,
    price_microunits_per_gpu_hour: 3_000_000,
    ...changes,
  };
}

export function notice(changes: Partial<Notice> = {}): Notice {
  return {
    id: "notice-1",
    lease_id: "lease-1",
    user: "ada",
    reason: "quota",
    message: "Its quota runs out.",
    deadline_at: at(7200),
    written_at: at(6900),
    withdrawn_at: null,
    lead_seconds: 300,
    ...changes,
  };
}

export function state(changes: Partial<ServerState> = {}): ServerState {
  return {
    lease: lease(),
    notices: [],
    connected: true,
    trouble: null,
    now: at(600),
    ending: false,
    accepting: true,
    refusal: null,
    gpu: null,
    history: [],
    previous: null,
    idle_minutes: 0,
    idle_stop: null,
    ...changes,
  };
}
