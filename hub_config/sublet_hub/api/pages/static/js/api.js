// The JSON API, as the session of this page. Every request has a time limit; every failure is a `Problem`.

const BASE = "/services/sublet/api";
const QUOTAS = "/services/sublet/api/quotas";
const TIMEOUT_MS = 15_000;

/** A refusal or failure: `detail` is a sentence for people, `field` and `errors` name what is wrong in a form. */
export class Problem extends Error {
  constructor(status, document) {
    super(document.detail || document.title || `The platform answered ${status}.`);
    this.status = status;
    this.type = String(document.type ?? "").split("/").pop();
    this.field = document.field ?? null;
    this.errors = document.errors ?? (document.field ? [{ field: document.field, detail: this.message }] : []);
  }
}

let skewMs = 0;

/** The platform's clock: the browser's may be off, and a countdown must not be. */
export function now() {
  return new Date(Date.now() + skewMs);
}

function learnClock(response) {
  const date = Date.parse(response.headers.get("Date") ?? "");
  if (Number.isNaN(date)) return;
  // The header has whole seconds and is some milliseconds old: smaller differences say nothing.
  const skew = date + 500 - Date.now();
  skewMs = Math.abs(skew) > 2000 ? skew : 0;
}

const csrf = document.querySelector('meta[name="sublet-csrf"]')?.content ?? "";

async function send(method, url, body) {
  const headers = { Accept: "application/json", "X-CSRF-Token": csrf };
  if (method !== "GET") {
    headers["Idempotency-Key"] = crypto.randomUUID?.() ?? `${Date.now()}-${Math.random()}`;
  }
  if (body !== undefined) headers["Content-Type"] = "application/json";
  let response;
  try {
    response = await fetch(url, {
      method, headers, credentials: "same-origin", cache: "no-store", redirect: "error",
      body: body === undefined ? undefined : JSON.stringify(body),
      signal: AbortSignal.timeout(TIMEOUT_MS),
    });
  } catch {
    throw new Problem(0, { type: "unavailable", detail: "Sublet does not answer. What you see may be out of date; trying again." });
  }
  learnClock(response);
  if (response.status === 204) return { items: null, next: null };
  let document;
  try {
    document = await response.json();
  } catch {
    document = {};
  }
  if (!response.ok) {
    const problem = new Problem(response.status, document);
    if (response.status === 401) signInAgain();
    throw problem;
  }
  return { items: document, next: nextOf(response.headers.get("Link")) };
}

/** The session is over: once more through the hub's sign-in, back to this page. Not in a loop. */
function signInAgain() {
  const last = Number(sessionStorage.getItem("sublet-sign-in") ?? 0);
  if (Date.now() - last < 30_000) return;
  sessionStorage.setItem("sublet-sign-in", String(Date.now()));
  location.reload();
}

/** Path and query of `rel="next"` (RFC 8288). */
function nextOf(link) {
  const match = /<([^>]+)>\s*;\s*rel="?next"?/.exec(link ?? "");
  if (!match) return null;
  const url = new URL(match[1], location.href);
  return url.pathname + url.search;
}

function query(params) {
  const given = Object.entries(params).filter(([, value]) => value !== undefined && value !== null && value !== "");
  return given.length ? `?${new URLSearchParams(given)}` : "";
}

const get = async (path) => (await send("GET", path)).items;

export const quota = () => get(`${BASE}/quota`);
export const flavors = () => get(`${BASE}/flavors`);
export const pools = () => get(`${BASE}/pools`);
export const usage = (account, days) => get(`${BASE}/usage${query({ account, days })}`);
export const notices = () => get(`${BASE}/notices${query({ current: true, limit: 200 })}`);
export const models = () => get(`${BASE}/models`);
export const model = (name) => get(`${BASE}/models/${encodeURIComponent(name)}`);
export const modelUse = (account, since) => get(`${BASE}/model-use${query({ account, since })}`);
export const acceptLicence = (name, body) => send("POST", `${BASE}/models/${encodeURIComponent(name)}/acceptance`, body);
export const stopLease = (id, body) => send("POST", `${BASE}/leases/${encodeURIComponent(id)}/stop`, body).then((it) => it.items);

/** One page of a list, `{items, next}`; hand `next` back to have the following page. */
export const leases = (params) => send("GET", `${BASE}/leases${query(params)}`);
export const audit = (params) => send("GET", `${BASE}/audit${query(params)}`);
export const quotas = (params = {}) => send("GET", `${QUOTAS}/${query(params)}`);
export const following = (next) => send("GET", next);

function quotaPath(subject) {
  if (subject === "default") return `${QUOTAS}/default`;
  const [kind, name] = [subject.split(":")[0], subject.slice(subject.indexOf(":") + 1)];
  return `${QUOTAS}/${kind}s/${encodeURIComponent(name)}`;
}

export const readQuota = (subject) => get(quotaPath(subject));
export const putQuota = (subject, body) => send("PUT", quotaPath(subject), body).then((it) => it.items);
export const deleteQuota = (subject) => send("DELETE", quotaPath(subject));
