/** Amounts and moments for people. The same words and roundings as the platform's own pages and its command line. */

import type { TranslationBundle } from "@jupyterlab/translation";

export type Words = Pick<TranslationBundle, "__" | "_n">;

const MICROS = 1_000_000;

/** `45 s`, `20 min`, `1 h 20 min`, `3 d 4 h`: the two largest units, rounded down. */
export function duration(seconds: number, words: Words): string {
  const whole = Math.max(0, Math.floor(seconds));
  if (whole < 60) return words.__("%1 s", whole);
  const parts: [number, (count: number) => string][] = [
    [Math.floor(whole / 86_400), count => words.__("%1 d", count)],
    [Math.floor(whole / 3600) % 24, count => words.__("%1 h", count)],
    [Math.floor(whole / 60) % 60, count => words.__("%1 min", count)],
  ];
  const first = parts.findIndex(([count]) => count > 0);
  const two = parts.slice(first, first + 2).filter(([count]) => count > 0);
  return two.map(([count, text]) => text(count)).join(" ");
}

/** `4:59`, `1:20:00`: a clock that runs down. */
export function countdown(seconds: number): string {
  const whole = Math.max(0, Math.ceil(seconds));
  const two = (count: number) => String(count).padStart(2, "0");
  const [hours, minutes, rest] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  return hours ? `${hours}:${two(minutes)}:${two(rest)}` : `${minutes}:${two(rest)}`;
}

/** A clock in the last hour, else in words, which need not change every second. */
export function timeLeft(seconds: number, words: Words): string {
  return seconds < 3600 ? countdown(seconds) : duration(seconds, words);
}

/** `10 GPU-h`, `1.25 GPU-h`; GPU-minutes and GPU-seconds where they say more. */
export function gpuTime(gpuSeconds: number, words: Words): string {
  const whole = Math.floor(gpuSeconds);
  if (whole > 0 && whole < 60) return words.__("%1 GPU-s", whole);
  if (whole > 0 && whole < 3600) return words.__("%1 GPU-min", Math.floor(whole / 60));
  return words.__("%1 GPU-h", number(whole / 3600, 2));
}

export function number(value: number, places = 0): string {
  return value.toLocaleString("en", { maximumFractionDigits: places });
}

/** `$3.20`; `< $0.01` for what is less than the smallest shown, but not nothing. */
export function money(micros: number, currency: string, places = 2): string {
  const smallest = MICROS / 10 ** places;
  const shown = micros > 0 && micros < smallest ? smallest : micros;
  const text = (shown / MICROS).toLocaleString("en", {
    style: "currency",
    currency,
    minimumFractionDigits: places,
    maximumFractionDigits: places,
  });
  return shown === micros ? text : `< ${text}`;
}

/** `2 GPUs`, `1 GPU`, `0.143 GPU`, `no GPU`. */
export function gpus(milli: number, words: Words): string {
  if (milli === 0) return words.__("no GPU");
  const count = number(milli / 1000, 3);
  return milli > 1000 ? words.__("%1 GPUs", count) : words.__("%1 GPU", count);
}

export function bytes(count: number): string {
  return count >= 2 ** 30 ? `${number(count / 2 ** 30, 1)} GiB` : `${number(count / 2 ** 20)} MiB`;
}

const CLOCK: Intl.DateTimeFormatOptions = { hour: "2-digit", minute: "2-digit" };
const WEEKDAY: Intl.DateTimeFormatOptions = { weekday: "short", ...CLOCK };
const DATE: Intl.DateTimeFormatOptions = { day: "numeric", month: "short", ...CLOCK };

/** `14:05` today, `Tue, 14:05` within a week, else `23 Nov, 14:05`, in the browser's time zone. */
export function moment(iso: string, now: number): string {
  const at = new Date(iso);
  const options =
    at.toDateString() === new Date(now).toDateString()
      ? CLOCK
      : Math.abs(at.getTime() - now) < 6 * 86_400_000
        ? WEEKDAY
        : DATE;
  return new Intl.DateTimeFormat("en-GB", options).format(at);
}

/** A moment as `<input type="datetime-local">` takes it: the browser's time zone, to the minute. */
export function localInput(ms: number): string {
  const at = new Date(ms - new Date(ms).getTimezoneOffset() * 60_000);
  return at.toISOString().slice(0, 16);
}
