/** What a person can do with the lease, from the panel as from a banner: each asks where something would be lost. */

import { Dialog, showDialog } from "@jupyterlab/apputils";

import type { Words } from "./format";
import { flavorsPage, homePage, usagePage } from "./links";
import type { Session } from "./session";
import type { Saves } from "./tabs";

/** A stopped server is waited for this long, before the page leaves for the hub's all the same. */
const STOP_WAIT_MS = 30_000;

export class Doings {
  constructor(
    private readonly session: Session,
    private readonly words: Words,
    private readonly leave: (url: string) => void = url => window.location.assign(url),
  ) {}

  async save(): Promise<string> {
    return savedText(await this.session.save(), this.words);
  }

  /** Throws RequestFailed with the sentence which limit it is, where it can't be extended. */
  async extend(): Promise<string> {
    await this.session.requests.keep();
    return this.words.__("Extended.");
  }

  async stopNow(): Promise<string | null> {
    const { words } = this;
    const sentence = words.__(
      "Open documents are saved. What is only in the memory of kernels is lost, and the GPU is given back.",
    );
    if (!(await agreed(words.__("Stop this server?"), sentence, words.__("Stop"), words))) return null;
    return this.stopAndGo(homePage());
  }

  async stopAt(at: Date): Promise<string> {
    await this.session.requests.stop(at.toISOString());
    return this.words.__("It will be stopped then.");
  }

  /** The home stays, the server starts again on what is picked. */
  async switchFlavor(): Promise<string | null> {
    const { words } = this;
    const sentence = words.__(
      "Open documents are saved, and this server is stopped. You then pick another flavor; your files will be there, " +
        "what is only in the memory of kernels is lost.",
    );
    if (!(await agreed(words.__("Move to another flavor?"), sentence, words.__("Stop and pick"), words))) return null;
    return this.stopAndGo(flavorsPage());
  }

  more(): void {
    const page = usagePage();
    if (page) window.open(page, "_blank", "noopener");
  }

  private async stopAndGo(page: string | null): Promise<string> {
    const saves = await this.session.save();
    if (saves.failed > 0) throw new Error(savedText(saves, this.words));
    await this.session.requests.stop();
    // The hub shows its own page of a server once that is gone; before, it would send us back here.
    await this.gone();
    if (page) this.leave(page);
    return this.words.__("Stopping.");
  }

  private gone(): Promise<void> {
    return new Promise(done => {
      const look = () => {
        const { state, serverLost } = this.session.view;
        if (serverLost === null && state?.lease && !state.lease.ended_at) return;
        this.session.changed.disconnect(look);
        done();
      };
      this.session.changed.connect(look);
      window.setTimeout(() => {
        this.session.changed.disconnect(look);
        done();
      }, STOP_WAIT_MS);
      look();
    });
  }
}

async function agreed(title: string, body: string, label: string, words: Words): Promise<boolean> {
  const buttons = [Dialog.cancelButton({ label: words.__("Cancel") }), Dialog.warnButton({ label })];
  return (await showDialog({ title, body, buttons, defaultButton: 0 })).button.accept;
}

export function savedText({ saved, failed }: Saves, words: Words): string {
  if (failed > 0)
    return words._n("%1 document could not be saved.", "%1 documents could not be saved.", failed, failed);
  if (saved === 0) return words.__("Everything is saved already.");
  return words._n("Saved %1 document.", "Saved %1 documents.", saved, saved);
}
