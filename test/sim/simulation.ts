/**
 * Two or three data centers, a lease store and the links between them, under virtual time. `faults.ts` says what happens to them,
 * `observer.ts` what must hold. Everything follows from a schedule and its seed.
 */
import type { GiveOutcome, Settings } from '@lanekeeper/server/ownership';
import type {
  LeaseClaim,
  LeaseCredential,
  LeaseResult,
  Succession,
  SuccessionRequest,
  SuccessionResult,
} from 'lanekeeper/model';
import { ModelLeaseStore } from '../support/model-lease-store.ts';
import { type AgentProcess, settings } from './agent.ts';
import { DataCenter } from './data-center.ts';
import { tellSeen } from './moves.ts';
import type { Mutant } from './mutants.ts';
import { Observer, Violation } from './observer.ts';
import type { Deed, Transaction } from './rows.ts';
import type { Schedule } from './schedule.ts';
import { Links, Stream } from './streams.ts';
import { type Random, seeded, Timeline } from './timeline.ts';

/** The peer's time-out, a renewal, the change itself and one that failed. */
const waitsAtMostMs = 6000;
/** A look at the store, an answer that is late, and another look. */
const knownAfterMs = 4000;

export class Simulation {
  readonly timeline = new Timeline();
  readonly store = new ModelLeaseStore();
  readonly links = new Links(this.timeline);
  readonly observer: Observer;
  readonly dcs: readonly DataCenter[];
  readonly accounts = ['a1', 'a2', 'a3', 'a4'];
  readonly mutant: Mutant | null;
  readonly settings: Partial<Settings>;
  readonly storeCut = new Map<string, number>();
  readonly #network: Random;
  lossRate = 0;
  storeStalledUntilMs = 0;
  /** The store's clock against ours: forwards it ends leases early, backwards late. */
  storeOffsetMs = 0;
  /** Data centers whose takeover a person asked for. */
  readonly forcedByPerson = new Set<string>();
  /** Accounts whose rows got lost on the way: they must stay where their rows are. */
  readonly damaged = new Set<string>();
  /** Applications write. */
  loaded = true;
  readonly answers = new Map<string, { readonly agent: AgentProcess; answers: number }>();
  readonly #leases = new Map<string, number>();
  /** Since when without a gap. */
  readonly #leasedSinceMs = new Map<string, number>();
  /** When its clock was moved last. */
  storeMovedMs = Number.NEGATIVE_INFINITY;

  constructor(
    { seed, manual, dataCenters }: Pick<Schedule, 'seed' | 'manual' | 'dataCenters'>,
    mutant: Mutant | null = null,
  ) {
    const overrides: Partial<Settings> = manual ? { automaticFailover: false } : {};
    this.mutant = mutant;
    this.settings = { ...overrides, ...mutant?.settings };
    this.#network = seeded(seed * 13 + 3);
    this.observer = new Observer(this);
    this.dcs = dataCenters.map((name, index) => new DataCenter(this, name, seed + index * 77));
    const delayMs = this.#network.pick([2, 15, 15, 40]);
    const broken = (hole: string) => this.broken(hole);
    for (const dc of this.dcs) {
      dc.peers = this.dcs.filter((other) => other !== dc);
      dc.pg.marks = this.dcs.length > 2;
      for (const peer of dc.peers) {
        const stream = new Stream(dc.pg, peer.pg, this.timeline, this.links, peer.random, broken);
        dc.outgoing.set(peer.name, stream);
        peer.incoming.set(dc.name, stream);
        if (this.dcs.length === 2) this.links.setDelay(dc.name, peer.name, delayMs);
        else if (dc.name < peer.name)
          this.links.setDelay(dc.name, peer.name, this.#network.pick([2, 15, 15, 40, 40, 90]));
      }
      dc.pg.readers = [...dc.outgoing.values()];
    }
    this.links.onHealed = () => {
      for (const { incoming } of this.dcs) for (const stream of incoming.values()) stream.wake();
    };
    for (const [index, account] of this.accounts.entries())
      for (const { pg } of this.dcs) {
        const deed: Deed = {
          home: dataCenters[index % dataCenters.length] as string,
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
    const found = this.dcs.find((one) => one.name === name);
    if (found === undefined) throw new Error(`there is no ${name}`);
    return found;
  }

  start(): void {
    for (const dc of this.dcs) {
      for (const stream of dc.incoming.values()) stream.start();
      dc.startAgent();
      dc.applications.start();
      this.#watchWaits(dc);
      const checkpoint = () => {
        for (const stream of dc.outgoing.values()) stream.checkpoint();
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
        } else if (table === 'acceptance' && origin === null && op === 'insert') this.observer.checkAcceptance(dc, key);
      if (origin === null)
        pg.later(0, () => {
          for (const stream of dc.outgoing.values()) stream.wake();
        });
    };
    pg.onConflict = (what) => {
      if (this.damaged.size === 0)
        throw new Violation('X1', `${what} in ${dc.name} at ${Math.round(this.timeline.nowMs)}`);
    };
    pg.onLease = (leftMs) => {
      const lateMs = this.timeline.nowMs + leftMs - this.leaseUntilMs(dc.name);
      if (leftMs > 0 && lateMs > settings.skewMs / 2)
        throw new Violation('R4', `the lease of ${dc.name} ends ${Math.round(lateMs)} ms after the one in the store`);
    };
    pg.onNotify = (word) => {
      const { agent } = dc;
      if (agent === null || dc.random.chance(this.lossRate)) return;
      agent.later(2, () => {
        if (word.kind === 'succession') return agent.readSuccessions();
        const { account, deed } = word;
        if (deed.giver === null) return;
        if (deed.home !== dc.name) {
          if (deed.giver !== dc.name) tellSeen(agent, account, deed.home, deed.epoch);
        } else
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
      const slowMs = random.chance(0.04) ? random.between(100, 640) : random.between(1, 20);
      if (!lost && (this.storeCut.get(dc.name) ?? 0) === 0) timeline.after(slowMs, () => once(result));
    });
    timeline.after(650, () => once(null));
  }

  acquire(claim: LeaseClaim, predecessor: LeaseCredential | null, nowMs: number): LeaseResult {
    if (this.broken('a lease for one who was taken over')) {
      const view = this.store.read(nowMs);
      const record = view.leases.find(({ dataCenter }) => dataCenter === claim.dataCenter);
      if (record !== undefined && record.takenOver !== null)
        return this.#granted(claim, { kind: 'held', revision: record.revision + 1, view });
    }
    const result = this.store.acquire(claim, predecessor ?? undefined, nowMs);
    if (result.kind === 'held') this.#leasedSinceMs.set(claim.dataCenter, this.timeline.nowMs);
    return this.#granted(claim, result);
  }

  renew(claim: LeaseClaim, revision: number, nowMs: number): LeaseResult {
    return this.#granted(claim, this.store.renew(claim, revision, nowMs));
  }

  #granted(claim: LeaseClaim, result: LeaseResult): LeaseResult {
    if (result.kind === 'held') {
      if (this.leaseUntilMs(claim.dataCenter) < this.timeline.nowMs)
        this.#leasedSinceMs.set(claim.dataCenter, this.timeline.nowMs);
      this.#leases.set(claim.dataCenter, this.timeline.nowMs + claim.ttlMs);
      this.checkSyncSet(this.dc(claim.dataCenter));
    }
    return result;
  }

  /** S: the set in the store never exceeds what the database waits for. */
  checkSyncSet({ name, pg }: DataCenter): void {
    const record = this.store.read(this.storeMs).leases.find(({ dataCenter }) => dataCenter === name);
    for (const peer of record?.takenOver === null ? record.inSync : [])
      if (!pg.names.includes(peer))
        throw new Violation(
          'S',
          `the store believes ${peer} to be in sync with ${name}, which waits for ${pg.names.join(' ') || 'nobody'}`,
        );
  }

  /** That it has a lease must be known to everybody by now: none was seen a moment ago that was not. */
  isKnownToLead(dc: string): boolean {
    const { nowMs } = this.timeline;
    const record = this.store.read(this.storeMs).leases.find(({ dataCenter }) => dataCenter === dc);
    return (
      record?.state === 'held' &&
      nowMs - Math.max(this.#leasedSinceMs.get(dc) ?? nowMs, this.storeMovedMs) > knownAfterMs
    );
  }

  leaseUntilMs(dc: string): number {
    return this.#leases.get(dc) ?? 0;
  }

  succeed(request: SuccessionRequest, nowMs: number): SuccessionResult {
    const inSync = this.store.read(nowMs).leases.find(({ dataCenter }) => dataCenter === request.from)?.inSync ?? [];
    if (request.kind === 'take' && request.forced && !this.forcedByPerson.has(request.from))
      throw new Violation('T1', `${request.to} takes ${request.from} over by force, and nobody asked`);
    const result = this.store.succeed(request, nowMs);
    if (result.kind === 'succeeded') {
      this.observer.seen.successions++;
      // Who is in the sync set of `from` may lack what that one had of another who is gone.
      const lacking =
        !inSync.includes(request.to) || (this.dcs.length > 2 && request.kind === 'take' && request.forced);
      if (request.kind === 'take' && lacking) this.observer.forced.add(result.term);
    }
    return result;
  }

  readmit(dc: DataCenter, takenOver: number, term: number): boolean {
    const readmission = { dataCenter: dc.name, takenOver, incarnation: dc.incarnation(), positions: dc.positions() };
    const goesBy = this.broken('back while another one is taken over') ? {} : { term };
    const done = this.store.readmit({ ...readmission, ...goesBy });
    if (done) this.observer.seen.readmissions++;
    // Repeating it after a lost answer finds it done.
    const record = this.store.read(this.storeMs).leases.find(({ dataCenter }) => dataCenter === dc.name);
    return done || (record?.takenOver ?? null) !== takenOver;
  }

  successions(): readonly Succession[] {
    return this.store.read(this.storeMs).successions;
  }

  /** A peer that is gone delays nobody for long where an agent leads that reaches the store. */
  #watchWaits(dc: DataCenter): void {
    const { pg, agent, name } = dc;
    const { nowMs } = this.timeline;
    const cut = (this.storeCut.get(name) ?? 0) > 0 || nowMs < this.storeStalledUntilMs || this.lossRate > 0;
    const able = agent?.leads && agent.state.lease.phase === 'held' && agent.state.leaving === 'no';
    const stands = nowMs < pg.stoppedUntilMs || nowMs < (agent?.stoppedUntilMs ?? 0);
    if (!pg.up || cut || !able || stands) dc.ableSinceMs = nowMs;
    for (const { sinceMs } of pg.waiting)
      if (nowMs - Math.max(sinceMs, dc.ableSinceMs) > waitsAtMostMs)
        throw new Violation(
          'liveness',
          `a commit in ${name} waits since ${Math.round(sinceMs)}, at ${Math.round(nowMs)}`,
        );
    this.timeline.after(500, () => this.#watchWaits(dc));
  }

  // ── Requests ─────────────────────────────────────────────────────────────────────────────────────────────────────

  /** Requests between the agents: there, and the answer back. */
  requestsPass(from: DataCenter, peer: DataCenter): boolean {
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
      for (const peer of dc.peers)
        if (!record.inSync.includes(peer.name)) return `${peer.name} is not in the sync set of ${name}`;
      if (pg.syncMembers !== dc.peers.length) return `${name} waits for ${pg.syncMembers}`;
      if (state.moves.size > 0) return `${name} still moves ${[...state.moves.keys()].join(' ')}`;
      if (state.turnover !== null || state.takeover.phase !== 'none') return `${name} has not finished a succession`;
      for (const [account, { untilMs }] of pg.drains)
        if (untilMs > this.timeline.nowMs) return `${name} still drains ${account}`;
      if (pg.successions.length !== view.successions.length) return `${name} lacks successions`;
      for (const stream of dc.incoming.values())
        if (!stream.connected || stream.appliedLsn < stream.publisher.lsn - 400)
          return `${name} is behind ${stream.publisher.here}`;
    }
    for (const account of this.accounts) {
      const homes = this.dcs.map(({ pg }) => pg.present(account));
      if (homes.some((one) => one?.home !== homes[0]?.home)) return `${account} is at home in two places`;
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
      ({ pg, incoming }) =>
        pg.waiting.size === 0 &&
        pg.writers.size === 0 &&
        [...incoming.values()].every((stream) => stream.appliedLsn >= stream.publisher.lsn),
    );
  }

  /** The first difference between some of the databases, but for what a stream has yet to bring to one of them. */
  difference(dcs: readonly DataCenter[] = this.dcs): string | null {
    const moving = new Set<string>();
    for (const { pg, incoming } of dcs)
      for (const { publisher } of incoming.values()) {
        // Nothing comes from there.
        if (pg.frozen.has(publisher.here)) continue;
        const applied = pg.progress.get(publisher.here) ?? 0;
        const { wal } = publisher;
        for (let at = wal.length - 1; at >= 0 && (wal[at] as Transaction).lsn > applied; at--) {
          const { origin, changes } = wal[at] as Transaction;
          if (origin === null) for (const { table, key } of changes) moving.add(`${table} ${key}`);
        }
      }
    const [one, ...others] = dcs as [DataCenter, ...DataCenter[]];
    for (const other of others)
      for (const [table, rows] of Object.entries(one.pg.tables)) {
        const theirs = other.pg.tables[table as keyof typeof other.pg.tables];
        for (const key of new Set([...rows.keys(), ...theirs.keys()])) {
          if (moving.has(`${table} ${key}`) || (table === 'row' && this.damaged.has(key.slice(0, key.indexOf('/')))))
            continue;
          const [here, there] = [rows.get(key), theirs.get(key)];
          if (here !== there && JSON.stringify(here) !== JSON.stringify(there))
            return `${table} ${key} is ${JSON.stringify(here)} in ${one.name} and ${JSON.stringify(there)} in ${other.name}`;
        }
      }
    return null;
  }
}
