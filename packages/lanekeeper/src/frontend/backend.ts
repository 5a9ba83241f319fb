/** The calls of one customer's request: his cookies go along, and what the backends set comes back. */
import { randomUUID } from 'node:crypto';
import type { IncomingHttpHeaders } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Configuration } from '../config/index.ts';
import { type DataCenterName, type Durability, headers, LanekeeperError } from '../model/index.ts';
import { type KeyRing, type Session, sessionOf } from '../session/index.ts';
import { Cookies } from './cookies.ts';
import { type Call, follow, type Journey, setOut } from './follow.ts';
import type { Instances } from './instances.ts';
import type { Sender, Sent } from './send.ts';

/** What a frontend has of the request that it serves. */
export type CustomerRequest = {
  readonly headers: IncomingHttpHeaders;
  /** Of whoever is connected to the frontend: it goes along in `X-Forwarded-For`. */
  readonly remoteAddress?: string | undefined;
  /** Whether the customer's connection to this process is TLS; `X-Forwarded-Proto` of the edge counts more. Default false. */
  readonly encrypted?: boolean;
};

export type BackendInit = {
  /** Default GET. */
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** Something that can be sent again. */
  readonly body?: string | Uint8Array | URLSearchParams;
  readonly signal?: AbortSignal;
  /**
   * `home`: the data center where this customer's account is written. `here`: that of this frontend, for what is the same everywhere
   * (a catalog) or whoever asks. Default `home`. Either way a backend may pass on what belongs elsewhere.
   */
  readonly at?: 'home' | 'here';
};

/** One customer's request, as far as the backends are concerned. */
export interface Backend {
  /** Who the customer's cookie says he is: a hint, for pages. Follows the answers: after a sign-in it is the new one. */
  readonly session: Pick<Session, 'account' | 'guest' | 'home'> | null;
  /** `X-Request-Id` of the customer's request when it is well-formed, else a new one; the same in every call. */
  readonly requestId: string;
  /** What the customer's answer has to set: Set-Cookie values of the backends. */
  readonly setCookies: readonly string[];
  /** The least that was reached by what the calls wrote; null: they wrote nothing. */
  readonly durability: Durability | null;
  /** The data center that answered the last call. */
  readonly dataCenter: DataCenterName | null;
  /**
   * As `fetch`, to a path of the backend: any answer is an answer, redirects are not followed. `Lanekeeper-Replay` is.
   * @throws {LanekeeperError} `LK_NO_APPLICATION`, `LK_HOME_UNREACHABLE`, `LK_LOOP`: nothing was done; `LK_NO_ANSWER`,
   *   `LK_LATE_ANSWER`: nobody knows
   */
  fetch(path: string, init?: BackendInit): Promise<Response>;
}

/** What all requests of a frontend share. */
export type Shared = {
  readonly configuration: Configuration;
  readonly ring: KeyRing;
  readonly instances: Instances;
  readonly sender: Sender;
  readonly holdMs: number;
  /** With one home for all: where it was last. */
  home: DataCenterName | null;
};

const safeMethods = new Set(['GET', 'HEAD', 'OPTIONS']);
const replayPattern = /^dc=([a-z][a-z0-9]{0,14})(?:; ?term=\d+)?$/;

export function createBackend(shared: Shared, incoming: CustomerRequest): Backend {
  const { configuration, ring } = shared;
  const cookies = new Cookies(incoming.headers.cookie);
  const requestId = requestIdOf(incoming.headers);
  const carried = carriedHeaders(incoming, requestId);
  let durability: Durability | null = null;
  let dataCenter: DataCenterName | null = null;
  const session = (): Session | null => {
    const read = sessionOf(ring, configuration.sessions.cookie, cookies.header, Date.now());
    return read.kind === 'valid' ? read.session : null;
  };

  const destination = ({ at = 'home' }: BackendInit): DataCenterName => {
    const wanted = at === 'here' ? configuration.here : (session()?.home ?? shared.home ?? configuration.here);
    return Object.hasOwn(configuration.dataCenters, wanted) ? wanted : configuration.here;
  };

  const notice = (sent: Extract<Sent, { kind: 'answered' }>, from: DataCenterName): void => {
    cookies.keep(sent.setCookies);
    dataCenter = sent.response.headers.get(headers.dataCenter) ?? from;
    const reached = sent.response.headers.get(headers.durability);
    if (reached === 'local' || (reached === 'remote' && durability === null)) durability = reached;
  };

  const once = async (journey: Journey, origins: readonly string[], path: string, init: BackendInit): Promise<Sent> => {
    const { instances, sender } = shared;
    const origin = origins[journey.tried % Math.max(1, origins.length)];
    // A call that is sent to nobody, through something that accepts it, would be one of which nobody knows what became.
    if (origin === undefined || instances.isDown(origin)) return { kind: 'unreachable' };
    const { header } = cookies;
    const sent = await sender.send(origin, {
      method: (init.method ?? 'GET').toUpperCase(),
      path,
      headers: {
        ...defaultType(init.body),
        ...lowerCase(init.headers),
        ...carried,
        ...(header === undefined ? {} : { cookie: header }),
        ...hopsHeader(journey, configuration.here),
      },
      body: bytesOf(init.body),
      signal: init.signal,
    });
    if (sent.kind === 'answered') instances.answered(origin);
    else if (sent.kind !== 'late') instances.failed(origin);
    return sent;
  };

  return {
    requestId,
    get session() {
      return session();
    },
    get setCookies() {
      return cookies.set;
    },
    get durability() {
      return durability;
    },
    get dataCenter() {
      return dataCenter;
    },
    async fetch(path, init = {}) {
      if (!path.startsWith('/')) throw new TypeError(`A path of the backend begins with a slash: ${path}`);
      const first = destination(init);
      const call: Call = {
        safe: safeMethods.has((init.method ?? 'GET').toUpperCase()),
        dataCenters: [configuration.here, ...Object.keys(configuration.dataCenters)],
        backends: shared.instances.counts(),
        holdMs: shared.holdMs,
      };
      let journey = setOut(first);
      let origins: readonly string[] = [];
      for (;;) {
        // One turn for each visit, so that the next try meets the next backend.
        if (journey.tried === 0) origins = shared.instances.of(journey.dataCenter);
        const sent = await once(journey, origins, path, init);
        const replay = sent.kind === 'answered' ? replayIn(sent.response) : null;
        const happened = replay === null ? { kind: sent.kind } : ({ kind: 'replay', to: replay } as const);
        if (sent.kind === 'answered') notice(sent, journey.dataCenter);
        const next = follow(call, journey, happened, performance.now());
        if (next.kind === 'done') return (sent as Extract<Sent, { kind: 'answered' }>).response;
        if (sent.kind === 'answered') await sent.response.body?.cancel();
        if (next.kind === 'fail') throw failure(next.code, next.home, configuration.here, requestId);
        if (next.kind === 'wait') await sleep(next.forMs, undefined, init.signal ? { signal: init.signal } : {});
        journey = next.journey;
        if (replay !== null && configuration.homes === 'single') shared.home = replay;
      }
    },
  };
}

function replayIn(response: Response): DataCenterName | null {
  const asked = response.headers.get(headers.replay);
  return asked === null ? null : (replayPattern.exec(asked.trim())?.[1] ?? null);
}

function failure(
  code: ConstructorParameters<typeof LanekeeperError>[0],
  home: DataCenterName | null,
  dataCenter: DataCenterName,
  requestId: string,
): LanekeeperError {
  return new LanekeeperError(code, undefined, { dataCenter, requestId, ...(home === null ? {} : { home }) });
}

/**
 * What the backend has to know of the customer: the host that he came to, so that cookies are for it; how he came; who asks. The rest of his
 * headers is between him and the frontend.
 */
function carriedHeaders({ headers: from, remoteAddress, encrypted }: CustomerRequest, requestId: string) {
  const text = (name: string): string | undefined => (typeof from[name] === 'string' ? from[name] : undefined);
  const forwarded = [text('x-forwarded-for'), remoteAddress].filter((part) => part !== undefined).join(', ');
  const agent = text('user-agent');
  return {
    host: text('host') ?? 'localhost',
    'x-request-id': requestId,
    'x-forwarded-proto': text('x-forwarded-proto') ?? (encrypted ? 'https' : 'http'),
    ...(forwarded === '' ? {} : { 'x-forwarded-for': forwarded }),
    ...(agent === undefined ? {} : { 'user-agent': agent }),
  };
}

/** As an edge counts them: once for leaving this data center by the session's word, once for every replay. */
function hopsHeader({ hops, dataCenter }: Journey, here: DataCenterName): Record<string, string> {
  const count = hops + (hops > 0 || dataCenter !== here ? 1 : 0);
  return count === 0 ? {} : { [headers.hops]: String(count) };
}

function lowerCase(given: Readonly<Record<string, string>> = {}): Record<string, string> {
  return Object.fromEntries(Object.entries(given).map(([name, value]) => [name.toLowerCase(), value]));
}

function bytesOf(body: BackendInit['body']): Uint8Array | null {
  if (body === undefined) return null;
  return body instanceof Uint8Array ? body : Buffer.from(body.toString());
}

/** As `fetch` does. */
function defaultType(body: BackendInit['body']): Record<string, string> {
  if (body instanceof URLSearchParams) return { 'content-type': 'application/x-www-form-urlencoded;charset=UTF-8' };
  return typeof body === 'string' ? { 'content-type': 'text/plain;charset=UTF-8' } : {};
}

function requestIdOf(incoming: IncomingHttpHeaders): string {
  const given = incoming['x-request-id'];
  return typeof given === 'string' && /^[\w.:-]{1,128}$/.test(given) ? given : randomUUID();
}
