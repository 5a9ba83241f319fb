/** Talks to the links' process. */
import type { DirectionSettings } from './direction.ts';
import type { DirectionState, Route, RouteRequest } from './links.ts';

/** Where the links' process answers and what it wants to see. */
export type LinksAccess = { readonly control: string; readonly token: string };

export type LinksState = { readonly directions: readonly DirectionState[]; readonly routes: readonly Route[] };

/** The links' process said no: `status` as in HTTP, `code` as of `listen` when an address could not be used. */
export class LinksError extends Error {
  override readonly name = 'LinksError';
  readonly status: number;
  readonly code: string | undefined;

  constructor(status: number, message: string, code?: string) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

export class LinksClient {
  readonly access: LinksAccess;

  constructor(access: LinksAccess) {
    this.access = access;
  }

  state(): Promise<LinksState> {
    return this.#ask('GET', '/');
  }

  /** Listens on `request.listen` and carries connections to `request.target`; port 0 becomes a real one. */
  addRoute(request: RouteRequest): Promise<RouteRequest> {
    return this.#ask('POST', '/routes', request);
  }

  /** One direction. Throws a LinksError with status 404 when there is no such link. */
  async change(from: string, to: string, changes: Partial<DirectionSettings>): Promise<void> {
    await this.#ask('PATCH', `/directions/${encodeURIComponent(from)}/${encodeURIComponent(to)}`, changes);
  }

  /** Both directions. */
  async changeBoth(a: string, b: string, changes: Partial<DirectionSettings>): Promise<void> {
    await this.change(a, b, changes);
    await this.change(b, a, changes);
  }

  /** Cuts both ways; what was sent waits for `heal`. */
  cut(a: string, b: string): Promise<void> {
    return this.changeBoth(a, b, { mode: 'cut' });
  }

  heal(a: string, b: string): Promise<void> {
    return this.changeBoth(a, b, { mode: 'open' });
  }

  async #ask<T>(method: string, path: string, body?: unknown): Promise<T> {
    const response = await fetch(new URL(path, this.access.control), {
      method,
      headers: { authorization: `Bearer ${this.access.token}`, 'content-type': 'application/json' },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      signal: AbortSignal.timeout(5_000),
    });
    const answer = (await response.json()) as { error?: string; code?: string };
    if (!response.ok) throw new LinksError(response.status, answer.error ?? `status ${response.status}`, answer.code);
    return answer as T;
  }
}
