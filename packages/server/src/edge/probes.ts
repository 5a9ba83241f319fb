/**
 * Looks after the other edges, and after the application instances where a health path is given.
 *
 * Another edge counts as reachable while it answers at all and believes our token: whether its applications are well is
 * for it to say, to the customer. One failed request is enough to look again at once, two probes without an answer to
 * call it lost; overload is not death.
 */
import { headers } from 'lanekeeper/model';
import type { EdgeContext } from './context.ts';
import type { Instance } from './instances.ts';
import type { Peer } from './route.ts';
import type { Upstream } from './upstream.ts';

export const healthPath = '/lanekeeper/health';

/** Requests that change something and were sent to an edge that is lost now: how long they may still hope. */
const lostGraceMs = 10_000;
const probeTimeoutMs = 2_000;

export class Probes {
  readonly #edge: EdgeContext;
  readonly #everyMs: number;
  readonly #misses = new Map<Peer, number>();
  readonly #probing = new Set<Peer | Instance>();
  #timer: NodeJS.Timeout | null = null;

  constructor(edge: EdgeContext, everyMs: number) {
    this.#edge = edge;
    this.#everyMs = everyMs;
  }

  start(applicationPath: string | null): void {
    const round = (): void => {
      for (const peer of this.#edge.table.peers.values()) void this.#probePeer(peer);
      if (applicationPath === null) return;
      for (const instance of this.#edge.table.instances) void this.#probeInstance(instance, applicationPath);
    };
    round();
    this.#timer = setInterval(round, this.#everyMs);
    this.#timer.unref();
  }

  stop(): void {
    if (this.#timer !== null) clearInterval(this.#timer);
    this.#timer = null;
  }

  /** A connection to it failed. */
  suspect(peer: Peer): void {
    this.#lose(peer, 'no connection');
    void this.#probePeer(peer);
  }

  async #probePeer(peer: Peer): Promise<void> {
    const { upstream, once } = this.#begin(peer, peer.edge);
    if (!once) return;
    const token = this.#edge.identity.edgeToken(Date.now());
    const own = ['host', upstream.host, headers.edgeToken, token, headers.hops, '1'];
    const status = await upstream.probe(healthPath, own, probeTimeoutMs);
    this.#probing.delete(peer);
    if (this.#timer === null) return;
    if (status === 401) {
      this.#lose(peer, 'it does not believe our token: compare keys and clocks');
    } else if (status !== null) {
      this.#misses.delete(peer);
      if (peer.reachable) return;
      peer.reachable = true;
      this.#edge.log('info', 'edge-reachable', { dataCenter: peer.name });
      this.#edge.lookAgain();
    } else {
      const misses = (this.#misses.get(peer) ?? 0) + 1;
      this.#misses.set(peer, misses);
      if (misses > 1) this.#lose(peer, 'no answer');
    }
  }

  #lose(peer: Peer, why: string): void {
    if (!peer.reachable) return;
    peer.reachable = false;
    peer.lostAtMs = Date.now();
    this.#edge.log('warn', 'edge-lost', { dataCenter: peer.name, why });
    // Connections over a link that is cut look alive for minutes.
    this.#edge.upstreams.get(peer.edge)?.renew(lostGraceMs);
    for (const waiting of this.#edge.waitingFor.get(peer.name)?.items() ?? []) waiting.giveUp();
  }

  async #probeInstance(instance: Instance, path: string): Promise<void> {
    const { upstream, once } = this.#begin(instance, instance.url);
    if (!once) return;
    const status = await upstream.probe(path, ['host', upstream.host, headers.via, this.#edge.here], probeTimeoutMs);
    this.#probing.delete(instance);
    const well = status !== null && status >= 200 && status < 300;
    if (well !== instance.checked) {
      this.#edge.log(well ? 'info' : 'warn', well ? 'instance-well' : 'instance-unwell', {
        instance: instance.url,
        status,
      });
    }
    instance.checked = well;
  }

  /** One probe at a time for each. */
  #begin(what: Peer | Instance, origin: string): { readonly upstream: Upstream; readonly once: boolean } {
    const upstream = this.#edge.upstreams.get(origin);
    if (upstream === undefined) throw new Error(`No connections to ${origin}.`);
    const once = !this.#probing.has(what);
    if (once) this.#probing.add(what);
    return { upstream, once };
  }
}
