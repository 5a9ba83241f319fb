/** One data center: its database, its agents, its applications, the streams; what happens to them when a fault comes. */
import { type Cut, type Reason, reason } from '@lanekeeper/server/ownership';
import type { Positions } from 'lanekeeper/model';
import { AgentProcess, unseatAfterMs } from './agent.ts';
import { Applications } from './applications.ts';
import { textOf } from './handover.ts';
import { ModelPostgres } from './postgres.ts';
import type { Simulation } from './simulation.ts';
import type { Stream } from './streams.ts';
import { type Random, seeded } from './timeline.ts';

const startAgainMs = 150;
const goneAfterMs = 400;

export class DataCenter {
  readonly name: string;
  readonly pg: ModelPostgres;
  readonly simulation: Simulation;
  /** What the machinery does by chance, and what the applications do: a fault that is left out must not change the rest. */
  readonly random: Random;
  /** When rows are compared, and whether the answer comes: of its own, so that seeds that were named before show what they showed. */
  readonly comparing: Random;
  readonly load: Random;
  readonly applications: Applications;
  peers: readonly DataCenter[] = [];
  /** By the peer at the other end. */
  readonly incoming = new Map<string, Stream>();
  readonly outgoing = new Map<string, Stream>();
  agent: AgentProcess | null = null;
  agentsMayRun = true;
  killAt: { steps: number; readonly after: boolean } | null = null;
  instances: string[];
  /** Reports of drains get lost, as if a request never finished. */
  stuck = false;
  stoppedUntilMs = 0;
  /** Since when an agent leads here that could do what there is to do. */
  ableSinceMs = 0;
  /** Statements that wait for an answer: told when the server is lost. */
  readonly inFlight = new Set<() => void>();
  #lives = 0;
  #starting = false;

  constructor(simulation: Simulation, name: string, seed: number) {
    this.simulation = simulation;
    this.name = name;
    this.random = seeded(seed * 7 + name.length * 31 + name.charCodeAt(0));
    this.comparing = seeded(seed * 13 + 7 + name.charCodeAt(0));
    this.load = seeded(seed * 11 + 5 + name.charCodeAt(0));
    const hasUptime = this.random.chance(0.5);
    this.pg = new ModelPostgres(name, simulation.timeline, this.random, hasUptime, (hole) => simulation.broken(hole));
    this.pg.clock = { offsetMs: this.random.between(-500, 500), rate: 1, sinceMs: 0 };
    this.instances = [`${name}-app-1`, `${name}-app-2`].slice(0, this.random.between(0, 2));
    this.applications = new Applications(simulation, this);
  }

  from(peer: string): Stream {
    return this.incoming.get(peer) as Stream;
  }

  to(peer: string): Stream {
    return this.outgoing.get(peer) as Stream;
  }

  get streams(): readonly Stream[] {
    return [...this.incoming.values(), ...this.outgoing.values()];
  }

  startAgent(): void {
    if (this.#starting || !this.agentsMayRun || this.agent?.alive) return;
    if (!this.pg.up) {
      this.#starting = true;
      return this.simulation.timeline.after(startAgainMs, () => {
        this.#starting = false;
        this.startAgent();
      });
    }
    this.agent = new AgentProcess(this.simulation, this, ++this.#lives);
    this.agent.lead();
  }

  replaceAgent(): void {
    this.agent?.kill();
    this.agent = null;
    this.simulation.timeline.after(this.random.between(100, 600), () => this.startAgent());
  }

  /** The agent's process stands still; another one unseats it when that lasts. */
  stopAgent(untilMs: number): void {
    const { timeline } = this.simulation;
    const stopped = this.agent;
    if (stopped === null) return;
    stopped.stoppedUntilMs = untilMs;
    timeline.after(unseatAfterMs, () => {
      if (timeline.nowMs >= untilMs || this.agent !== stopped || !this.pg.up || timeline.nowMs < this.pg.stoppedUntilMs)
        return;
      if (this.pg.leader === stopped) {
        this.pg.leader = null;
        if (stopped.lockSession !== null) this.pg.unlockWriters(stopped.lockSession);
        stopped.lockSession = null;
      }
      this.agent = null;
      this.startAgent();
    });
  }

  onAgentLost(lost: AgentProcess): void {
    if (this.agent !== lost) return;
    this.agent = null;
    if (!this.pg.up) this.simulation.timeline.after(goneAfterMs, () => this.#yieldIfGone(lost.holder));
    this.startAgent();
  }

  onAgentLeft(left: AgentProcess): void {
    if (this.agent !== left) return;
    this.agent = null;
    this.pg.leader = null;
    this.simulation.timeline.after(this.random.between(50, 1500), () => this.startAgent());
  }

  /** As `src/agent/yield.ts`: a server that refuses connections has lost its lease. */
  #yieldIfGone(holder: string): void {
    if (this.pg.up) return;
    this.simulation.callStore(
      this,
      () => {
        const record = this.simulation.store
          .read(this.simulation.storeMs)
          .leases.find(({ dataCenter }) => dataCenter === this.name);
        if (record?.holder === holder && record.state === 'held' && !this.pg.up)
          this.simulation.store.release(this.name, { holder, revision: record.revision }, true);
      },
      () => {},
    );
  }

  crash(): void {
    if (!this.pg.up) return;
    this.pg.crash();
    for (const broken of [...this.inFlight]) broken();
    this.inFlight.clear();
    for (const stream of this.streams) stream.onCrash(this.pg);
  }

  restart(): void {
    if (this.pg.up) return;
    this.pg.up = true;
    for (const stream of this.streams) stream.onRestart(this.pg);
    this.startAgent();
  }

  beginDrain(account: string, forMs: number): { move: number; instances: readonly string[] } | null {
    const move = this.pg.beginDrain(account, forMs);
    if (move === null) return null;
    for (const instance of this.instances) {
      if (this.stuck || this.random.chance(this.simulation.lossRate)) continue;
      this.pg.later(this.random.between(0, 20), () => {
        const { agent } = this;
        if (this.instances.includes(instance)) agent?.later(1, () => agent.handle({ kind: 'drained', move, instance }));
      });
    }
    return { move, instances: [...this.instances] };
  }

  gateReasons(peer: DataCenter): readonly Reason[] {
    const reasons: Reason[] = [];
    if (!this.from(peer.name).connected) reasons.push(reason('not-streaming', 'incoming'));
    if (!this.to(peer.name).connected) reasons.push(reason('not-streaming', 'outgoing'));
    if (this.pg.conflicts > 0) reasons.push(reason('new-conflicts'));
    if (!this.simulation.requestsPass(this, peer)) reasons.push(reason('peer-not-observed'));
    return reasons;
  }

  positions(): Positions {
    const applied = Object.fromEntries(this.peers.map(({ name }) => [name, textOf(this.pg.progress.get(name) ?? 0)]));
    const log = textOf(this.pg.lsn);
    if (this.pg.frozen.size === 0) return { log, received: applied, applied };
    const frozen = [...this.pg.frozen].map(([dc, { term }]) => [dc, { term, ...this.tail(dc) }] as const);
    return { log, received: applied, applied, frozen: Object.fromEntries(frozen) };
  }

  /** How far the log of one that was taken over is applied here. */
  tail(dc: string): Cut {
    return { homed: textOf(this.pg.progress.get(dc) ?? 0), rest: '0/0' };
  }

  incarnation() {
    return { systemIdentifier: this.name, timeline: 1, generation: this.pg.generation };
  }
}
