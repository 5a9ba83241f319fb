/** One data center: its database, its agents, its applications, the two streams; what happens to them when a fault comes. */
import { type Reason, reason } from '@lanekeeper/server/ownership';
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
  readonly load: Random;
  readonly applications: Applications;
  peer!: DataCenter;
  incoming!: Stream;
  outgoing!: Stream;
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
    this.load = seeded(seed * 11 + 5 + name.charCodeAt(0));
    const hasUptime = this.random.chance(0.5);
    this.pg = new ModelPostgres(name, simulation.timeline, this.random, hasUptime, (hole) => simulation.broken(hole));
    this.pg.clock = { offsetMs: this.random.between(-500, 500), rate: 1, sinceMs: 0 };
    this.instances = [`${name}-app-1`, `${name}-app-2`].slice(0, this.random.between(0, 2));
    this.applications = new Applications(simulation, this);
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
    this.incoming.onCrash(this.pg);
    this.outgoing.onCrash(this.pg);
  }

  restart(): void {
    if (this.pg.up) return;
    this.pg.up = true;
    this.incoming.onRestart(this.pg);
    this.outgoing.onRestart(this.pg);
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

  gateReasons(): readonly Reason[] {
    const reasons: Reason[] = [];
    if (!this.incoming.connected) reasons.push(reason('not-streaming', 'incoming'));
    if (!this.outgoing.connected) reasons.push(reason('not-streaming', 'outgoing'));
    if (this.pg.conflicts > 0) reasons.push(reason('new-conflicts'));
    if (!this.simulation.requestsPass(this)) reasons.push(reason('peer-not-observed'));
    return reasons;
  }

  positions(): Positions {
    const applied = { [this.peer.name]: textOf(this.pg.progress.get(this.peer.name) ?? 0) };
    return { log: textOf(this.pg.lsn), received: applied, applied };
  }

  incarnation() {
    return { systemIdentifier: this.name, timeline: 1, generation: this.pg.generation };
  }
}
