/** Puts a cell of code into the notebook that is worked in. */

import type { ILabShell, JupyterFrontEnd } from "@jupyterlab/application";
import { type INotebookTracker, type Notebook, NotebookActions, type NotebookPanel } from "@jupyterlab/notebook";

import type { Words } from "./format";

export interface Inserting {
  readonly app: JupyterFrontEnd;
  /** Null where there are no notebooks at all. */
  readonly notebooks: INotebookTracker | null;
  /** Null in Notebook, which opens each document in a tab of its own. */
  readonly lab: ILabShell | null;
  readonly words: Words;
}

/** Throws a sentence where there is no notebook, and none can be opened. */
export async function insertExample(code: string, { app, notebooks, lab, words }: Inserting): Promise<string> {
  const open = notebooks?.currentWidget ?? null;
  if (open === null && lab === null) throw new Error(words.__("Open a notebook first, then insert it there."));
  const panel =
    open ?? ((await app.commands.execute("notebook:create-new", newNotebook(app))) as NotebookPanel | null);
  if (!panel) throw new Error(words.__("No notebook could be opened."));
  await panel.context.ready;
  await panel.revealed;
  insertCell(panel.content, code.trimEnd());
  // After the insertion: what the activation gives the keyboard's focus to becomes the active cell.
  app.shell.activateById(panel.id);
  return open === null ? words.__("Inserted into a new notebook.") : words.__("Inserted. Shift Enter runs it.");
}

/** With the usual kernel, so that nobody is asked for one. */
function newNotebook(app: JupyterFrontEnd): { kernelName?: string } {
  const kernelName = app.serviceManager.kernelspecs.specs?.default;
  return kernelName ? { kernelName } : {};
}

/** Below the active cell; an active cell that is empty takes it. */
function insertCell(notebook: Notebook, code: string): void {
  const active = notebook.activeCell?.model;
  if (active?.type !== "code" || active.sharedModel.getSource().trim()) NotebookActions.insertBelow(notebook);
  if (notebook.activeCell?.model.type !== "code") NotebookActions.changeCellType(notebook, "code");
  notebook.activeCell?.model.sharedModel.setSource(code);
  notebook.mode = "command";
  void notebook.scrollToItem(notebook.activeCellIndex);
}
