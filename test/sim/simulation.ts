/**
 * Two data centers, a lease store and the links between them, under virtual time. `faults.ts` says what happens to them,
 * `observer.ts` what must hold. Everything follows from a schedule and its seed.
 */
import { type GiveOutcome, type Reason, reason, type Settings } from '@lanekeeper/server/ownership';
import type {
  LeaseClaim,
  LeaseCredential,
  LeaseResult,
  Positions,
  Succession,
  SuccessionRequest,
  SuccessionResult,
} from 'lanekeeper/model';
import { ModelLeaseStore } from '../support/model-lease-store.ts';
import { AgentProcess, unseatAfterMs } from './agent.ts';
import { Applications } from './applications.ts';
import { textOf } from './handover.ts';
import type { Mutant } from './mutants.ts';
import { Observer, Violation } from './observer.ts';
import { type Deed, ModelPostgres, type Transaction } from './postgres.ts';
import { Links, Stream } from './streams.ts';
import { type Random, seeded, Timeline } from './timeline.ts';

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

export class Simulation {
  readonly timeline = new Timeline();
  readonly store = new ModelLeaseStore();
  readonly links = new Links();
  readonly observer: Observer;
  readonly dcs: readonly [DataCenter, DataCenter];
  readonly accounts = ['a1', 'a2', 'a3', 'a4'];
  readonly mutant: Mutant | null;
  readonly settings: Partial<Settings>;
  readonly storeCut = new Map<string, number>();
  readonly #network: Random;
  lossRate = 0;
  storeStalledUntilMs = 0;
  /** The store's clock against ours: forwards it ends leases early, backwards late. */
  storeOffsetMs = 0;
  /** Applications write. */
  loaded = true;
  readonly answers = new Map<string, { readonly agent: AgentProcess; answers: number }>();
  readonly #leases = new Map<string, number>();

  constructor(seed: number, mutant: Mutant | null = null, overrides: Partial<Settings> = {}) {
    this.mutant = mutant;
    this.settings = { ...overrides, ...mutant?.settings };
    this.#network = seeded(seed * 13 + 3);
    this.observer = new Observer(this);
    const [ny, la] = [new DataCenter(this, 'ny', seed), new DataCenter(this, 'la', seed + 77)];
    this.dcs = [ny, la];
    this.links.delayMs = this.#network.pick([2, 15, 15, 40]);
    const broken = (hole: string) => this.broken(hole);
    ny.outgoing = la.incoming = new Stream(ny.pg, la.pg, this.timeline, this.links, la.random, broken);
    la.outgoing = ny.incoming = new Stream(la.pg, ny.pg, this.timeline, this.links, ny.random, broken);
    [ny.peer, la.peer] = [la, ny];
    this.links.onHealed = () => {
      for (const { incoming } of this.dcs) incoming.wake();
    };
    for (const [index, account] of this.accounts.entries())
      for (const { pg } of this.dcs) {
        const deed: Deed = {
          home: index % 2 === 0 ? 'ny' : 'la',
          epoch: { term: 1, counter: 0 },
          giver: null,
          digest: null,
        };
        pg.tables.deed.set(account, deed);
      }
    for (const dc of this.dcs) this.#listen(dc);
  }

  broken(hole: string): boolean {
    return this.mutant?.hole === hole;
  }

  dc(name: string): DataCenter {
    return this.dcs[name === 'ny' ? 0 : 1];
  }

  start(): void {
    for (const dc of this.dcs) {
      dc.incoming.start();
      dc.startAgent();
      dc.applications.start();
      const checkpoint = () => {
        dc.outgoing.checkpoint();
        this.timeline.after(2500, checkpoint);
      };
      this.timeline.after(dc.random.between(500, 2500), checkpoint);
    }
  }

  #listen(dc: DataCenter): void {
    const { pg } = dc;
    pg.onCommit = ({ changes, origin }: Transaction) => {
      for (const { op, table, key } of changes)
        if (table === 'deed') {
          if (op === 'delete') this.observer.forgetDeed(dc.name, key);
          else this.observer.checkDeed(dc.name, key, pg.deed(key) as Deed);
        }
      if (origin === null) pg.later(0, () => dc.outgoing.wake());
    };
    pg.onNotify = (word) => {
      const { agent } = dc;
      if (agent === null || dc.random.chance(this.lossRate)) return;
      agent.later(2, () => {
        if (word.kind === 'succession') return agent.readSuccessions();
        const { account, deed } = word;
        if (deed.giver !== null)
          agent.handle({
            kind: 'deed-arrived',
            account,
            deed: { epoch: deed.epoch, giver: deed.giver, returned: deed.digest === null },
          });
      });
    };
  }

  // ── The lease store ──────────────────────────────────────────────────────────────────────────────────────────────

  get storeMs(): number {
    return this.timeline.nowMs + this.storeOffsetMs + 1_000_000;
  }

  callStore<T>(dc: DataCenter, work: (nowMs: number) => T, answer: (result: T | null) => void): void {
    const { timeline } = this;
    const random = this.#network;
    let answered = false;
    const once = (result: T | null) => {
      if (answered) return;
      answered = true;
      answer(result);
    };
    if ((this.storeCut.get(dc.name) ?? 0) > 0) return timeline.after(random.between(100, 600), () => once(null));
    const lost = random.chance(this.lossRate);
    const runsMs = Math.max(timeline.nowMs + random.between(1, 20), this.storeStalledUntilMs + random.between(0, 30));
    if (lost && random.chance(0.5)) return timeline.after(600, () => once(null));
    timeline.at(runsMs, () => {
      let result: T | null = null;
      try {
        result = work(this.storeMs);
      } catch (error) {
        if (!(error instanceof RangeError)) throw error;
      }
      if (!lost && (this.storeCut.get(dc.name) ?? 0) === 0) timeline.after(random.between(1, 20), () => once(result));
    });
    timeline.after(650, () => once(null));
  }

  acquire(claim: LeaseClaim, predecessor: LeaseCredential | null, nowMs: number): LeaseResult {
    return this.#granted(claim, this.store.acquire(claim, predecessor ?? undefined, nowMs));
  }

  renew(claim: LeaseClaim, revision: number, nowMs: number): LeaseResult {
    return this.#granted(claim, this.store.renew(claim, revision, nowMs));
  }

  #granted(claim: LeaseClaim, result: LeaseResult): LeaseResult {
    if (result.kind === 'held') this.#leases.set(claim.dataCenter, this.timeline.nowMs + claim.ttlMs);
    return result;
  }

  leaseUntilMs(dc: string): number {
    return this.#leases.get(dc) ?? 0;
  }

  succeed(request: SuccessionRequest, nowMs: number): SuccessionResult {
    const inSync = this.store.read(nowMs).leases.find(({ dataCenter }) => dataCenter === request.from)?.inSync ?? [];
    const result = this.store.succeed(request, nowMs);
    if (result.kind === 'succeeded') {
      this.observer.seen.successions++;
      if (request.kind === 'take' && !inSync.includes(request.to)) this.observer.forced.add(result.term);
    }
    return result;
  }

  readmit(dc: DataCenter, takenOver: number): boolean {
    const readmission = { dataCenter: dc.name, takenOver, incarnation: dc.incarnation(), positions: dc.positions() };
    const done = this.store.readmit(readmission);
    if (done) this.observer.seen.readmissions++;
    // Repeating it after a lost answer finds it done.
    const record = this.store.read(this.storeMs).leases.find(({ dataCenter }) => dataCenter === dc.name);
    return done || (record?.takenOver ?? null) !== takenOver;
  }

  successions(): readonly Succession[] {
    return this.store.read(this.storeMs).successions;
  }

  // ── Requests ─────────────────────────────────────────────────────────────────────────────────────────────────────

  /** Requests between the agents: there, and the answer back. */
  requestsPass(from: DataCenter): boolean {
    const { peer } = from;
    const whole = this.links.isUp(from.name, peer.name) && this.links.isUp(peer.name, from.name);
    return (
      whole &&
      peer.agent !== null &&
      this.timeline.nowMs >= peer.agent.stoppedUntilMs &&
      !this.#network.chance(this.lossRate)
    );
  }

  onAsked(id: string, agent: AgentProcess): void {
    agent.asking.add(id);
    this.answers.set(id, { agent, answers: 0 });
  }

  onAnswer(id: string, outcome: { readonly kind: string } | GiveOutcome): void {
    const asked = this.answers.get(id);
    if (asked === undefined) return;
    if (++asked.answers > 1) throw new Violation('M4', `${id} was answered twice`);
    if (outcome.kind === 'given') this.observer.seen.given++;
    else this.observer.seen.refused++;
  }

  onUnanswered(id: string): void {
    this.answers.delete(id);
  }

  // ── At rest ──────────────────────────────────────────────────────────────────────────────────────────────────────

  /** What keeps everything from being as it should be when nothing is wrong; null when nothing does. */
  unrest(): string | null {
    const view = this.store.read(this.storeMs);
    for (const dc of this.dcs) {
      const { agent, pg, name } = dc;
      if (agent === null) return `no agent leads in ${name}`;
      const { state } = agent;
      const record = view.leases.find(({ dataCenter }) => dataCenter === name);
      if (record === undefined || record.takenOver !== null)
        return `${name} is taken over: ${state.rejoin?.next} (${state.rejoin?.problem})`;
      if (state.lease.phase !== 'held')
        return `${name} has no lease: ${JSON.stringify('reasons' in state.lease ? state.lease.reasons : '')}`;
      if (pg.leaseLeftMs() <= 0) return `${name} has no lease in the database`;
      if (!record.inSync.includes(dc.peer.name)) return `${dc.peer.name} is not in the sync set of ${name}`;
      if (pg.syncMembers !== 1) return `${name} waits for ${pg.syncMembers}`;
      if (state.moves.size > 0) return `${name} still moves ${[...state.moves.keys()].join(' ')}`;
      if (state.turnover !== null || state.takeover.phase !== 'none') return `${name} has not finished a succession`;
      for (const [account, { untilMs }] of pg.drains)
        if (untilMs > this.timeline.nowMs) return `${name} still drains ${account}`;
      if (pg.successions.length !== view.successions.length) return `${name} lacks successions`;
      if (!dc.incoming.connected || dc.incoming.appliedLsn < dc.peer.pg.lsn - 400) return `${name} is behind`;
    }
    for (const account of this.accounts) {
      const homes = this.dcs.map(({ pg }) => pg.present(account));
      if (homes[0]?.home !== homes[1]?.home) return `${account} is at home in two places`;
      const home = this.dc(homes[0]?.home ?? 'ny');
      const writer = home.pg.begin(account, false);
      const answer = home.pg.fence(writer);
      home.pg.end(writer);
      if (answer !== 'ok' && answer !== 'wait') return `${account} cannot be written in ${home.name}: ${answer}`;
    }
    return null;
  }

  get quiet(): boolean {
    return this.dcs.every(
      ({ pg, incoming, peer }) => pg.waiting.size === 0 && pg.writers.size === 0 && incoming.appliedLsn >= peer.pg.lsn,
    );
  }

  /** The first difference between the two databases. `onTheWay` leaves out what a stream has yet to bring. */
  difference(): string | null {
    const [ny, la] = this.dcs;
    const moving = new Set<string>();
    for (const { pg, incoming } of this.dcs) {
      const applied = pg.progress.get(incoming.publisher.here) ?? 0;
      const { wal } = incoming.publisher;
      for (let at = wal.length - 1; at >= 0 && (wal[at] as Transaction).lsn > applied; at--)
        for (const { table, key } of (wal[at] as Transaction).changes) moving.add(`${table} ${key}`);
    }
    for (const [table, rows] of Object.entries(ny.pg.tables)) {
      const others = la.pg.tables[table as keyof typeof la.pg.tables];
      for (const key of new Set([...rows.keys(), ...others.keys()])) {
        if (moving.has(`${table} ${key}`)) continue;
        const [here, there] = [rows.get(key), others.get(key)];
        if (here !== there && JSON.stringify(here) !== JSON.stringify(there))
          return `${table} ${key} is ${JSON.stringify(here)} in ny and ${JSON.stringify(there)} in la`;
      }
    }
    return null;
  }
}
