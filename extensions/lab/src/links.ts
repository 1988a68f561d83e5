/** Pages of the platform beside this server. All are null where the server is not one of a hub. */

import { PageConfig, URLExt } from "@jupyterlab/coreutils";

function hub(...parts: string[]): string | null {
  const prefix = PageConfig.getOption("hubPrefix");
  return prefix ? PageConfig.getOption("hubHost") + URLExt.join(prefix, ...parts) : null;
}

/** Where the next flavor is picked. */
export function flavorsPage(): string | null {
  const user = PageConfig.getOption("hubUser");
  const server = PageConfig.getOption("hubServerName");
  return hub(
    "spawn",
    ...(user ? [encodeURIComponent(user)] : []),
    ...(user && server ? [encodeURIComponent(server)] : []),
  );
}

export function homePage(): string | null {
  return hub("home");
}

export function usagePage(): string | null {
  return service();
}

/** Of all models, or where one of them is shown. */
export function modelsPage(model = ""): string | null {
  return service("models" + (model ? `#${encodeURIComponent(model)}` : ""));
}

function service(path = ""): string | null {
  const prefix = PageConfig.getOption("hubPrefix");
  if (!prefix) return null;
  return PageConfig.getOption("hubHost") + URLExt.join(prefix.replace(/hub\/?$/, ""), "services/sublet/") + path;
}
