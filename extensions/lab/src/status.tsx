/** The status bar's item: flavor, GPU meter, time left, money so far. */

import { ReactWidget } from "@jupyterlab/ui-components";
import * as React from "react";

import { money, timeLeft, type Words } from "./format";
import { useNow, useView } from "./hooks";
import type { Session } from "./session";
import { costSoFar, loadOf, nearness, secondsLeft, type View } from "./view";

export interface StatusProps {
  readonly session: Session;
  readonly words: Words;
  readonly open: () => void;
}

export class Status extends ReactWidget {
  constructor(private readonly props: StatusProps) {
    super();
    this.addClass("sublet-Status");
    this.id = "sublet-status";
  }

  protected render(): React.JSX.Element {
    return <StatusItem {...this.props} />;
  }
}

function StatusItem({ session, words, open }: StatusProps): React.JSX.Element | null {
  const view = useView(session);
  const now = useNow(session);
  const lease = view.state?.lease;
  if (!lease) return null;
  const busy = loadOf(view.state?.gpu?.gpus ?? [])?.utilisation ?? null;
  const left = secondsLeft(lease, now);
  const cost = money(costSoFar(lease, now), lease.currency);
  const away = isAway(view);
  const label = [
    words.__("Sublet: %1", lease.flavor),
    left > 0 ? words.__("%1 left", timeLeft(left, words)) : words.__("stopping"),
    words.__("%1 so far", cost),
    busy !== null && words.__("GPU %1%", Math.round(busy)),
    away && words.__("no news from the platform"),
  ];
  return (
    <button
      type="button"
      className="sublet-Status-button"
      data-near={nearness(view.state, now)}
      data-away={away || undefined}
      aria-label={label.filter(Boolean).join(", ")}
      title={words.__("Open the Sublet panel")}
      onClick={open}
    >
      <span className="sublet-Status-flavor">{lease.flavor}</span>
      {busy !== null && <Meter share={busy / 100} />}
      <span className="sublet-Status-time">{left > 0 ? timeLeft(left, words) : words.__("stopping")}</span>
      <span className="sublet-Status-cost">{cost}</span>
      {away && <span aria-hidden="true">⚠</span>}
    </button>
  );
}

/** Five bars, as many lit as the GPU is busy. */
function Meter({ share }: { readonly share: number }): React.JSX.Element {
  const lit = Math.round(Math.min(1, Math.max(0, share)) * 5);
  return (
    <svg className="sublet-Meter" width="22" height="12" viewBox="0 0 22 12" aria-hidden="true">
      {[0, 1, 2, 3, 4].map(bar => (
        <rect
          key={bar}
          x={bar * 4.5}
          y={8 - bar * 2}
          width="3"
          height={4 + bar * 2}
          data-lit={bar < lit || undefined}
        />
      ))}
    </svg>
  );
}

export function isAway(view: View): boolean {
  return view.serverLost !== null || view.platformLost !== null;
}
