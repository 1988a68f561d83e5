/** Every request of this extension to its own server: with its token and cookies, answers as JSON, problems as errors. */

import { URLExt } from "@jupyterlab/coreutils";
import { ServerConnection } from "@jupyterlab/services";

import type {
  Acceptance,
  AcceptanceRequest,
  Lease,
  ModelDetail,
  Models,
  Moment,
  Offer,
  Problem,
  Quota,
  SaveReport,
} from "./routes";

/** The longest that an answer is waited for. The server itself asks the platform with a shorter limit. */
const TIMEOUT_MS = 20_000;
/** Before it stops, the server has documents saved and kernels told, which takes its time. */
const STOP_TIMEOUT_MS = 90_000;

/** A request that was refused or failed; its message is a sentence for people. */
export class RequestFailed extends Error {
  constructor(
    message: string,
    readonly status: number,
    readonly problem: Problem | null = null,
  ) {
    super(message);
    this.name = "RequestFailed";
  }
}

export class Requests {
  constructor(private readonly settings: ServerConnection.ISettings = ServerConnection.makeSettings()) {}

  quota(): Promise<Quota> {
    return this.json<Quota>("quota");
  }

  flavors(): Promise<Offer[]> {
    return this.json<Offer[]>("flavors");
  }

  models(): Promise<Models> {
    return this.json<Models>("models");
  }

  /** With the text of its licence, where the platform has it. */
  model(name: string): Promise<ModelDetail> {
    return this.json<ModelDetail>(`models/${encodeURIComponent(name)}`);
  }

  accept(name: string, licence: AcceptanceRequest): Promise<Acceptance> {
    return this.json<Acceptance>(`models/${encodeURIComponent(name)}/acceptance`, licence);
  }

  /** Stop this lease now, or at a moment before its deadline. */
  stop(at?: Moment): Promise<Lease | null> {
    return this.json<Lease | null>("stop", at ? { at } : {}, STOP_TIMEOUT_MS);
  }

  /** Take back a stop that the user or idleness has set. */
  keep(): Promise<Lease> {
    return this.json<Lease>("keep", {});
  }

  async dismiss(): Promise<void> {
    await this.json("dismiss", {});
  }

  async saved(report: SaveReport): Promise<void> {
    await this.json("saved", report);
  }

  /** The stream of events, with its head read and its body still to come. */
  async events(signal: AbortSignal): Promise<Response> {
    const init = { headers: { Accept: "text/event-stream" }, cache: "no-store" as const, signal };
    const response = await ServerConnection.makeRequest(this.url("events"), init, this.settings);
    if (!response.ok) throw await failure(response);
    return response;
  }

  private async json<T>(path: string, body?: object, timeoutMs = TIMEOUT_MS): Promise<T> {
    const init: RequestInit = { signal: AbortSignal.timeout(timeoutMs) };
    if (body !== undefined) {
      init.method = "POST";
      init.body = JSON.stringify(body);
      init.headers = { "Content-Type": "application/json" };
    }
    const response = await ServerConnection.makeRequest(this.url(path), init, this.settings);
    if (!response.ok) throw await failure(response);
    return response.status === 204 ? (null as T) : ((await response.json()) as T);
  }

  private url(path: string): string {
    return URLExt.join(this.settings.baseUrl, "sublet", path);
  }
}

async function failure(response: Response): Promise<RequestFailed> {
  const text = await response.text();
  let told: Partial<Problem> & { message?: unknown } = {};
  try {
    told = JSON.parse(text) as typeof told;
  } catch {
    // A proxy's page, not ours: its status line is all that helps.
  }
  const sentence = told.detail ?? told.message;
  const message = typeof sentence === "string" && sentence ? sentence : `${response.status} ${response.statusText}`;
  return new RequestFailed(message, response.status, told.type ? (told as Problem) : null);
}
