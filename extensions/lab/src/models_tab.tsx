/** The tab with the models of the platform: to find one, see on what terms it can be had, and begin with it. */

import { ReactWidget } from "@jupyterlab/ui-components";
import * as React from "react";

import type { Doings } from "./doings";
import type { Words } from "./format";
import { useRead, useView } from "./hooks";
import { modelsIcon } from "./icon";
import { readLicence } from "./licence";
import { modelsPage } from "./links";
import { ModelCard } from "./model_card";
import { ALL, families, type Filter, found, type Kind } from "./models";
import type { Models, Offer } from "./routes";
import type { Session } from "./session";

export interface ModelsProps {
  readonly session: Session;
  readonly doings: Doings;
  readonly words: Words;
  readonly insert: (code: string) => Promise<string>;
}

/** How old the list may get while it is shown: a licence may be accepted elsewhere. */
const LIST_MS = 60_000;
const FIND = "sublet-Models-find";

export class ModelsTab extends ReactWidget {
  private readonly kept: Kept = { filter: ALL, list: null, goToFind: false };

  constructor(private readonly props: ModelsProps) {
    super();
    this.id = "sublet-models";
    this.addClass("sublet-Panel");
    this.title.icon = modelsIcon;
    this.title.caption = props.words.__("Sublet: models");
    this.node.tabIndex = -1;
    this.node.setAttribute("role", "region");
    this.node.setAttribute("aria-label", props.words.__("Models"));
  }

  protected onActivateRequest(): void {
    const find = this.node.querySelector<HTMLElement>(`.${FIND}`);
    (find ?? this.node).focus();
    this.kept.goToFind = find === null; // as soon as it is there
  }

  protected onAfterShow(): void {
    this.update();
  }

  protected onAfterHide(): void {
    this.update();
  }

  protected render(): React.JSX.Element {
    // Hidden, it costs nothing: no timer, no request.
    return this.isVisible ? <ModelsContent {...this.props} kept={this.kept} /> : <></>;
  }
}

/** What was looked for and read stays while the tab is hidden. */
interface Kept {
  filter: Filter;
  list: Models | null;
  /** Whether the tab was opened before it had a field to type in. */
  goToFind: boolean;
}

function ModelsContent({ session, doings, words, insert, kept }: ModelsProps & { kept: Kept }): React.JSX.Element {
  const [filter, setFilter] = React.useState(kept.filter);
  const view = useView(session);
  const lease = view.state?.lease ?? null;
  const connected = view.platformLost === null;
  const [times, again] = React.useReducer((count: number) => count + 1, 0);
  const read = useRead<Models>(() => session.requests.models(), LIST_MS, `${lease?.id} ${connected} ${times}`);
  const offers = useRead<Offer[]>(() => session.requests.flavors(), null, lease?.flavor ?? "").value;
  const list = read.value ?? kept.list;
  React.useEffect(() => {
    kept.filter = filter;
    kept.list = list;
  }, [filter, list]);
  const content = React.useRef<HTMLDivElement>(null);
  React.useEffect(() => {
    const find = content.current?.querySelector<HTMLElement>(`.${FIND}`);
    if (!find || !kept.goToFind) return;
    kept.goToFind = false;
    // Not where the keyboard has gone elsewhere meanwhile.
    if (content.current?.closest(".sublet-Panel")?.contains(document.activeElement)) find.focus();
  });
  const shown = list ? found(list, filter, lease, offers) : [];
  return (
    <div className="sublet-Panel-content" ref={content} onKeyDown={moveFocus}>
      <h2>{words.__("Models")}</h2>
      {read.fault && (
        <div className="sublet-fault" role="alert">
          {words.__("This could not be read: %1", read.fault)}{" "}
          <button type="button" className="sublet-button sublet-small" onClick={again}>
            {words.__("Try again")}
          </button>
        </div>
      )}
      {!list && !read.fault && <p className="sublet-soft">{words.__("Reading…")}</p>}
      {list?.models.length === 0 && <NoModels words={words} />}
      {list && list.models.length > 0 && (
        <>
          <Filters {...{ list, filter, setFilter, words }} count={shown.length} />
          {shown.length === 0 && (
            <div className="sublet-Empty">
              <p>{words.__("No model is like that.")}</p>
              <button type="button" className="sublet-button" onClick={() => setFilter(ALL)}>
                {words.__("Show all")}
              </button>
            </div>
          )}
          <ul className="sublet-Models">
            {shown.map(model => (
              <ModelCard
                key={model.name}
                {...{ model, lease, offers, words, insert }}
                here={list.here}
                switchFlavor={() => doings.switchFlavor()}
                read={async each => {
                  const said = await readLicence(each, session.requests, words);
                  again(); // also where it was accepted elsewhere meanwhile
                  return said;
                }}
              />
            ))}
          </ul>
        </>
      )}
      {modelsPage() && (
        <p>
          <a href={modelsPage() ?? ""} target="_blank" rel="noopener" className="sublet-link">
            {words.__("The platform's page of models")}
          </a>
        </p>
      )}
    </div>
  );
}

function NoModels({ words }: { words: Words }): React.JSX.Element {
  return (
    <div className="sublet-Empty">
      <p>{words.__("There are no models on this platform yet. Ask its admins: they add them in models.toml.")}</p>
    </div>
  );
}

interface FilterProps {
  readonly list: Models;
  readonly filter: Filter;
  readonly setFilter: (filter: Filter) => void;
  readonly count: number;
  readonly words: Words;
}

function Filters({ list, filter, setFilter, count, words }: FilterProps): React.JSX.Element {
  const kinds: [Kind, string][] = [
    ["all", words.__("all")],
    ["here", words.__("on this server")],
    ["served", words.__("served")],
    ["ready", words.__("what I can use now")],
  ];
  const all = list.models.length;
  return (
    <div className="sublet-Filters" role="search">
      <label className="sublet-wide">
        {words.__("Find")}
        <input
          type="search"
          className={FIND}
          placeholder={words.__("name, family, what it is for")}
          value={filter.text}
          onChange={event => setFilter({ ...filter, text: event.target.value })}
        />
      </label>
      <label>
        {words.__("Family")}
        <select value={filter.family} onChange={event => setFilter({ ...filter, family: event.target.value })}>
          <option value="">{words.__("all")}</option>
          {families(list.models).map(family => (
            <option key={family}>{family}</option>
          ))}
        </select>
      </label>
      <label>
        {words.__("Show")}
        <select value={filter.kind} onChange={event => setFilter({ ...filter, kind: event.target.value as Kind })}>
          {kinds.map(([kind, text]) => (
            <option key={kind} value={kind}>
              {text}
            </option>
          ))}
        </select>
      </label>
      <p role="status" className="sublet-soft sublet-wide">
        {count === all ? words._n("%1 model", "%1 models", all, all) : words.__("%1 of %2 models", count, all)}
      </p>
    </div>
  );
}

/** Up and down go from the search to the models, from one to the next, and back. */
function moveFocus(event: React.KeyboardEvent<HTMLElement>): void {
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  const from = event.target as HTMLElement;
  if (!step || from.closest("select, pre, summary")) return;
  const find = event.currentTarget.querySelector<HTMLElement>(`.${FIND}`);
  const stops = [find, ...event.currentTarget.querySelectorAll<HTMLElement>(".sublet-Model")];
  const at = stops.indexOf(from === find ? find : from.closest<HTMLElement>(".sublet-Model"));
  const to = at < 0 ? null : stops[at + step];
  if (!to) return;
  event.preventDefault();
  to.focus();
}
