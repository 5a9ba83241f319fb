/**
 * The edge: the reverse proxy in front of one data center. It sends every customer to his home and knows nothing else
 * about him; ownership is decided in the databases (R1), the edge only saves the detour.
 *
 * The way of a request:
 * - `server.ts` takes it from the connection · `admit.ts` reads it as one thing or refuses it (`header-kinds.ts`)
 * - `identity.ts` finds out whose it is · `route.ts` decides where it goes, with `instances.ts`; both pure
 * - `exchange.ts` acts: `request-headers.ts` → `attempt.ts` over `upstream.ts` → `response-headers.ts`
 * - `successions.ts` where a home is now, pure · `news.ts` asks the agents · `hold.ts` requests that wait for an answer to that
 * - `body.ts` carries its body and keeps up to 64 KiB for a replay · `reply.ts` the answer, as fast as the client reads
 * - `tunnel.ts` WebSockets · `pace.ts` slow clients
 * - `answers.ts`, `pages.ts` what the edge says itself · `probes.ts` who is there · `counters.ts` · `options.ts`
 *
 * Invariants. 1: what goes on is built from what was understood: one host, one framing, no header for the next hop only.
 * 2: `Lanekeeper-…` and `X-Forwarded-…` count only from those who proved themselves. 3: nothing that may have taken effect
 * is sent twice. 4: every loop ends at `maxHops`. 5: memory does not grow with a body, nor with the number of slow
 * clients beyond the limits. 6: `Lanekeeper-Replay` never leaves the edge that received it. 7: a refusal says why and
 * where the home is (R6).
 */
import type { AddressInfo } from 'node:net';
import { configurationDigest } from 'lanekeeper/config';
import { type DataCenterName, LanekeeperError } from 'lanekeeper/model';
import { Bag } from './bag.ts';
import type { EdgeContext, Waiting } from './context.ts';
import { newCounters } from './counters.ts';
import type { Hold } from './hold.ts';
import { Identity } from './identity.ts';
import { newInstance } from './instances.ts';
import { News } from './news.ts';
import { type EdgeOptions, type ResolvedOptions, resolveOptions } from './options.ts';
import { Pace } from './pace.ts';
import { Probes } from './probes.ts';
import { RateLimit } from './rate-limit.ts';
import type { Peer } from './route.ts';
import { createServer } from './server.ts';
import { newSuccessions } from './successions.ts';
import { Upstream } from './upstream.ts';

export type { EdgeLimits, EdgeOptions, Log } from './options.ts';

export type Edge = {
  /** Where it listens, e.g. `http://127.0.0.1:8080`. */
  readonly url: string;
  /**
   * Stops accepting, lets requests in flight finish for at most `drainMs`, then cuts what is left. Safe to repeat.
   * `cut` is the number of connections that had to be cut.
   */
  close(): Promise<{ readonly cut: number }>;
};

/** Resolves when it listens. Throws LK_CONFIG, and the system's error when the address cannot be had. */
export async function startEdge(options: EdgeOptions): Promise<Edge> {
  const resolved = resolveOptions(options);
  const { limits } = resolved;
  let probes: Probes | null = null;
  const edge = newContext(resolved, (peer) => probes?.suspect(peer));
  const server = createServer(edge, resolved);
  let connections = 0;
  server.on('connection', (socket) => {
    connections += 1;
    socket.on('close', () => {
      connections -= 1;
    });
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(resolved.port, resolved.host, () => {
      server.off('error', reject);
      resolve();
    });
  });
  probes = new Probes(edge, limits.probeEveryMs);
  probes.start(resolved.applicationHealthPath);
  const news = new News(edge, agentsOf(resolved));
  news.start();

  const close = async (): Promise<{ cut: number }> => {
    edge.draining = true;
    edge.table.holdMs = 0;
    edge.lookAgain();
    probes?.stop();
    const silenced = news.stop();
    const closed = new Promise<void>((resolve) => server.close(() => resolve()));
    let cut = 0;
    const deadline = setTimeout(() => {
      cut = connections;
      for (const tunnel of [...edge.tunnels]) tunnel.destroy();
      server.closeAllConnections();
    }, limits.drainMs);
    // A connection whose answer had begun before the drain is kept alive by it, and idle afterwards.
    const idle = setInterval(() => server.closeIdleConnections(), 50);
    await Promise.all([closed, silenced]);
    clearTimeout(deadline);
    clearInterval(idle);
    edge.sending.close();
    edge.reading.close();
    await Promise.all([...edge.upstreams.values()].map((upstream) => upstream.close()));
    return { cut };
  };
  let closing: ReturnType<typeof close> | null = null;
  return {
    url: `${resolved.tls === null ? 'http' : 'https'}://${authority(server.address() as AddressInfo)}`,
    close: () => {
      closing ??= close();
      return closing;
    },
  };
}

/** By data center, this one's own first. */
function agentsOf({ configuration }: ResolvedOptions): ReadonlyMap<DataCenterName, readonly string[]> {
  const { here, dataCenters } = configuration;
  const names = [here, ...Object.keys(dataCenters).filter((name) => name !== here)];
  return new Map(names.map((name) => [name, dataCenters[name]?.agents ?? []]));
}

const replayWindowMs = 10_000;

function authority({ address, port }: AddressInfo): string {
  return address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`;
}

function newContext({ configuration, keys, limits, log }: ResolvedOptions, suspect: (peer: Peer) => void): EdgeContext {
  const { here, dataCenters, routing } = configuration;
  const own = dataCenters[here];
  if (own === undefined)
    throw new LanekeeperError('LK_CONFIG', `There is no data center ${here} in the configuration.`);
  const counters = newCounters();
  const upstreams = new Map<string, Upstream>();
  const common = { headersTimeoutMs: limits.answerMs, bodyTimeoutMs: limits.answerPauseMs };
  for (const url of own.applications) {
    const local = { ...common, connections: limits.perInstance, connectTimeoutMs: limits.connectMs };
    upstreams.set(url, new Upstream(url, local));
  }
  const peers = new Map<DataCenterName, Peer>();
  const waitingFor = new Map<DataCenterName, Bag<Waiting>>();
  const held = new Bag<Hold>();
  for (const { name, edge, url } of Object.values(dataCenters)) {
    if (name === here) continue;
    peers.set(name, { name, edge, url, host: new URL(url).host, reachable: true, lostAtMs: Number.NEGATIVE_INFINITY });
    upstreams.set(
      edge,
      new Upstream(edge, { ...common, connections: limits.perPeer, connectTimeoutMs: limits.peerConnectMs }),
    );
    waitingFor.set(name, new Bag());
  }
  return {
    here,
    names: new Set(Object.keys(dataCenters)),
    table: {
      here,
      routing,
      instances: own.applications.map(newInstance),
      peers,
      maxBusy: limits.perInstance,
      successions: newSuccessions(),
      holdMs: limits.holdMs,
      turn: 0,
    },
    upstreams,
    digest: configurationDigest(configuration),
    identity: new Identity(keys, configuration, counters),
    counters,
    replays: new RateLimit({ max: limits.replays, windowMs: replayWindowMs }),
    budget: { bytes: 0, maxBytes: limits.keptBytes },
    sending: new Pace({ graceMs: limits.bodyGraceMs, minBytesPerSecond: limits.bodyBytesPerSecond }),
    reading: new Pace({ graceMs: limits.stalledMs, minBytesPerSecond: limits.bodyBytesPerSecond }),
    log,
    peerFailed: (name) => {
      const peer = peers.get(name);
      if (peer !== undefined) suspect(peer);
    },
    waitingFor,
    held,
    lookAgain: () => {
      for (const hold of held.items()) hold.end();
    },
    tunnels: new Set(),
    tunnelIdleMs: limits.tunnelIdleMs,
    draining: false,
  };
}
