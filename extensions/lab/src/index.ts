/**
 * Sublet in JupyterLab and Notebook. Courtesy, not authority: it shows, warns and saves; what holds is decided and
 * enforced elsewhere, whether this runs or not.
 */

import { ILabShell, type JupyterFrontEnd, type JupyterFrontEndPlugin } from "@jupyterlab/application";
import { ICommandPalette } from "@jupyterlab/apputils";
import { IDocumentManager } from "@jupyterlab/docmanager";
import { INotebookTracker } from "@jupyterlab/notebook";
import { IStatusBar } from "@jupyterlab/statusbar";
import { ITranslator, nullTranslator } from "@jupyterlab/translation";
import { Token } from "@lumino/coreutils";
import { Widget } from "@lumino/widgets";

import { Banners } from "./banner";
import { Doings } from "./doings";
import type { Words } from "./format";
import { insertExample } from "./inserting";
import { ModelsTab } from "./models_tab";
import { Panel } from "./panel";
import { Requests } from "./request";
import { openDocuments, saveDocuments } from "./saving";
import { Session } from "./session";
import { sleep } from "./tabs";
import { Status } from "./status";

const OPEN_PANEL = "sublet:open-panel";
const OPEN_MODELS = "sublet:open-models";
const SAVE_ALL = "sublet:save-all";
const GO_TO_NOTICE = "sublet:go-to-notice";

/** A page that never gets done with restoring its layout is told of its lease all the same. */
const START_AT_LATEST_MS = 10_000;

interface ISublet {
  readonly session: Session;
  readonly doings: Doings;
  readonly words: Words;
}

const ISublet = new Token<ISublet>("@sublet/lab:ISublet", "The lease of this server, as it stands.");

const session: JupyterFrontEndPlugin<ISublet> = {
  id: "@sublet/lab:session",
  description: "Follows the lease of this server, and saves open documents when it is told to.",
  autoStart: true,
  provides: ISublet,
  requires: [IDocumentManager],
  optional: [ITranslator],
  activate: (app: JupyterFrontEnd, documents: IDocumentManager, translator: ITranslator | null): ISublet => {
    const words = (translator ?? nullTranslator).load("sublet_lab");
    const saveAll = (until: number) => saveDocuments(openDocuments(app.shell, documents), until);
    const settings = app.serviceManager.serverSettings;
    const made = new Session(new Requests(settings), saveAll, settings.baseUrl);
    // Until JupyterLab is there to work in, it needs the browser's few connections and the processor for itself.
    void Promise.race([app.restored, sleep(START_AT_LATEST_MS)]).then(() => made.start());
    return { session: made, doings: new Doings(made, words), words };
  },
};

const panel: JupyterFrontEndPlugin<void> = {
  id: "@sublet/lab:panel",
  description: "The Sublet panel.",
  autoStart: true,
  requires: [ISublet],
  optional: [ICommandPalette],
  activate: (app: JupyterFrontEnd, sublet: ISublet, palette: ICommandPalette | null): void => {
    const { session, words } = sublet;
    const widget = new Panel(sublet);
    app.shell.add(widget, "right", { rank: 900 });
    app.commands.addCommand(OPEN_PANEL, {
      label: words.__("Open the Sublet Panel"),
      describedBy: { args: { type: "object", properties: {} } },
      execute: () => app.shell.activateById(widget.id),
    });
    app.commands.addCommand(SAVE_ALL, {
      label: words.__("Save All Open Documents"),
      describedBy: { args: { type: "object", properties: {} } },
      execute: () => session.save(),
    });
    for (const command of [OPEN_PANEL, SAVE_ALL]) palette?.addItem({ command, category: "Sublet" });
  },
};

const models: JupyterFrontEndPlugin<void> = {
  id: "@sublet/lab:models",
  description: "The models of the platform, with a cell to begin with.",
  autoStart: true,
  requires: [ISublet],
  optional: [ICommandPalette, INotebookTracker, ILabShell],
  activate: (
    app: JupyterFrontEnd,
    { session, doings, words }: ISublet,
    palette: ICommandPalette | null,
    notebooks: INotebookTracker | null,
    lab: ILabShell | null,
  ): void => {
    const insert = (code: string) => insertExample(code, { app, notebooks, lab, words });
    const widget = new ModelsTab({ session, doings, words, insert });
    app.shell.add(widget, "right", { rank: 901 });
    app.commands.addCommand(OPEN_MODELS, {
      label: words.__("Open the Models"),
      describedBy: { args: { type: "object", properties: {} } },
      execute: () => {
        app.shell.activateById(widget.id);
        widget.activate(); // Notebook only shows it
      },
    });
    palette?.addItem({ command: OPEN_MODELS, category: "Sublet" });
  },
};

const status: JupyterFrontEndPlugin<void> = {
  id: "@sublet/lab:status",
  description: "Flavor, time left and money so far, always in sight.",
  autoStart: true,
  requires: [ISublet],
  optional: [IStatusBar, ILabShell],
  activate: (app: JupyterFrontEnd, sublet: ISublet, bar: IStatusBar | null, lab: ILabShell | null): void => {
    const item = new Status({ ...sublet, open: () => void app.commands.execute(OPEN_PANEL) });
    if (bar) bar.registerStatusItem(item.id, { item, align: "left", rank: 900, priority: 10 });
    // Notebook has no status bar; the top of its page has room.
    else if (!lab) app.shell.add(item, "top", { rank: 10_000 });
  },
};

const banner: JupyterFrontEndPlugin<void> = {
  id: "@sublet/lab:banner",
  description: "Notices before a stop, and how the last server ended.",
  autoStart: true,
  requires: [ISublet],
  optional: [ICommandPalette],
  activate: (app: JupyterFrontEnd, sublet: ISublet, palette: ICommandPalette | null): void => {
    const main = () => app.shell.node.querySelector("#jp-main-dock-panel, #main-panel");
    const widget = new Banners(sublet, main);
    app.commands.addCommand(GO_TO_NOTICE, {
      label: sublet.words.__("Go to the Notice"),
      describedBy: { args: { type: "object", properties: {} } },
      isEnabled: () => sublet.session.banner() !== null,
      execute: () => widget.focus(),
    });
    app.commands.addKeyBinding({ command: GO_TO_NOTICE, keys: ["Alt Shift N"], selector: "body" });
    palette?.addItem({ command: GO_TO_NOTICE, category: "Sublet" });
    void app.restored.then(() => {
      Widget.attach(widget, document.body);
      app.shell.currentChanged?.connect(widget.place);
    });
  },
};

const plugins: JupyterFrontEndPlugin<unknown>[] = [session, panel, models, status, banner];
export default plugins;
