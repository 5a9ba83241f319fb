/** What an agent looks at again and again: the streams to and from its peers, and what need not be kept for them. */
import type { Link } from '@lanekeeper/server/ownership';
import type { AgentProcess } from './agent.ts';

export function observe(agent: AgentProcess): void {
  const { dc } = agent;
  agent.query(
    () => dc.peers.map((peer) => [peer.name, dc.gateReasons(peer)] as const),
    (gates) => {
      if (gates === 'lost') return;
      for (const [peer, reasons] of gates) agent.handle({ kind: 'gate', peer, reasons });
    },
  );
}

/** Who reads our log, and whom the database waits for. */
export class ReplicationLooks {
  readonly #agent: AgentProcess;
  #before: number | null = null;
  /** The look before found that the database waits for others than it was told to. */
  #differed = false;

  constructor(agent: AgentProcess) {
    this.#agent = agent;
  }

  look(): void {
    const agent = this.#agent;
    const { pg, outgoing } = agent.dc;
    const { sync } = agent.state;
    agent.query(
      () => {
        const before = this.#before;
        this.#before = pg.lsn;
        if (pg.syncMembers === 0 || pg.leaseLeftMs() === 0) for (const one of [...pg.waiting]) one.end('cancelled');
        const waitsFor = pg.names.length === pg.syncMembers ? pg.names : [];
        const links = [...outgoing].map(([name, stream]) => {
          const { connected: streaming, replyAgeMs, flushedLsn } = stream;
          return [name, { streaming, caughtUp: before !== null && streaming && flushedLsn >= before, replyAgeMs }];
        });
        return { links: Object.fromEntries(links) as Record<string, Link>, waitsFor };
      },
      (found) => {
        if (found === 'lost') return;
        const { links, waitsFor } = found;
        const now = agent.state.sync;
        const settled = sync.setting === null && now.setting === null && now.waits === sync.waits;
        const differs = settled && waitsFor.join() !== now.waits.join();
        const told = differs && this.#differed ? { waitsFor } : {};
        this.#differed = differs;
        agent.handle({ kind: 'replication', links, ...told });
      },
    );
  }
}

/** What a peer has applied by its own account need not be kept for it any more. */
export function advanceRelays(agent: AgentProcess): void {
  const { dc, simulation } = agent;
  for (const peer of dc.peers) {
    if (!simulation.requestsPass(dc, peer) || !peer.pg.up) continue;
    const theirs = new Map(peer.pg.progress);
    agent.query(
      () => {
        dc.pg.relay.advance(peer.name, dc.pg.progress, theirs, simulation.broken('relay slots forget'));
        return true;
      },
      () => {},
    );
  }
}
