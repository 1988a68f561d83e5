/** Saves every open document that has changes. */

import type { JupyterFrontEnd } from "@jupyterlab/application";
import type { IDocumentManager } from "@jupyterlab/docmanager";
import type { DocumentRegistry } from "@jupyterlab/docregistry";

import type { Saves } from "./tabs";

type Context = DocumentRegistry.Context;

/** Where JupyterLab has documents. Notebook's shell knows `main` alone of them, and throws for others. */
const AREAS = ["main", "down", "left", "right"];

export function openDocuments(shell: JupyterFrontEnd.IShell, documents: IDocumentManager): Set<Context> {
  const found = new Set<Context>();
  for (const area of AREAS) {
    for (const widget of widgetsIn(shell, area)) {
      const context = documents.contextForWidget(widget);
      if (context) found.add(context);
    }
  }
  return found;
}

/** Save them all at once; what has not come back by `until` (ms of the browser's clock) counts as failed. */
export async function saveDocuments(contexts: Iterable<Context>, until: number): Promise<Saves> {
  const changed = [...contexts].filter(context => context.model.dirty && !context.model.readOnly);
  const results = await Promise.all(changed.map(context => within(context.save(), until)));
  const saved = results.filter(Boolean).length;
  return { saved, failed: results.length - saved };
}

/** Whether it was done in time and well. JupyterLab itself tells the user why a save failed. */
async function within(work: Promise<void>, until: number): Promise<boolean> {
  let timer = 0;
  const late = new Promise<boolean>(done => {
    timer = window.setTimeout(() => done(false), Math.max(0, until - Date.now()));
  });
  const done = work.then(
    () => true,
    () => false,
  );
  const inTime = await Promise.race([done, late]);
  window.clearTimeout(timer);
  return inTime;
}

function widgetsIn(shell: JupyterFrontEnd.IShell, area: string) {
  try {
    return [...shell.widgets(area)];
  } catch {
    return [];
  }
}
