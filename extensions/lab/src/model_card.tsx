/** One model: what it is for, where it is, on what terms, and a cell to begin with. */

import { Clipboard } from "@jupyterlab/apputils";
import * as React from "react";

import { useDoing } from "./hooks";
import { flavorsPage } from "./links";
import {
  acceptedText,
  memoryText,
  type Place,
  placeOf,
  priceText,
  shortOf,
  shortText,
  sizeText,
  tagsOf,
} from "./models";
import type { Lease, Model, Offer } from "./routes";
import type { Words } from "./format";

export interface CardProps {
  readonly model: Model;
  readonly here: readonly string[];
  readonly lease: Lease | null;
  readonly offers: readonly Offer[] | null;
  readonly words: Words;
  /** Puts code into a notebook; gives what to say of it. */
  readonly insert: (code: string) => Promise<string>;
  /** Stops this server and leads to the flavors, if that is what is wished. */
  readonly switchFlavor: () => Promise<string | null>;
  /** Shows the licence; gives what came of it, null for nothing. */
  readonly read: (model: Model) => Promise<string | null>;
}

export function ModelCard(props: CardProps): React.JSX.Element {
  const { model, here, lease, offers, words, insert, read, switchFlavor } = props;
  const { busy, said, run } = useDoing();
  const place = placeOf(model, here);
  const enough = shortOf(model, lease, offers);
  const put = () => run(() => insert(model.example));
  const move = () => run(switchFlavor);
  const openLicence = () => run(() => read(model));
  const heading = `sublet-model-${model.name}`;
  return (
    <li
      className="sublet-Model"
      tabIndex={-1}
      data-model={model.name}
      aria-labelledby={heading}
      onKeyDown={event => {
        if (event.key !== "Enter" || event.target !== event.currentTarget || !model.example) return;
        event.preventDefault();
        put();
      }}
    >
      <h3 id={heading}>{model.title}</h3>
      <p className="sublet-Model-name sublet-soft">
        <code>{model.name}</code> {model.family} · {model.task}
      </p>
      <Tags {...{ model, place, words }} />
      {model.description && <p>{model.description}</p>}
      <Facts {...{ model, words }}>
        <Licence {...{ model, busy, words }} open={openLicence} />
      </Facts>
      {enough && (
        <p className="sublet-tip">
          {shortText(model, enough, words)}{" "}
          {enough.length > 0 && flavorsPage() && (
            <button type="button" className="sublet-button sublet-small" aria-disabled={busy} onClick={move}>
              {words.__("Switch flavor")}
            </button>
          )}
        </p>
      )}
      {model.example && <Example {...{ model, busy, run, put, words }} />}
      <p role="status" className={said?.fault ? "sublet-fault" : "sublet-soft"}>
        {said?.text}
      </p>
    </li>
  );
}

function Tags({ model, place, words }: { model: Model; place: Place; words: Words }): React.JSX.Element | null {
  const tags = tagsOf(model, place, words);
  if (tags.length === 0) return null;
  return (
    <p className="sublet-tags">
      {tags.map(({ text, lit }) => (
        <span key={text} className="sublet-tag" data-lit={lit || undefined}>
          {text}
        </span>
      ))}
    </p>
  );
}

function Facts(props: { model: Model; words: Words; children: React.ReactNode }): React.JSX.Element {
  const { model, words, children } = props;
  const facts: [string, React.ReactNode][] = [
    [words.__("Size"), sizeText(model, words)],
    [words.__("Memory"), memoryText(model, words)],
    [words.__("Price"), priceText(model, words)],
    [words.__("Licence"), children],
  ];
  return (
    <dl className="sublet-Model-facts">
      {facts.map(
        ([name, value]) =>
          value && (
            <div key={name}>
              <dt>{name}</dt>
              <dd>{value}</dd>
            </div>
          ),
      )}
    </dl>
  );
}

function Licence(props: { model: Model; busy: boolean; words: Words; open: () => void }): React.JSX.Element {
  const { model, busy, words, open } = props;
  const { title, url, gated, accepted, accepted_by } = model.licence;
  if (!gated) {
    return (
      <>
        <a className="sublet-link" href={url} target="_blank" rel="noreferrer">
          {title}
        </a>
        {words.__(", nothing to accept")}
      </>
    );
  }
  const label = accepted ? words.__("Read") : words.__("Read and accept");
  return (
    <>
      {title}{" "}
      <span className="sublet-tag" data-lit={accepted || undefined} data-missing={!accepted || undefined}>
        {accepted ? acceptedText(accepted_by, words) : words.__("not accepted")}
      </span>{" "}
      <button
        type="button"
        className="sublet-button sublet-small"
        aria-disabled={busy}
        aria-label={words.__("%1: %2", label, model.title)}
        onClick={open}
      >
        {label}
      </button>
    </>
  );
}

interface ExampleProps {
  readonly model: Model;
  readonly busy: boolean;
  readonly words: Words;
  readonly put: () => void;
  readonly run: (work: () => Promise<string | null>) => void;
}

function Example({ model, busy, words, put, run }: ExampleProps): React.JSX.Element {
  const copy = async () => {
    Clipboard.copyToSystem(model.example);
    return words.__("Copied.");
  };
  const button = (label: string, name: string, work: () => void) => (
    <button type="button" className="sublet-button" aria-disabled={busy} aria-label={name} onClick={work}>
      {label}
    </button>
  );
  return (
    <>
      <details className="sublet-Example">
        <summary>{words.__("A cell to begin with")}</summary>
        <pre tabIndex={0}>{model.example.trimEnd()}</pre>
      </details>
      <div className="sublet-buttons">
        {button(words.__("Insert"), words.__("Insert the example for %1", model.title), put)}
        {button(words.__("Copy"), words.__("Copy the example for %1", model.title), () => run(copy))}
      </div>
    </>
  );
}
