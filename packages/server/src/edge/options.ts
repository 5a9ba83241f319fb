/** The edge's options: what may be left out, and what it becomes. */
import { BlockList, isIP } from 'node:net';
import type { Configuration } from 'lanekeeper/config';
import { LanekeeperError } from 'lanekeeper/model';
import type { KeyRing } from 'lanekeeper/session';

/** One line about something an operator may want to know. Called rarely: never once per request. */
export type Log = (level: 'info' | 'warn', event: string, details: Readonly<Record<string, unknown>>) => void;

export type EdgeOptions = {
  readonly configuration: Configuration;
  /** With the signing key of this data center: edges prove themselves to each other. */
  readonly keys: KeyRing;
  /** Default `127.0.0.1`. */
  readonly host?: string;
  /** 0, the default, takes any free port. */
  readonly port?: number;
  /** Serve https with these PEM texts. Default: plain http, behind something that ends TLS. */
  readonly tls?: { readonly cert: string; readonly key: string };
  /** Addresses or networks (`10.0.0.0/8`) of proxies in front of this edge whose `X-Forwarded-…` are believed. Default none. */
  readonly trustedProxies?: readonly string[];
  /** Path that every application instance answers with 2xx when well, asked every 2 s. Default: not asked. */
  readonly applicationHealthPath?: string;
  /** Whoever knows it may read /lanekeeper/metrics from anywhere. Default: only from this machine. */
  readonly metricsToken?: string;
  readonly log?: Log;
  readonly limits?: Partial<EdgeLimits>;
};

export type EdgeLimits = {
  /** Client connections at a time. Default 20,000. */
  readonly connections: number;
  /** Requests that one application instance is given at a time; more are refused. Default 1,024. */
  readonly perInstance: number;
  /** Requests under way to one other edge at a time. Default 4,096. */
  readonly perPeer: number;
  /** Request line and headers together. Default 16 KiB. */
  readonly headerBytes: number;
  /** For the headers of a request to arrive. Default 10 s. */
  readonly headersMs: number;
  /** An idle connection of a client. Default 65 s, longer than what most load balancers use. */
  readonly keepAliveMs: number;
  /** A body must not pause longer than this, and bring `bodyBytesPerSecond` on average beyond it. Default 30 s. */
  readonly bodyGraceMs: number;
  /** Default 512. */
  readonly bodyBytesPerSecond: number;
  /** An answer that waits for its client to read. Default 60 s. */
  readonly stalledMs: number;
  /** After an early answer, for the rest of the body to arrive and be thrown away. Default 10 s. */
  readonly lingerMs: number;
  /** WebSockets without a byte either way. Default 1 h. */
  readonly tunnelIdleMs: number;
  /** To connect to an application instance. Default 2 s. */
  readonly connectMs: number;
  /** To connect to another edge. Default 3 s. */
  readonly peerConnectMs: number;
  /** For an answer to begin. Default 60 s. */
  readonly answerMs: number;
  /** Between two pieces of an answer, unless the client asked for an event stream. Default 5 min. */
  readonly answerPauseMs: number;
  /** How often other edges are asked whether they are there; twice without an answer means no. Default 2 s. */
  readonly probeEveryMs: number;
  /** Bodies kept for a replay, of all requests together. Default 64 MiB. */
  readonly keptBytes: number;
  /** Replays for one address in 10 s; beyond that its requests are redirected. Default 500. */
  readonly replays: number;
  /**
   * A request whose home has just been lost waits this long, from the loss on, for it to come back or for its successor; then it
   * is answered as rule 5 of `route.ts` says. Default, with automatic failover: as long as that takes; else 0.
   */
  readonly holdMs: number;
  /** On closing, for requests in flight to finish. Default 20 s. */
  readonly drainMs: number;
};

const defaults: Omit<EdgeLimits, 'holdMs'> = {
  connections: 20_000,
  perInstance: 1_024,
  perPeer: 4_096,
  headerBytes: 16 * 1024,
  headersMs: 10_000,
  keepAliveMs: 65_000,
  bodyGraceMs: 30_000,
  bodyBytesPerSecond: 512,
  stalledMs: 60_000,
  lingerMs: 10_000,
  tunnelIdleMs: 3_600_000,
  connectMs: 2_000,
  peerConnectMs: 3_000,
  answerMs: 60_000,
  answerPauseMs: 300_000,
  probeEveryMs: 2_000,
  keptBytes: 64 * 1024 * 1024,
  replays: 500,
  drainMs: 20_000,
};

export type ResolvedOptions = {
  readonly configuration: Configuration;
  readonly keys: KeyRing;
  readonly host: string;
  readonly port: number;
  readonly tls: { readonly cert: string; readonly key: string } | null;
  readonly trusted: BlockList;
  readonly applicationHealthPath: string | null;
  readonly metricsToken: string | null;
  readonly log: Log;
  readonly limits: EdgeLimits;
};

/** Throws LK_CONFIG. */
export function resolveOptions(options: EdgeOptions): ResolvedOptions {
  const { configuration, keys } = options;
  if (keys.signingKey === null) {
    throw new LanekeeperError(
      'LK_CONFIG',
      'An edge needs the signing key of its data center: set LANEKEEPER_SIGNING_KEY or LANEKEEPER_SIGNING_KEY_FILE.',
    );
  }
  const { applicationHealthPath = null } = options;
  if (applicationHealthPath !== null && !/^\/[\x21-\x7e]*$/.test(applicationHealthPath)) {
    throw new LanekeeperError('LK_CONFIG', `The health path must start with a slash: ${applicationHealthPath}`);
  }
  return Object.freeze({
    configuration,
    keys,
    host: options.host ?? '127.0.0.1',
    port: options.port ?? 0,
    tls: options.tls ?? null,
    trusted: networks(options.trustedProxies ?? []),
    applicationHealthPath,
    metricsToken: options.metricsToken ?? null,
    log: options.log ?? (() => {}),
    limits: Object.freeze({ ...defaults, holdMs: failoverMs(configuration), ...options.limits }),
  });
}

/** For the successor to see its view through, beyond the lease that it has to wait out. */
const promotionMs = 2_000;

function failoverMs({ failover, leases }: Configuration): number {
  return failover.mode === 'automatic' ? leases.ttlMs + leases.skewMs + promotionMs : 0;
}

function networks(written: readonly string[]): BlockList {
  const list = new BlockList();
  for (const text of written) {
    const [address, prefix, ...rest] = text.split('/') as [string, ...string[]];
    const version = isIP(address);
    const longest = version === 6 ? 128 : 32;
    const bits = prefix === undefined ? longest : /^\d{1,3}$/.test(prefix) ? Number(prefix) : -1;
    if (version === 0 || rest.length > 0 || bits < 0 || bits > longest) {
      throw new LanekeeperError('LK_CONFIG', `Not an address or network of a trusted proxy: ${text}`);
    }
    list.addSubnet(address, bits, version === 6 ? 'ipv6' : 'ipv4');
  }
  return list;
}
