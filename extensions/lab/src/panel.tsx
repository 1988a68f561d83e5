/** The Sublet panel: the lease, what it costs, until when and why, the GPU, and what is left of each quota. */

import { ReactWidget } from "@jupyterlab/ui-components";
import * as React from "react";

import type { Doings } from "./doings";
import { gpus, localInput, moment, money, timeLeft, type Words } from "./format";
import { GpuPlot } from "./gpu";
import { useDoing, useNow, useRead, useView } from "./hooks";
import { subletIcon } from "./icon";
import { Limits } from "./limits";
import { flavorsPage, usagePage } from "./links";
import type { Lease, Offer, Quota, ServerState } from "./routes";
import type { Session } from "./session";
import { costSoFar, nearness, secondsLeft, type View } from "./view";
import { accountName, deadlineReason, idleTip } from "./wording";

export interface PanelProps {
  readonly session: Session;
  readonly doings: Doings;
  readonly words: Words;
}

/** How old the quota shown may get while the panel is open. */
const QUOTA_MS = 60_000;

export class Panel extends ReactWidget {
  constructor(private readonly props: PanelProps) {
    super();
    this.id = "sublet-panel";
    this.addClass("sublet-Panel");
    this.title.icon = subletIcon;
    this.title.caption = props.words.__("Sublet: your lease");
    this.node.tabIndex = -1;
    this.node.setAttribute("role", "region");
    this.node.setAttribute("aria-label", props.words.__("Sublet"));
  }

  protected onActivateRequest(): void {
    this.node.focus();
  }

  protected onAfterShow(): void {
    this.update();
  }

  protected onAfterHide(): void {
    this.update();
  }

  protected render(): React.JSX.Element {
    // Hidden, it costs nothing: no timer, no request.
    return this.isVisible ? <PanelContent {...this.props} /> : <></>;
  }
}

function PanelContent({ session, doings, words }: PanelProps): React.JSX.Element {
  const view = useView(session);
  const now = useNow(session);
  const lease = view.state?.lease ?? null;
  const quota = useRead<Quota>(() => session.requests.quota(), QUOTA_MS, `${lease?.id} ${lease?.deadline_at}`);
  const offers = useRead<Offer[]>(() => session.requests.flavors(), null, lease?.flavor ?? "");
  const offer = offers.value?.find(({ flavor }) => flavor === lease?.flavor);
  return (
    <div className="sublet-Panel-content">
      <h2>Sublet</h2>
      <Away view={view} words={words} />
      {view.state && lease && <Now {...{ session, doings, words, now, lease, offer }} state={view.state} />}
      {view.state && !lease && <Empty words={words} />}
      {!view.state && view.serverLost === null && <p className="sublet-soft">{words.__("Reading…")}</p>}
      <section>
        <h3>{words.__("What is left")}</h3>
        {quota.value && <Limits quota={quota.value} paying={lease?.account ?? null} {...{ now, words }} />}
        {!quota.value && !quota.fault && <p className="sublet-soft">{words.__("Reading…")}</p>}
        {quota.fault && <p className="sublet-fault">{words.__("This could not be read: %1", quota.fault)}</p>}
      </section>
      {usagePage() && (
        <p>
          <a href={usagePage() ?? ""} target="_blank" rel="noopener" className="sublet-link">
            {words.__("Your usage and history")}
          </a>
        </p>
      )}
    </div>
  );
}

function Now(props: PanelProps & { state: ServerState; lease: Lease; offer: Offer | undefined; now: number }) {
  const { session, doings, words, state, lease, offer, now } = props;
  const left = secondsLeft(lease, now);
  const rate = (lease.price_microunits_per_gpu_hour * lease.gpus_milli) / 1000;
  const perHour = money(rate, lease.currency);
  const tip = idleTip(state.idle_minutes, state.idle_stop?.after_minutes ?? null, perHour, words);
  const tier = lease.tier === "surplus" ? words.__("surplus") : words.__("guaranteed");
  return (
    <>
      <section aria-label={words.__("Lease")} data-near={nearness(state, now)} className="sublet-Lease">
        <h3>
          {offer?.title ?? lease.flavor} <span className="sublet-tag">{tier}</span>
          {lease.simulated && <span className="sublet-tag">{words.__("simulated")}</span>}
        </h3>
        <dl className="sublet-facts">
          <div>
            <dt>{words.__("Time left")}</dt>
            <dd className="sublet-big sublet-Lease-left">
              {left > 0 ? timeLeft(left, words) : words.__("stopping")}
            </dd>
          </div>
          <div>
            <dt>{words.__("So far")}</dt>
            <dd className="sublet-big">{money(costSoFar(lease, now), lease.currency)}</dd>
          </div>
        </dl>
        <p>
          {words.__("Until %1, %2.", moment(lease.deadline_at, now), deadlineReason(lease, words))}
          <br />
          <span className="sublet-soft">
            {words.__(
              "%1 an hour for %2, paid by %3.",
              perHour,
              gpus(lease.gpus_milli, words),
              accountName(lease.account, words),
            )}
          </span>
        </p>
        {!state.accepting && state.refusal && <p className="sublet-fault">{state.refusal}</p>}
        <Buttons {...{ session, doings, words, lease, now }} />
      </section>
      {lease.gpus_milli > 0 && (
        <section>
          <h3>{words.__("GPU, last hour")}</h3>
          {tip && <p className="sublet-tip">{tip}</p>}
          <GpuPlot state={state} now={now} words={words} />
        </section>
      )}
    </>
  );
}

function Buttons({ session, doings, words, lease }: PanelProps & { lease: Lease; now: number }): React.JSX.Element {
  const { busy, said, run } = useDoing();
  const [picking, setPicking] = React.useState(false);
  const button = (label: string, work: () => Promise<string | null>) => (
    <button type="button" className="sublet-button" aria-disabled={busy} onClick={() => run(work)}>
      {label}
    </button>
  );
  return (
    <>
      <div className="sublet-buttons">
        {button(words.__("Extend"), () => doings.extend())}
        {button(words.__("Stop"), () => doings.stopNow())}
        <button
          type="button"
          className="sublet-button"
          aria-disabled={busy}
          aria-expanded={picking}
          onClick={() => setPicking(!picking)}
        >
          {words.__("Stop at…")}
        </button>
        {flavorsPage() && button(words.__("Switch flavor"), () => doings.switchFlavor())}
      </div>
      {picking && (
        <StopAt
          words={words}
          from={session.now()}
          to={Date.parse(lease.deadline_at)}
          pick={at => {
            setPicking(false);
            run(() => doings.stopAt(at));
          }}
        />
      )}
      <p role="status" className={said?.fault ? "sublet-fault" : "sublet-soft"}>
        {said?.text}
      </p>
    </>
  );
}

/** Picks a moment before the deadline. Extending takes it back. */
function StopAt(props: { words: Words; from: number; to: number; pick: (at: Date) => void }): React.JSX.Element {
  const { words, from, to, pick } = props;
  const [value, setValue] = React.useState(() => localInput(Math.min(from + 30 * 60_000, to)));
  return (
    <form
      className="sublet-StopAt"
      onSubmit={event => {
        event.preventDefault();
        pick(new Date(value));
      }}
    >
      <label>
        {words.__("Stop at")}
        <input
          type="datetime-local"
          required
          autoFocus
          value={value}
          min={localInput(from)}
          max={localInput(to)}
          onChange={event => setValue(event.target.value)}
        />
      </label>
      <button type="submit" className="sublet-button">
        {words.__("Set")}
      </button>
    </form>
  );
}

function Empty({ words }: { words: Words }): React.JSX.Element {
  const page = flavorsPage();
  return (
    <div className="sublet-Empty">
      <p>{words.__("This server holds no lease: nothing is metered, and there is no GPU.")}</p>
      {page && (
        <a className="sublet-link" href={page}>
          {words.__("Pick a flavor")}
        </a>
      )}
    </div>
  );
}

/** What is known may be old: since when, and what that means. */
function Away({ view, words }: { view: View; words: Words }): React.JSX.Element | null {
  const since = view.serverLost ?? view.platformLost;
  if (since === null) return null;
  const at = moment(new Date(since).toISOString(), Date.now());
  const sentence =
    view.serverLost !== null
      ? words.__("No answer from your server since %1.", at)
      : words.__("No news from the platform since %1.", at);
  const rest = view.state ? words.__("Shown is what was known then; your work is not affected.") : "";
  return (
    <p className="sublet-away" role="status">
      {sentence} {rest} {view.serverLost === null && view.state?.trouble}
    </p>
  );
}
