/**
 * Two data centers, a lease store, streams between the databases, and applications that write wherever the fence lets
 * them. Every commit is checked against what the whole world knows.
 */
import { type GiveOutcome, reason } from '@lanekeeper/server/ownership';
import { compareEpochs, type DataCenterName, type Epoch, type Positions } from 'lanekeeper/model';
import { ModelLeaseStore } from '../support/model-lease-store.ts';
import { SimAgent, settings } from './agent.ts';
import { type Change, ModelDatabase } from './database.ts';
import { type Random, seeded, Timeline } from './timeline.ts';

export const accounts = ['a1', 'a2', 'a3', 'a4'];

type DataCenterState = {
  readonly database: ModelDatabase;
  readonly agent: SimAgent;
  /** Application instances that take part in drains. */
  instances: string[];
  /** Reports of drains get lost, as if a request never finished. */
  stuck: boolean;
  /** The stream into this dc swallows rows. `conflicts` says that PostgreSQL counted it. */
  hole: boolean;
  conflicts: number;
  streamCut: boolean;
  streamDelayMs: number;
};

export class World {
  readonly timeline = new Timeline();
  readonly random: Random;
  readonly store = new ModelLeaseStore();
  readonly #dcs: Record<DataCenterName, DataCenterState>;
  /** Requests between agents do not get through. */
  requestsCut = false;
  readonly storeCut = new Set<DataCenterName>();
  lossRate = 0;
  readonly asked = new Map<string, { giver: SimAgent; life: number; answers: GiveOutcome[] }>();
  /** Everything ever committed, and under which epoch and where the last of it was. */
  readonly #written = new Map<string, { writes: string[]; epoch: Epoch; at: DataCenterName }>();
  commits = 0;
  #writes = 0;

  constructor(seed: number) {
    this.random = seeded(seed);
    const { random } = this;
    const make = (here: DataCenterName, peer: DataCenterName): DataCenterState => {
      const database = new ModelDatabase(here, random.between(-500, 500), random.chance(0.5));
      const agent = new SimAgent(this, here, peer, database);
      const instances = [`${here}-app-1`, `${here}-app-2`].slice(0, random.between(0, 2));
      const streamDelayMs = random.pick([1, 30, 30, 500]);
      return { database, agent, instances, stuck: false, hole: false, conflicts: 0, streamCut: false, streamDelayMs };
    };
    this.#dcs = { ny: make('ny', 'la'), la: make('la', 'ny') };
    for (const [index, account] of accounts.entries()) {
      const home = index % 2 === 0 ? 'ny' : 'la';
      const deed = { home, epoch: { term: 1, counter: 0 }, giver: null, digest: null };
      for (const { database } of Object.values(this.#dcs)) database.deeds.set(account, deed);
    }
  }

  start(): void {
    for (const dc of ['ny', 'la']) {
      this.agent(dc).start();
      this.#pump(dc);
      this.#write(dc);
    }
  }

  dc(name: DataCenterName): DataCenterState {
    return this.#dcs[name] as DataCenterState;
  }

  agent(name: DataCenterName): SimAgent {
    return this.dc(name).agent;
  }

  database(name: DataCenterName): ModelDatabase {
    return this.dc(name).database;
  }

  delayMs(): number {
    return 30 + this.random.between(0, 5);
  }

  instances(name: DataCenterName): readonly string[] {
    return [...this.dc(name).instances];
  }

  gateReasons(here: DataCenterName) {
    const [own, peer] = here === 'ny' ? [this.dc('ny'), this.dc('la')] : [this.dc('la'), this.dc('ny')];
    const reasons = [];
    if (own.streamCut || !peer.database.up) reasons.push(reason('not-streaming', 'incoming'));
    if (peer.streamCut) reasons.push(reason('not-streaming', 'outgoing'));
    if (own.conflicts > 0) reasons.push(reason('new-conflicts'));
    if (this.requestsCut || peer.agent.state === null) reasons.push(reason('peer-not-observed'));
    return reasons;
  }

  positions(here: DataCenterName): Positions {
    const peer = here === 'ny' ? 'la' : 'ny';
    const { log, applied } = this.database(here);
    const text = (position: number) => `0/${position.toString(16).toUpperCase()}`;
    const received = { [peer]: text(applied) };
    return { log: text(log.length), received, applied: received };
  }

  reportDrained(here: DataCenterName, move: number, instance: string): void {
    const dc = this.dc(here);
    if (dc.stuck || this.random.chance(this.lossRate)) return;
    this.timeline.after(this.random.between(0, 20), () => {
      if (dc.database.up && dc.instances.includes(instance)) dc.agent.handle({ kind: 'drained', move, instance });
    });
  }

  onLeft(agent: SimAgent): void {
    const handedOver = agent.state?.leaving === 'hand-over';
    agent.kill();
    this.timeline.after(handedOver ? 20 : this.random.between(100, 2000), () => agent.start());
  }

  /** The stream into `here`: the peer's changes, in order, each some time after its commit. */
  #pump(here: DataCenterName): void {
    const dc = this.dc(here);
    const peer = this.database(here === 'ny' ? 'la' : 'ny');
    const apply = () => {
      const up = dc.database.up && peer.up && !dc.streamCut;
      for (let next = peer.log[dc.database.applied]; up && next !== undefined; next = peer.log[dc.database.applied]) {
        if (next.atMs + dc.streamDelayMs > this.timeline.nowMs) break;
        const told = dc.database.apply(next.change, dc.hole);
        if (told !== null && told.deed.home === here && !this.random.chance(this.lossRate))
          this.timeline.after(1, () => dc.agent.tellDeed(told.account, told.deed));
      }
      this.timeline.after(20, apply);
    };
    this.timeline.after(20, apply);
  }

  /** Applications: transactions that pass the fence when they begin, and are checked again when they commit. */
  #write(here: DataCenterName): void {
    const { database } = this.dc(here);
    const begin = () => {
      this.timeline.after(this.random.between(10, 90), begin);
      const account = this.random.pick(accounts);
      const epoch = database.mayWrite(account, this.timeline.nowMs);
      if (epoch === null) return;
      const { life } = database;
      database.shareLocks.set(account, (database.shareLocks.get(account) ?? 0) + 1);
      this.timeline.after(this.random.chance(0.1) ? this.random.between(0, 1500) : this.random.between(0, 10), () => {
        if (database.life !== life || !database.up) return;
        database.shareLocks.set(account, (database.shareLocks.get(account) ?? 0) - 1);
        if (database.leaseLeftMs(this.timeline.nowMs) <= 0) return;
        const write = `${here}${++this.#writes}`;
        const change: Change = { kind: 'row', account, write };
        this.#check(database, account, epoch);
        database.commit(change, this.timeline.nowMs);
        this.commits++;
        const writes = this.#written.get(account)?.writes ?? [];
        writes.push(write);
        this.#written.set(account, { writes, epoch, at: here });
      });
    };
    this.timeline.after(this.random.between(0, 40), begin);
  }

  #check(database: ModelDatabase, account: string, epoch: Epoch): void {
    const { here } = database;
    const { nowMs } = this.timeline;
    const where = `${account} in ${here} at ${nowMs}`;
    const deed = database.deeds.get(account);
    if (deed?.home !== here || compareEpochs(deed.epoch, epoch) !== 0)
      throw new Error(`the deed of ${where} changed under a lock`);
    const before = this.#written.get(account);
    if (before !== undefined) {
      const order = compareEpochs(epoch, before.epoch);
      if (order < 0 || (order === 0 && before.at !== here))
        throw new Error(
          `W1: ${where} was written under epoch ${epoch.counter} after ${before.epoch.counter} in ${before.at}`,
        );
      const held = database.rows.get(account) ?? [];
      // Within one epoch nothing can have been missed that was there when it began.
      const rows = order === 0 ? null : new Set(held);
      const missing = rows === null ? [] : before.writes.filter((write) => !rows.has(write));
      if (missing.length > 0) throw new Error(`G1: ${where} was written without ${missing.join(' ')}`);
    }
    const lateMs = nowMs - this.store.untilMs(here);
    if (lateMs > settings.skewMs) throw new Error(`R4: ${where} was written ${lateMs} ms after the lease`);
  }
}
