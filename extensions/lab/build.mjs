// Build the prebuilt extension: src -> lib (TypeScript) -> labextension (Jupyter's builder).
//
// Types are not checked here (`npm run types` does): so a build needs none of JupyterLab's own packages, which the
// server brings anyway, and `npm ci --omit=peer` is all that comes before it.

import { spawnSync } from "node:child_process";
import { createRequire } from "node:module";
import { rmSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const { resolve } = createRequire(import.meta.url);

function node(...words) {
  const { status, error } = spawnSync(process.execPath, words, { cwd: here, stdio: "inherit" });
  if (error) throw error;
  if (status !== 0) process.exit(status ?? 1);
}

rmSync(join(here, "lib"), { recursive: true, force: true });
node(resolve("typescript/bin/tsc"), "-p", "tsconfig.build.json");
const core = join(dirname(resolve("@jupyterlab/core-meta/package.json")), "core.package.json");
const builder = join(dirname(resolve("@jupyter/builder/package.json")), "lib", "build-labextension.js");
node(builder, "--core-package-file", core, here);
