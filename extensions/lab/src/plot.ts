/** Paths of the panel's small plots: what a share of 0 to 1 was over a span of time. */

import type { Minute } from "./routes";
import { loadOf } from "./view";

export interface Point {
  /** ms. */
  readonly at: number;
  /** 0 to 1. */
  readonly share: number;
}

export interface Frame {
  readonly from: number;
  readonly to: number;
  readonly width: number;
  readonly height: number;
}

/** Records farther apart than this are not joined: nothing is known of the time between. */
export const GAP_MS = 150_000;

/** Utilisation and memory of all GPUs of the lease, by the minute. */
export function series(history: readonly Minute[]): { readonly utilisation: Point[]; readonly memory: Point[] } {
  const utilisation: Point[] = [];
  const memory: Point[] = [];
  for (const minute of [...history].sort((a, b) => Date.parse(a.at) - Date.parse(b.at))) {
    const load = loadOf(minute.gpus);
    if (!load) continue;
    const at = Date.parse(minute.at);
    if (load.utilisation !== null) utilisation.push({ at, share: clamp(load.utilisation / 100) });
    memory.push({ at, share: load.memoryTotal > 0 ? clamp(load.memoryUsed / load.memoryTotal) : 0 });
  }
  return { utilisation, memory };
}

/** Runs of points without a gap, within the frame. */
export function runs(points: readonly Point[], frame: Frame): Point[][] {
  const found: Point[][] = [];
  let last = Number.NEGATIVE_INFINITY;
  for (const point of points) {
    if (point.at < frame.from || point.at > frame.to) continue;
    if (point.at - last > GAP_MS) found.push([]);
    found[found.length - 1]?.push(point);
    last = point.at;
  }
  return found;
}

/** The line through the points, as an SVG path; a lone point is a short dash. */
export function linePath(points: readonly Point[], frame: Frame): string {
  return runs(points, frame)
    .map(run => {
      const [first] = run;
      if (run.length === 1 && first) return `M${x(first, frame)} ${y(first, frame)}h2`;
      return "M" + run.map(point => `${x(point, frame)} ${y(point, frame)}`).join("L");
    })
    .join("");
}

/** The ground under the line. */
export function areaPath(points: readonly Point[], frame: Frame): string {
  return runs(points, frame)
    .filter(run => run.length > 1)
    .map(run => {
      const [first, last] = [run[0] as Point, run[run.length - 1] as Point];
      const line = run.map(point => `L${x(point, frame)} ${y(point, frame)}`).join("");
      return `M${x(first, frame)} ${frame.height}${line}L${x(last, frame)} ${frame.height}Z`;
    })
    .join("");
}

export function mean(points: readonly Point[]): number {
  return points.length === 0 ? 0 : points.reduce((sum, point) => sum + point.share, 0) / points.length;
}

function x(point: Point, { from, to, width }: Frame): number {
  return round(((point.at - from) / (to - from)) * width);
}

function y(point: Point, { height }: Frame): number {
  return round((1 - point.share) * height);
}

function round(value: number): number {
  return Math.round(value * 10) / 10;
}

function clamp(share: number): number {
  return Math.min(1, Math.max(0, share));
}
