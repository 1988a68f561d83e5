/** GPU utilisation and memory over the last hour. */

import * as React from "react";

import { bytes, type Words } from "./format";
import { areaPath, linePath, mean, series, type Frame } from "./plot";
import type { ServerState } from "./routes";
import { loadOf } from "./view";

const HOUR_MS = 3_600_000;
const WIDTH = 280;
const HEIGHT = 72;

export function GpuPlot({ state, now, words }: { state: ServerState; now: number; words: Words }): React.JSX.Element {
  const load = loadOf(state.gpu?.gpus ?? []);
  const { utilisation, memory } = series(state.history);
  const frame: Frame = { from: now - HOUR_MS, to: now, width: WIDTH, height: HEIGHT };
  const summary = words.__(
    "GPU over the last hour: utilisation %1% on average, memory %2% on average",
    Math.round(100 * mean(utilisation)),
    Math.round(100 * mean(memory)),
  );
  return (
    <div className="sublet-Gpu">
      <dl className="sublet-Gpu-now">
        <div data-series="utilisation">
          <dt>{words.__("Utilisation")}</dt>
          <dd>{utilisationText(load?.utilisation ?? null)}</dd>
        </div>
        <div data-series="memory">
          <dt>{words.__("Memory")}</dt>
          <dd>{load ? words.__("%1 of %2", bytes(load.memoryUsed), bytes(load.memoryTotal)) : "–"}</dd>
        </div>
      </dl>
      <svg
        className="sublet-Plot"
        viewBox={`0 0 ${WIDTH} ${HEIGHT}`}
        preserveAspectRatio="none"
        role="img"
        aria-label={summary}
      >
        {[0.25, 0.5, 0.75].map(share => (
          <line key={share} className="sublet-Plot-grid" x1="0" x2={WIDTH} y1={share * HEIGHT} y2={share * HEIGHT} />
        ))}
        <path data-series="memory" className="sublet-Plot-line" d={linePath(memory, frame)} />
        <path data-series="utilisation" className="sublet-Plot-area" d={areaPath(utilisation, frame)} />
        <path data-series="utilisation" className="sublet-Plot-line" d={linePath(utilisation, frame)} />
      </svg>
      <div className="sublet-Plot-axis" aria-hidden="true">
        <span>{words.__("1 h ago")}</span>
        {memory.length === 0 && <span>{words.__("no records yet")}</span>}
        <span>{words.__("now")}</span>
      </div>
    </div>
  );
}

function utilisationText(percent: number | null): string {
  return percent === null ? "–" : `${Math.round(percent)}%`;
}
