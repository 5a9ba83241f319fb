/** Carries out what the protocol asks for, against the model: with delays, lost answers, and a process that can die. */
import {
  type Action,
  begin,
  type Ownership,
  type OwnershipEvent,
  type Reason,
  reason,
  reasonsNotToStart,
  type Settings,
  step,
} from '@lanekeeper/server/ownership';
import type { DataCenterName, Epoch } from 'lanekeeper/model';
import type { ModelDatabase } from './database.ts';
import type { World } from './world.ts';

export const settings: Omit<Settings, 'here' | 'holder'> = {
  ttlMs: 6000,
  renewEveryMs: 2000,
  skewMs: 1000,
  answerWithinMs: 1500,
  observationMaxAgeMs: 5000,
  acceptWithinMs: 3000,
  drainMs: 1000,
  maxMoves: 3,
  dwellMs: 200,
  perHour: 1000,
  peers: [],
  watchEveryMs: 300,
  automaticFailover: true,
  releasedGraceMs: 30_000,
  automaticRejoin: true,
  peerTimeoutMs: 2000,
};

/** What an agent's process does before it dies or is killed; counted, so that a test can kill it at every step. */
export type KillAt = { readonly step: number; readonly after: boolean };

export class SimAgent {
  readonly here: DataCenterName;
  readonly peer: DataCenterName;
  readonly #world: World;
  readonly #database: ModelDatabase;
  life = 0;
  state: Ownership | null = null;
  /** Actions about accounts carried out so far, and where to die. */
  steps = 0;
  killAt: KillAt | null = null;
  #rateOfClock = 1;

  constructor(world: World, here: DataCenterName, peer: DataCenterName, database: ModelDatabase) {
    this.#world = world;
    this.here = here;
    this.peer = peer;
    this.#database = database;
  }

  get monoMs(): number {
    return this.#world.timeline.nowMs * this.#rateOfClock + 7_000;
  }

  start(): void {
    const { timeline, random } = this.#world;
    if (this.state !== null) return;
    const life = ++this.life;
    if (!this.#database.up) return timeline.after(200, () => life === this.life && this.start());
    // A process counts by the machine's clock, whose rate is a little off.
    this.#rateOfClock = 1 + (random.next() - 0.5) / 100;
    const own = { ...settings, here: this.here, holder: `${this.here}-${life}` };
    this.state = begin(own, this.#database.credential, this.monoMs);
    for (const account of [...this.#database.drains.keys()]) this.#database.endDrain(account, null);
    this.#every(life, 100, () => this.handle({ kind: 'tick' }));
    this.#every(life, 500, () => this.#readClock(life));
    this.#every(life, 1000, () => this.#observe());
    this.#every(life, 5000, () => this.#sweep());
    this.#observe();
    this.#sweep();
  }

  kill(): void {
    this.life++;
    this.state = null;
  }

  handle(event: OwnershipEvent): void {
    if (this.state === null) return;
    const { state, actions } = step(this.state, event, this.monoMs);
    this.state = state;
    for (const action of actions) {
      const aboutAccount = 'account' in action && action.kind !== 'answer' && action.kind !== 'settled';
      const kill = aboutAccount && this.killAt?.step === ++this.steps ? this.killAt : null;
      if (kill === null || kill.after) this.#perform(action);
      if (kill !== null) {
        this.kill();
        this.#world.timeline.after(300, () => this.start());
      }
      if (this.state === null) return;
    }
  }

  /** The destination's side of a move: it asks the home, when its own gate allows. */
  ask(account: string, id: string): void {
    const { timeline, random } = this.#world;
    if (this.state === null || reasonsNotToStart(this.state, this.peer, this.monoMs).length > 0) return;
    if (this.#world.requestsCut || random.chance(this.#world.lossRate)) return;
    const request = { account, to: this.here, ifIdle: random.chance(0.5), expected: null, withinMs: 2000 };
    timeline.after(this.#world.delayMs(), () => {
      const giver = this.#world.agent(this.peer);
      if (giver.state !== null) this.#world.asked.set(id, { giver, life: giver.life, answers: [] });
      giver.handle({ kind: 'give-asked', id, request });
    });
  }

  #every(life: number, everyMs: number, run: () => void): void {
    const again = () => {
      if (life !== this.life) return;
      run();
      this.#world.timeline.after(everyMs, again);
    };
    this.#world.timeline.after(this.#world.random.between(0, everyMs), again);
  }

  /** Asks the database or the store: a way there, the work, a way back. `lost` stands for whatever the asker then knows. */
  #ask(target: { readonly up: boolean }, work: () => OwnershipEvent, lost: OwnershipEvent, hopMs: number): void {
    const { timeline, random } = this.#world;
    const { life } = this;
    const answer = (event: OwnershipEvent) => life === this.life && this.handle(event);
    if (!target.up) return timeline.after(5, () => answer(lost));
    const dropped = random.chance(this.#world.lossRate);
    const early = dropped && random.chance(0.5);
    timeline.after(hopMs * random.next(), () => {
      const event = target.up && !early ? work() : lost;
      timeline.after(dropped ? 300 : hopMs * random.next(), () => answer(dropped ? lost : event));
    });
  }

  #readClock(life: number): void {
    const sentMs = this.monoMs;
    const { timeline, random } = this.#world;
    timeline.after(random.between(0, 3), () => {
      if (!this.#database.up) return;
      const reading = this.#readings();
      timeline.after(random.between(0, 3), () => {
        if (life === this.life) this.handle({ kind: 'clock', clock: { ...reading, sentMs, receivedMs: this.monoMs } });
      });
    });
  }

  #readings() {
    const { nowMs } = this.#world.timeline;
    return { wallMs: this.#database.wallMs(nowMs), uptimeMs: this.#database.hasUptime ? nowMs : null };
  }

  #observe(): void {
    if (this.#database.up)
      this.handle({ kind: 'gate', peer: this.peer, reasons: this.#world.gateReasons(this.here) as Reason[] });
  }

  #sweep(): void {
    if (!this.#database.up) return;
    for (const { account, deed } of this.#database.unaccepted()) this.tellDeed(account, deed);
  }

  tellDeed(account: string, deed: { epoch: Epoch; giver: string | null; digest: string | null }): void {
    if (deed.giver === null) return;
    const arrived = { epoch: deed.epoch, giver: deed.giver, returned: deed.digest === null };
    this.handle({ kind: 'deed-arrived', account, deed: arrived });
  }

  #perform(action: Action): void {
    const { timeline, random, store } = this.#world;
    const database = this.#database;
    const link = { up: !this.#world.storeCut.has(this.here) };
    const storeHopMs = 40;
    switch (action.kind) {
      case 'prove': {
        const { round } = action;
        const sentMs = this.monoMs;
        const work = (): OwnershipEvent => {
          const clock = { ...this.#readings(), sentMs, receivedMs: sentMs };
          const positions = this.#world.positions(this.here);
          const incarnation = { systemIdentifier: this.here, timeline: 1, generation: 1 };
          return {
            kind: 'proof',
            round,
            result: {
              kind: 'proved',
              proof: { incarnation, positions, clock, holdsLease: database.leaseLeftMs(timeline.nowMs) > 0 },
            },
          };
        };
        const stamped = (event: OwnershipEvent): OwnershipEvent =>
          event.kind === 'proof' && event.result.kind === 'proved'
            ? {
                ...event,
                result: {
                  kind: 'proved',
                  proof: { ...event.result.proof, clock: { ...event.result.proof.clock, receivedMs: this.monoMs } },
                },
              }
            : event;
        const { life } = this;
        if (!database.up)
          return timeline.after(5, () => this.handle({ kind: 'proof', round, result: { kind: 'failed' } }));
        return timeline.after(random.between(0, 4), () => {
          const event = database.up ? work() : ({ kind: 'proof', round, result: { kind: 'failed' } } as const);
          timeline.after(random.between(0, 4), () => life === this.life && this.handle(stamped(event)));
        });
      }
      case 'read-store': {
        const { round } = action;
        const work = (): OwnershipEvent => ({ kind: 'store-view', round, view: store.read(timeline.nowMs) });
        return this.#ask(link, work, { kind: 'store-view', round, view: null }, storeHopMs);
      }
      case 'acquire': {
        const { round, claim, predecessor } = action;
        const work = (): OwnershipEvent => {
          const result = store.acquire(claim, predecessor ?? undefined, timeline.nowMs);
          return { kind: 'store-answer', round, result };
        };
        return this.#ask(link, work, { kind: 'store-answer', round, result: null }, storeHopMs);
      }
      case 'renew': {
        const { round, claim, revision } = action;
        const work = (): OwnershipEvent => {
          const result = store.renew(claim, revision, timeline.nowMs);
          return { kind: 'store-answer', round, result };
        };
        return this.#ask(link, work, { kind: 'store-answer', round, result: null }, storeHopMs);
      }
      case 'release': {
        const { round, credential } = action;
        const work = (): OwnershipEvent => {
          store.release(this.here, credential, false);
          return { kind: 'released', round };
        };
        return this.#ask(link, work, { kind: 'released', round }, storeHopMs);
      }
      case 'write-lease': {
        // On one session, which ends with its process: in order, and never after the next agent's.
        const { round, lease, credential } = action;
        const { life } = this;
        const work = (): OwnershipEvent => {
          if (life === this.life || (this.state === null && random.chance(0.5))) {
            database.lease = lease;
            database.credential = credential;
          }
          return { kind: 'lease-written', round, ok: true };
        };
        const failed: OwnershipEvent = { kind: 'lease-written', round, ok: false };
        if (!database.up) return timeline.after(5, () => life === this.life && this.handle(failed));
        return timeline.after(1, () => {
          const event = database.up ? work() : failed;
          timeline.after(1, () => life === this.life && this.handle(event));
        });
      }
      case 'left':
        return this.#world.onLeft(this);
      case 'answer':
        for (const id of action.ids) this.#world.asked.get(id)?.answers.push(action.outcome);
        return;
      case 'settled':
        return;
      case 'list-instances':
        return timeline.after(2, () => {
          if (database.up) this.handle({ kind: 'instances', alive: this.#world.instances(this.here) });
        });
      default:
        return this.#performOnAccount(action);
    }
  }

  #performOnAccount(action: Extract<Action, { readonly account: string; readonly round: number }>): void {
    const { timeline, random } = this.#world;
    const database = this.#database;
    const { account, round } = action;
    const hopMs = 4;
    switch (action.kind) {
      case 'read-facts': {
        const work = (): OwnershipEvent => {
          const deed = database.deeds.get(account);
          if (deed === undefined) return { kind: 'facts', account, round, result: { kind: 'unknown' } };
          const facts = {
            home: deed.home,
            epoch: deed.epoch,
            accepted: database.isAccepted(account),
            inUse: random.chance(0.2),
            arrivedAgoMs: deed.giver === null ? null : random.between(0, 2000),
            movesAgoMs: [],
          };
          return { kind: 'facts', account, round, result: { kind: 'known', facts } };
        };
        return this.#ask(database, work, { kind: 'facts', account, round, result: { kind: 'failed' } }, hopMs);
      }
      case 'begin-drain': {
        const work = (): OwnershipEvent => {
          const move = database.beginDrain(account, timeline.nowMs, action.forMs);
          if (move === null) return { kind: 'drain-begun', account, round, result: { kind: 'already' } };
          const instances = this.#world.instances(this.here);
          for (const instance of instances) this.#world.reportDrained(this.here, move, instance);
          return { kind: 'drain-begun', account, round, result: { kind: 'begun', move, instances } };
        };
        return this.#ask(database, work, { kind: 'drain-begun', account, round, result: { kind: 'failed' } }, hopMs);
      }
      case 'give':
        return this.#give(action, hopMs);
      case 'read-deed': {
        const work = (): OwnershipEvent => {
          const deed = database.deeds.get(account);
          return { kind: 'deed-read', account, round, deed: deed ?? null };
        };
        return this.#ask(database, work, { kind: 'deed-read', account, round, deed: null }, hopMs);
      }
      case 'end-drain': {
        const work = (): OwnershipEvent => {
          database.endDrain(account, action.move);
          return { kind: 'drain-ended', account, round, ok: true };
        };
        return this.#ask(database, work, { kind: 'drain-ended', account, round, ok: false }, hopMs);
      }
      case 'accept': {
        const work = (): OwnershipEvent => {
          const result = database.accept(account, action.epoch, timeline.nowMs);
          return { kind: 'accept-answered', account, round, result };
        };
        return this.#ask(database, work, { kind: 'accept-answered', account, round, result: 'failed' }, hopMs);
      }
      case 'decline': {
        const work = (): OwnershipEvent => {
          const result = database.decline(account, action.epoch, timeline.nowMs);
          return { kind: 'decline-answered', account, round, result };
        };
        return this.#ask(database, work, { kind: 'decline-answered', account, round, result: 'failed' }, hopMs);
      }
    }
  }

  /** Hardens the drain, waits for writers under way, gives. The connection may break before, during and after. */
  #give(action: Extract<Action, { kind: 'give' }>, hopMs: number): void {
    const { timeline, random } = this.#world;
    const database = this.#database;
    const { account, round, to, epoch, move } = action;
    const life = { agent: this.life, database: database.life };
    const endMs = timeline.nowMs + action.withinMs;
    const answered = (result: Extract<OwnershipEvent, { kind: 'give-answered' }>['result']) =>
      timeline.after(hopMs * random.next(), () => {
        if (life.agent === this.life) this.handle({ kind: 'give-answered', account, round, result });
      });
    if (random.chance(this.#world.lossRate)) timeline.after(hopMs * random.next(), () => answered({ kind: 'lost' }));
    const attempt = () => {
      if (!database.up || database.life !== life.database) return answered({ kind: 'lost' });
      const drain = database.drains.get(account);
      if (drain?.move === move) drain.hard = true;
      if ((database.shareLocks.get(account) ?? 0) > 0) {
        if (timeline.nowMs < endMs) return timeline.after(1, attempt);
        return answered({ kind: 'kept', reason: reason('busy') });
      }
      const result = database.give(account, to, epoch, timeline.nowMs);
      if (typeof result !== 'string') return answered({ kind: 'given', epoch: result });
      return answered({ kind: 'kept', reason: reason(result === 'no-lease' ? 'no-lease' : 'already-moving') });
    };
    timeline.after(hopMs * random.next(), attempt);
  }
}
