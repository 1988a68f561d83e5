/** A model's licence, to be read and accepted. */

import { Dialog, showDialog } from "@jupyterlab/apputils";
import * as React from "react";

import type { Words } from "./format";
import { modelsPage } from "./links";
import { openedText } from "./models";
import type { Requests } from "./request";
import type { Model, ModelDetail } from "./routes";

/** Shows it as it is now, and accepts what was shown. Gives what was done, null where nothing was. */
export async function readLicence(model: Model, requests: Requests, words: Words): Promise<string | null> {
  const shown = await requests.model(model.name);
  const { name, title, version, accepted } = shown.licence;
  const buttons = accepted
    ? [Dialog.okButton({ label: words.__("Close") })]
    : [Dialog.cancelButton({ label: words.__("Cancel") }), Dialog.okButton({ label: words.__("I accept") })];
  const body = <LicenceText model={shown} words={words} />;
  const answer = await showDialog({ title, body, buttons, defaultButton: 0 });
  if (accepted || !answer.button.accept) return null;
  await requests.accept(model.name, { licence: name, version });
  return openedText(shown, words);
}

function LicenceText({ model, words }: { model: ModelDetail; words: Words }): React.JSX.Element {
  const { title, version, url, text, accepted } = model.licence;
  const page = modelsPage(model.name);
  return (
    <div className="sublet-Licence">
      <p>{words.__("%1 is under the %2, version %3.", model.title, title, version)}</p>
      {text && (
        <div className="sublet-Licence-text" tabIndex={0} role="document" aria-label={title}>
          {text}
        </div>
      )}
      {!text && !accepted && (
        <p>{words.__("Its text is not kept here. Read it at its own address before you accept.")}</p>
      )}
      <p>
        <a className="sublet-link" href={url} target="_blank" rel="noreferrer">
          {words.__("The licence at its own address")}
        </a>
      </p>
      {accepted ? (
        <p className="sublet-soft">{words.__("It is accepted already.")}</p>
      ) : (
        <p className="sublet-soft">
          {words.__(
            "You accept it for yourself. Who accepted which version, and when, is kept and can't be taken back. " +
              "Calls work at once; files are on your servers from their next start.",
          )}{" "}
          {page && (
            <a className="sublet-link" href={page} target="_blank" rel="noopener">
              {words.__("Accept it for a group")}
            </a>
          )}
        </p>
      )}
    </div>
  );
}
