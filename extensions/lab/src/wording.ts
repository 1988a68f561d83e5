/** Sentences about leases, limits and notices; the same as on the platform's own pages. */

import { duration, gpuTime, moment, money, number, type Words } from "./format";
import type { Lease, Limit, Notice } from "./routes";

/** What of a limit its name is made of. */
type Named = Pick<Limit, "window" | "flavor"> & { readonly what: string };

/** `GPU time this week`, `GPUs at once on h100`. */
export function limitName(limit: Named, words: Words): string {
  return limitText(limit, words, {
    gpu_seconds: words.__("GPU time"),
    money_microunits: words.__("Money"),
    model_tokens: words.__("Model tokens"),
    gpus: words.__("GPUs at once"),
    leases: words.__("Leases at once"),
    lease_seconds: words.__("Time per lease"),
  });
}

/** The same within a sentence: how it is written there depends on the language. */
function limitNameWithin(limit: Named, words: Words): string {
  return limitText(limit, words, {
    gpu_seconds: words.__("GPU time"),
    money_microunits: words.__("money"),
    model_tokens: words.__("model tokens"),
    gpus: words.__("GPUs at once"),
    leases: words.__("leases at once"),
    lease_seconds: words.__("time per lease"),
  });
}

function limitText(limit: Named, words: Words, what: Record<string, string>): string {
  const on = limit.flavor ? words.__("on %1", limit.flavor) : "";
  return [what[limit.what] ?? limit.what, windowText(limit.window, words), on].filter(Boolean).join(" ");
}

function windowText(window: string | null, words: Words): string {
  if (!window) return "";
  const named: Record<string, string> = {
    total: words.__("in total"),
    day: words.__("today"),
    week: words.__("this week"),
    month: words.__("this month"),
  };
  const days = /^P(\d+)D$/.exec(window)?.[1];
  return named[window] ?? (days ? words.__("in the last %1 days", days) : words.__("in the last %1", window));
}

export function limitAmount(what: string, value: number, currency: string, words: Words): string {
  if (what === "gpu_seconds") return gpuTime(value, words);
  if (what === "money_microunits") return money(value, currency);
  if (what === "lease_seconds") return duration(value, words);
  return number(value);
}

/** `begins anew 14:05 (in 2 h)`. */
export function resets(limit: Limit, now: number, words: Words): string {
  if (!limit.resets_at) return "";
  const at = moment(limit.resets_at, now);
  const within = duration((Date.parse(limit.resets_at) - now) / 1000, words);
  return limit.window?.startsWith("P")
    ? words.__("frees up from %1 (in %2)", at, within)
    : words.__("begins anew %1 (in %2)", at, within);
}

/** Why a running lease ends when it does, to go after the time: `at 14:05, …`. */
export function deadlineReason(lease: Lease, words: Words): string {
  const bound = lease.deadline_limit;
  if (bound && lease.deadline_reason === "quota") {
    return words.__("when %1 of %2 is used up", limitNameWithin(bound, words), accountName(bound.subject, words));
  }
  const reasons: Record<string, string> = {
    quota: words.__("when the quota is used up"),
    limit: words.__("the longest that a lease may last"),
    reclaim: words.__("when the owner takes the GPUs back"),
    idle: words.__("because it is idle"),
    admin: words.__("ended by an admin"),
    user: words.__("as you asked"),
    shutdown: words.__("because the platform stops"),
  };
  return reasons[lease.deadline_reason] ?? lease.deadline_reason;
}

/** Why it stops: the limit by its name where the lease tells it, else the notice's own words. */
export function noticeWhy(notice: Notice, lease: Lease | null, now: number, words: Words): string {
  const bound = lease?.deadline_limit;
  if (notice.reason === "quota" && bound) {
    const used = words.__("%1 of %2 is used up by then.", limitName(bound, words), accountName(bound.subject, words));
    if (!bound.resets_at) return used;
    const at = moment(bound.resets_at, now);
    const anew = bound.window?.startsWith("P")
      ? words.__("It frees up bit by bit from %1.", at)
      : words.__("It begins anew %1.", at);
    return `${used} ${anew}`;
  }
  const why: Record<string, string> = {
    quota: words.__("Its quota runs out."),
    limit: words.__("It reaches the longest time that a lease may last."),
    reclaim: words.__("The owner of the GPUs takes them back."),
    idle: words.__("It has been idle."),
    admin: words.__("An admin has ended it."),
  };
  return why[notice.reason] ?? notice.message;
}

/** What to do about it. */
export function noticeNext(reason: string, words: Words): string {
  const next: Record<string, string> = {
    quota: words.__("Save your work; to get more, see your usage page."),
    limit: words.__("Save your work; you can start a new lease as soon as this one has ended."),
    reclaim: words.__("Save your work; you can go on with another flavor, or with this one when it is free."),
    idle: words.__("Run something to keep it, or extend it."),
    admin: words.__("Save your work; if you need it for longer, ask your admins."),
  };
  return next[reason] ?? words.__("Save your work.");
}

/** `alice`, `group lab`, `the default`. */
export function accountName(subject: string, words: Words): string {
  const colon = subject.indexOf(":");
  const [kind, name] = [subject.slice(0, Math.max(0, colon)), subject.slice(colon + 1)];
  if (kind === "default" || subject === "default") return words.__("the default");
  return kind === "group" ? words.__("group %1", name) : name;
}

/** What to say of GPUs that do nothing; null where there is nothing to say. */
export function idleTip(idleMinutes: number, stopAfter: number | null, rate: string, words: Words): string | null {
  if (stopAfter !== null && idleMinutes >= Math.min(5, stopAfter)) {
    const left = Math.max(0, stopAfter - idleMinutes);
    return left > 0
      ? words.__("Idle for %1 min: stops in %2 min. Run something to keep it.", idleMinutes, left)
      : words.__("Idle for %1 min: it stops soon. Run something to keep it.", idleMinutes);
  }
  return stopAfter === null && idleMinutes >= 10
    ? words.__("Idle for %1 min. Stop it when you are done: it costs %2 an hour.", idleMinutes, rate)
    : null;
}
