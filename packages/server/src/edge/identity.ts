/** Who a request is from: the customer's session, the other edge's token. Signatures are checked once and remembered. */
import type { Configuration } from 'lanekeeper/config';
import { type DataCenterName, handoffParameter, headers } from 'lanekeeper/model';
import {
  createTokenSource,
  findSessionCookie,
  type KeyRing,
  mintAgentToken,
  mintEdgeToken,
  mintHandoff,
  reachesHost,
  sessionOf,
  verifyEdgeToken,
} from 'lanekeeper/session';
import type { Counters } from './counters.ts';
import { RateLimit } from './rate-limit.ts';
import { find } from './request-headers.ts';
import type { Sender } from './route.ts';
import type { Place } from './successions.ts';

/** Of one address; beyond that, only cookies that were verified before are read. */
const badSignatures = { max: 20, windowMs: 10_000 } as const;

const fromClient: Sender = { kind: 'client' };
const unproven: Sender = { kind: 'unproven-edge' };

const handoffPattern = new RegExp(`[?&]${handoffParameter}=`);

/** Whether a request-target brings a session from another data center's host. */
export function carriesHandoff(path: string): boolean {
  return handoffPattern.test(path);
}

export class Identity {
  readonly #ring: KeyRing;
  readonly #cookie: string;
  readonly #domain: string | null;
  readonly #counters: Counters;
  readonly #edgeToken: (nowMs: number) => string;
  readonly #agentToken: (nowMs: number) => string;
  readonly #bad = new RateLimit(badSignatures);

  constructor(ring: KeyRing, configuration: Configuration, counters: Counters) {
    this.#ring = ring;
    this.#cookie = configuration.sessions.cookie;
    this.#domain = configuration.sessions.domain;
    this.#counters = counters;
    this.#edgeToken = createTokenSource(ring, mintEdgeToken);
    this.#agentToken = createTokenSource(ring, mintAgentToken);
  }

  /** The home that the session names, and in which term; null without a session, and for one that does not verify. */
  placeOf(cookie: string, address: string, nowMs: number): Place | null {
    if (this.#bad.isExceeded(address, nowMs)) {
      const found = findSessionCookie(this.#cookie, cookie);
      if (found.kind !== 'found' || this.#ring.verified.get(found.token) === undefined) return null;
    }
    const result = sessionOf(this.#ring, this.#cookie, cookie, nowMs);
    if (result.kind === 'valid') return { home: result.session.home, term: result.session.epoch.term };
    if (result.kind === 'refused') {
      this.#counters.sessionsRefused += 1;
      // The only refusal that costs us anything.
      if (result.reason === 'signature') this.#bad.count(address, nowMs);
    }
    return null;
  }

  /** `ours`: the request's Lanekeeper-… headers, names in lower case. */
  senderOf(ours: readonly string[], nowMs: number): Sender {
    if (ours.length === 0) return fromClient;
    const token = find(ours, headers.edgeToken);
    if (token === null) return fromClient;
    const result = verifyEdgeToken(this.#ring, token, nowMs);
    const hops = find(ours, headers.hops);
    if (result.kind === 'valid' && hops !== null && /^[1-9]$/.test(hops)) {
      return { kind: 'edge', dataCenter: result.dataCenter, hops: Number(hops) };
    }
    this.#counters.edgeTokensRefused += 1;
    return unproven;
  }

  edgeToken(nowMs: number): string {
    return this.#edgeToken(nowMs);
  }

  agentToken(nowMs: number): string {
    return this.#agentToken(nowMs);
  }

  /**
   * A token that carries the session to a host that the cookie does not reach; null when it does, or there is none. What the
   * application has just set (`set`, Set-Cookie values) is newer than the `cookie` that came with the request.
   */
  handoff(
    cookie: string | null,
    set: readonly string[],
    fromHost: string,
    to: DataCenterName,
    toHost: string,
    nowMs: number,
  ): string | null {
    if (reachesHost(this.#domain, fromHost) && reachesHost(this.#domain, toHost)) return null;
    for (const header of [set.map((value) => value.split(';', 1)[0]).join('; '), cookie]) {
      if (header === null || header === '') continue;
      const result = sessionOf(this.#ring, this.#cookie, header, nowMs);
      if (result.kind === 'valid') return mintHandoff(this.#ring, result.session, to, nowMs);
    }
    return null;
  }
}
