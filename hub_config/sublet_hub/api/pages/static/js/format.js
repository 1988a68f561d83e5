// Amounts and moments for people. The same words and roundings as the command line's.

import { h } from "./dom.js";

const MICROS = 1_000_000;

/** `45 s`, `20 min`, `1 h 20 min`, `3 d 4 h`: the two largest units, rounded down. */
export function duration(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  if (whole < 60) return `${whole} s`;
  const parts = [
    [Math.floor(whole / 86_400), "d"],
    [Math.floor(whole / 3600) % 24, "h"],
    [Math.floor(whole / 60) % 60, "min"],
  ];
  const first = parts.findIndex(([number]) => number > 0);
  return parts.slice(first, first + 2).filter(([number]) => number > 0).map(([number, unit]) => `${number} ${unit}`).join(" ");
}

/** `4:59`, `1:20:00`: a clock that runs down. */
export function countdown(seconds) {
  const whole = Math.max(0, Math.ceil(seconds));
  const two = (number) => String(number).padStart(2, "0");
  const [hours, minutes, rest] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  return hours ? `${hours}:${two(minutes)}:${two(rest)}` : `${minutes}:${two(rest)}`;
}

/** `10 GPU-h`, `1.25 GPU-h`; GPU-minutes and GPU-seconds where they say more. */
export function gpuTime(gpuSeconds) {
  const whole = Math.floor(gpuSeconds);
  if (whole === 0) return "0 GPU-h";
  if (whole < 60) return `${whole} GPU-s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} GPU-min`;
  return `${number(whole / 3600, 2)} GPU-h`;
}

export function number(value, places = 0) {
  return value.toLocaleString("en", { maximumFractionDigits: places });
}

/** `$3.20`; with `places` 4 for what is still running, so that it is seen to move. */
export function money(micros, currency, places = 2) {
  const smallest = MICROS / 10 ** places;
  const shown = micros > 0 && micros < smallest ? smallest : micros;
  const text = (shown / MICROS).toLocaleString("en", {
    style: "currency", currency, minimumFractionDigits: places, maximumFractionDigits: places,
  });
  return shown === micros ? text : `< ${text}`;
}

/** `2 GPUs`, `1 GPU`, `0.143 GPU`, `no GPU`. */
export function gpus(milli) {
  if (milli === 0) return "no GPU";
  return `${number(milli / 1000, 3)} ${milli > 1000 ? "GPUs" : "GPU"}`;
}

export function bytes(count) {
  if (count >= 2 ** 30) return `${number(count / 2 ** 30, 1)} GiB`;
  return count >= 2 ** 20 ? `${number(count / 2 ** 20)} MiB` : `${number(Math.ceil(count / 2 ** 10))} KiB`;
}

const CLOCK = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });
const WEEKDAY = new Intl.DateTimeFormat("en-GB", { weekday: "short", hour: "2-digit", minute: "2-digit" });
const DATE = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });
const DATE_YEAR = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", year: "numeric", hour: "2-digit", minute: "2-digit" });

/** `14:05` today, `Tue, 14:05` within a week, else `23 Nov, 14:05`, in the browser's time zone. */
export function momentText(at, now = new Date()) {
  const days = Math.abs(at - now) / 86_400_000;
  if (at.toDateString() === now.toDateString()) return CLOCK.format(at);
  if (days < 6) return WEEKDAY.format(at);
  return at.getFullYear() === now.getFullYear() ? DATE.format(at) : DATE_YEAR.format(at);
}

/** A `<time>` in the browser's zone, with the moment in UTC as its title. */
export function moment(iso) {
  const at = new Date(iso);
  return h("time", { datetime: iso, title: utc(iso) }, momentText(at));
}

export function utc(iso) {
  return `${iso.replace("T", " ").replace(/\.\d+Z$|Z$/, "")} UTC`;
}

/** `Mon 23 November` of a calendar date, which has no time zone. */
export function dayText(date, long = false) {
  const options = long
    ? { weekday: "long", day: "numeric", month: "long", timeZone: "UTC" }
    : { day: "numeric", month: "short", timeZone: "UTC" };
  return new Intl.DateTimeFormat("en-GB", options).format(new Date(`${date}T00:00:00Z`));
}

const WHAT = {
  gpu_seconds: "GPU time",
  money_microunits: "Money",
  model_tokens: "Model tokens",
  gpus: "GPUs at once",
  leases: "Leases at once",
  lease_seconds: "Time per lease",
};

/** `GPU time this week`, `GPUs at once on h100`. */
export function limitName({ what, window, flavor }) {
  return [WHAT[what] ?? what, windowText(window), flavor && `on ${flavor}`].filter(Boolean).join(" ");
}

export function windowText(window) {
  if (!window) return "";
  if (window === "total") return "in total";
  if (window === "day") return "today";
  if (window === "week" || window === "month") return `this ${window}`;
  const days = /^P(\d+)D$/.exec(window);
  return days ? `in the last ${days[1]} days` : `in the last ${window}`;
}

export function limitAmount(what, value, currency) {
  if (what === "gpu_seconds") return gpuTime(value);
  if (what === "money_microunits") return money(value, currency);
  if (what === "lease_seconds") return duration(value);
  return number(value);
}

const REASONS = {
  quota: "when the quota is used up",
  limit: "the longest that a lease may last",
  reclaim: "when the owner takes the GPUs back",
  idle: "because it is idle",
  admin: "ended by an admin",
  user: "stopped",
  replaced: "because the server was started again",
  shutdown: "because the platform stops",
};

/** Why a running lease ends when it does, to go after the time: `at 14:05, …`. */
export function deadlineReason(lease) {
  const bound = lease.deadline_limit;
  if (bound && lease.deadline_reason === "quota") {
    return `when ${startLower(limitName(bound))} of ${accountName(bound.subject)} is used up`;
  }
  return REASONS[lease.deadline_reason] ?? lease.deadline_reason;
}

const ENDED = {
  quota: "quota used up",
  limit: "longest time reached",
  reclaim: "reclaimed",
  idle: "idle",
  admin: "ended by an admin",
  user: "stopped",
  exited: "server ended by itself",
  lost: "machine went down",
  out_of_memory: "out of memory",
  evicted: "taken away by the cluster",
  shutdown: "platform stopped",
  replaced: "started again",
  never_started: "never started",
};

export function endReason(lease) {
  return ENDED[lease.end_reason] ?? lease.end_reason ?? lease.state;
}

function startLower(text) {
  return text.startsWith("GPU") ? text : text.charAt(0).toLowerCase() + text.slice(1);
}

/** `alice`, `group lab`, `the default`. */
export function accountName(subject) {
  const [kind, name] = [subject.split(":")[0], subject.slice(subject.indexOf(":") + 1)];
  if (kind === "default") return "the default";
  return kind === "group" ? `group ${name}` : name;
}
