/**
 * The banner of a notice: why it stops, when, and what to do about it. It lies over the documents, below their tabs and
 * toolbars, so that nothing of the page moves when it comes and goes.
 */

import { ReactWidget } from "@jupyterlab/ui-components";
import type { Message } from "@lumino/messaging";
import * as React from "react";

import { savedText, type Doings } from "./doings";
import { countdown, moment, type Words } from "./format";
import { useDoing, useNow, useView } from "./hooks";
import { flavorsPage, usagePage } from "./links";
import type { Session } from "./session";
import { actionsFor, nearness, secondsLeft, type Action, type Banner } from "./view";
import { noticeNext, noticeWhy } from "./wording";

export interface BannerProps {
  readonly session: Session;
  readonly doings: Doings;
  readonly words: Words;
}

const MARGIN = 8;
const WIDEST = 760;
/** Where the documents are left less than this, the banner takes the window's width. */
const NARROWEST = 360;

export class Banners extends ReactWidget {
  /** `main` is the element that the documents are in. */
  constructor(
    private readonly props: BannerProps,
    private readonly main: () => Element | null,
  ) {
    super();
    this.id = "sublet-banner";
    this.addClass("sublet-Banner-place");
  }

  private readonly resized = new ResizeObserver(() => this.place());

  protected onAfterAttach(message: Message): void {
    super.onAfterAttach(message);
    const main = this.main();
    if (main) this.resized.observe(main);
    this.props.session.changed.connect(this.place);
    this.place();
  }

  protected onBeforeDetach(message: Message): void {
    this.resized.disconnect();
    this.props.session.changed.disconnect(this.place);
    super.onBeforeDetach(message);
  }

  /** Over the documents' area, below what is the top of it. */
  readonly place = (): void => {
    const main = this.main();
    if (!main) return;
    const area = main.getBoundingClientRect();
    const bars = [...main.querySelectorAll(".lm-DockPanel-tabBar, .jp-MainAreaWidget > .jp-Toolbar")]
      .map(bar => bar.getBoundingClientRect())
      .filter(({ height, bottom }) => height > 0 && bottom - area.top < 120)
      .map(({ bottom }) => bottom);
    const inArea = area.width >= NARROWEST;
    const [left, room] = inArea ? [area.left, area.width] : [0, window.innerWidth];
    const width = Math.min(WIDEST, room - 2 * MARGIN);
    this.node.style.top = `${Math.max(area.top, ...bars) + MARGIN}px`;
    this.node.style.left = `${left + (room - width) / 2}px`;
    this.node.style.width = `${width}px`;
  };

  /** Move the focus to the banner, from wherever it is. */
  focus(): void {
    this.node.querySelector<HTMLElement>("button")?.focus();
  }

  protected render(): React.JSX.Element {
    return <BannerContent {...this.props} />;
  }
}

function BannerContent({ session, doings, words }: BannerProps): React.JSX.Element | null {
  const view = useView(session);
  const banner = session.banner();
  if (!banner) return null;
  const close = () => session.dismiss(banner);
  return (
    <div
      key={banner.key}
      role="alert"
      className="sublet-Banner"
      data-near={
        banner.kind === "notice" ? nearness(view.state, session.now()) : banner.kind === "refusal" ? "warn" : "calm"
      }
      onKeyDown={event => event.key === "Escape" && close()}
    >
      <div className="sublet-Banner-text">
        <Text {...{ banner, session, words }} />
        {banner.kind === "notice" && <Actions {...{ banner, session, doings, words }} />}
      </div>
      {banner.kind === "notice" && <Clock {...{ session, words }} />}
      <button type="button" className="sublet-Banner-close" aria-label={words.__("Dismiss")} onClick={close}>
        ×
      </button>
    </div>
  );
}

function Text({ banner, session, words }: { banner: Banner; session: Session; words: Words }): React.JSX.Element {
  if (banner.kind === "refusal") {
    return (
      <p>
        <strong>{words.__("No new kernels and terminals.")}</strong> {banner.sentence}
      </p>
    );
  }
  if (banner.kind === "previous") return <p>{banner.sentence}</p>;
  const { notice, lease } = banner;
  return (
    <p>
      <strong>{words.__("%1 stops soon.", lease.flavor)}</strong> {noticeWhy(notice, lease, session.now(), words)}{" "}
      <span className="sublet-soft">{noticeNext(notice.reason, words)}</span>
    </p>
  );
}

function Clock({ session, words }: { session: Session; words: Words }): React.JSX.Element | null {
  const now = useNow(session);
  const lease = session.view.state?.lease;
  if (!lease) return null;
  const left = secondsLeft(lease, now);
  return (
    <div className="sublet-Banner-clock">
      <span role="timer" aria-live="off" className="sublet-big">
        {left > 0 ? countdown(left) : words.__("stopping")}
      </span>
      <span className="sublet-soft">{words.__("until %1", moment(lease.deadline_at, now))}</span>
    </div>
  );
}

type ActionsProps = BannerProps & { banner: Extract<Banner, { kind: "notice" }> };

function Actions({ banner, session, doings, words }: ActionsProps): React.JSX.Element {
  const { busy, said, run } = useDoing();
  const [before] = React.useState(session.saves);
  const doing: Record<Action, [string, () => Promise<string | null>, boolean]> = {
    save: [words.__("Save all"), () => doings.save(), true],
    extend: [words.__("Extend"), () => doings.extend(), true],
    more: [words.__("Request more"), async () => (doings.more(), null), usagePage() !== null],
    switch: [words.__("Move to another flavor"), () => doings.switchFlavor(), flavorsPage() !== null],
  };
  // What the server asked to be saved is told, too.
  const saves = session.saves !== before ? session.saves : null;
  const text = said ?? (saves && { text: savedText(saves, words), fault: saves.failed > 0 });
  return (
    <div className="sublet-buttons">
      {actionsFor(banner.notice.reason)
        .filter(action => doing[action][2])
        .map(action => (
          <button
            key={action}
            type="button"
            className="sublet-button"
            aria-disabled={busy}
            onClick={() => run(doing[action][1])}
          >
            {doing[action][0]}
          </button>
        ))}
      <span role="status" className={text?.fault ? "sublet-fault" : "sublet-soft"}>
        {text?.text}
      </span>
    </div>
  );
}
