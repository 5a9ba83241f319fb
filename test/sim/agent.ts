/**
 * An agent's processes: the real `step`, its actions carried out against the models with delays and lost answers, and a
 * process that can be killed at any of them, stopped and resumed, or replaced while it stands still.
 */
import {
  type Action,
  begin,
  type Ownership,
  type OwnershipEvent,
  reason,
  reasonsNotToStart,
  type Settings,
  step,
} from '@lanekeeper/server/ownership';
import type { DataCenter } from './data-center.ts';
import { unaccepted } from './deeds.ts';
import { performHandover } from './handover.ts';
import { advanceRelays, observe, ReplicationLooks } from './looks.ts';
import { performMend } from './mend.ts';
import { askSeen, performMove } from './moves.ts';
import { performRejoin } from './rejoin.ts';
import { thawThoseBack } from './rejoin-catch-up.ts';
import type { Simulation } from './simulation.ts';
import type { Random } from './timeline.ts';

/** Shorter than in production in proportion, so that a schedule of half a minute holds more. */
export const settings: Omit<Settings, 'here' | 'holder' | 'peers'> = {
  ttlMs: 3000,
  renewEveryMs: 1000,
  skewMs: 500,
  answerWithinMs: 700,
  observationMaxAgeMs: 2500,
  acceptWithinMs: 1500,
  drainMs: 800,
  maxMoves: 3,
  dwellMs: 100,
  perHour: 1000,
  watchEveryMs: 300,
  automaticFailover: true,
  releasedGraceMs: 4000,
  automaticRejoin: true,
  peerTimeoutMs: 1000,
};

const databaseHopMs = 3;
const statementTimeoutMs = 1500;
export const unseatAfterMs = settings.ttlMs;

export class AgentProcess {
  readonly dc: DataCenter;
  readonly simulation: Simulation;
  readonly holder: string;
  state: Ownership;
  alive = true;
  stoppedUntilMs = 0;
  /** Holds, or is about to hold, the lock that writers wait for. */
  lockSession: object | null = null;
  readonly #rate: number;
  #leadMs = 0;
  readonly asking = new Set<string>();

  constructor(simulation: Simulation, dc: DataCenter, life: number) {
    this.simulation = simulation;
    this.dc = dc;
    this.holder = `${dc.name}-${life}`;
    // A process counts by its machine's clock, whose rate is a little off.
    this.#rate = 1 + (dc.random.next() - 0.5) / 50;
    const own = {
      ...settings,
      ...simulation.settings,
      here: dc.name,
      holder: this.holder,
      peers: dc.peers.map(({ name }) => name),
    };
    this.state = begin(own, dc.pg.credential, this.monoMs);
  }

  get monoMs(): number {
    return this.simulation.timeline.nowMs * this.#rate + 7_000;
  }

  get leads(): boolean {
    return this.alive && this.dc.pg.leader === this;
  }

  lead(): void {
    const { dc } = this;
    dc.pg.leader = this;
    for (const account of [...dc.pg.drains.keys()]) dc.pg.endDrain(account, null);
    this.#every(100, () => this.handle({ kind: 'tick' }));
    this.#every(500, () => this.#readClock());
    this.#every(500, () => observe(this));
    const replication = new ReplicationLooks(this);
    this.#every(250, () => replication.look());
    this.#every(2000, () => this.#sweep());
    this.#every(2000, () => this.readSuccessions());
    if (dc.peers.length > 1) {
      this.#every(1000, () => advanceRelays(this));
      this.#every(500, () => thawThoseBack(this));
    }
    observe(this);
    this.#sweep();
    this.readSuccessions();
  }

  kill(): void {
    this.alive = false;
    for (const id of this.asking) this.simulation.onUnanswered(id);
    this.asking.clear();
    // Its sessions end with it: a lock that it held is let go of.
    if (this.lockSession !== null) this.dc.pg.unlockWriters(this.lockSession);
    this.lockSession = null;
  }

  /** Runs in this process: later when it stands still, never when it is dead. */
  later(delayMs: number, run: () => void): void {
    const { timeline } = this.simulation;
    const go = () => {
      if (!this.alive) return;
      if (timeline.nowMs < this.stoppedUntilMs) timeline.at(this.stoppedUntilMs, go);
      else run();
    };
    timeline.after(delayMs, go);
  }

  handle(event: OwnershipEvent): void {
    if (!this.alive) return;
    const { simulation } = this;
    const heard = simulation.mutant?.event?.(event, this) ?? event;
    const { state, actions } = step(this.state, heard, this.monoMs);
    this.state = state;
    for (const action of simulation.mutant?.actions?.(actions, this) ?? actions) {
      const kill =
        this.dc.killAt !== null && action.kind !== 'prove' && --this.dc.killAt.steps < 0 ? this.dc.killAt : null;
      if (kill !== null) this.dc.killAt = null;
      if (kill === null || kill.after) this.#perform(action);
      if (kill !== null) this.dc.replaceAgent();
      if (!this.alive) return;
    }
  }

  /**
   * One statement, on a session of its own or (`lead`) on the one that holds the lead. `wait`: it waits for a lock. A
   * statement that was sent runs although its process died.
   */
  query<T>(
    work: () => T | 'wait',
    done: (answer: T | 'lost') => void,
    lead = false,
    random: Random = this.dc.random,
  ): void {
    const { dc, simulation } = this;
    const { timeline } = simulation;
    const { pg } = dc;
    const { life } = pg;
    const untilMs = timeline.nowMs + statementTimeoutMs;
    let answered = false;
    const answer = (result: T | 'lost', delayMs: number) => {
      if (answered) return;
      answered = true;
      dc.inFlight.delete(broken);
      this.later(delayMs, () => done(result));
    };
    const broken = () => answer('lost', 2);
    const attempt = () => {
      if (answered || (lead && pg.leader !== this)) return answer('lost', 1);
      const result = work();
      if (result !== 'wait')
        return answer(random.chance(simulation.lossRate) ? 'lost' : result, databaseHopMs * random.next());
      if (timeline.nowMs >= untilMs) return answer('lost', 1);
      pg.later(8, attempt);
    };
    if (!pg.up || life !== pg.life || random.chance(simulation.lossRate / 2)) return answer('lost', 5);
    const sentMs = timeline.nowMs + databaseHopMs * random.next();
    // One session carries its statements out in order.
    if (lead) this.#leadMs = Math.max(this.#leadMs, sentMs);
    pg.later((lead ? this.#leadMs : sentMs) - timeline.nowMs, attempt);
    this.later(statementTimeoutMs * 2, () => answer('lost', 0));
    dc.inFlight.add(broken);
  }

  askStore<T>(work: (nowMs: number) => T, done: (answer: T | null) => void): void {
    this.simulation.callStore(this.dc, work, (answer) => this.later(0, () => done(answer)));
  }

  #every(everyMs: number, run: () => void): void {
    const again = () => {
      if (!this.leads) return this.#dethroned();
      run();
      this.later(everyMs, again);
    };
    this.later(this.dc.random.between(0, everyMs), again);
  }

  #dethroned(): void {
    if (!this.alive) return;
    this.kill();
    this.dc.onAgentLost(this);
  }

  #readings() {
    const { pg } = this.dc;
    return { wallMs: pg.wallMs(), uptimeMs: pg.hasUptime ? this.simulation.timeline.nowMs : null };
  }

  #readClock(): void {
    const sentMs = this.monoMs;
    this.query(
      () => this.#readings(),
      (answer) => {
        if (answer === 'lost') return;
        this.handle({ kind: 'clock', clock: { ...answer, sentMs, receivedMs: this.monoMs } });
      },
      true,
    );
  }

  #sweep(): void {
    this.query(
      () => unaccepted(this.dc.pg),
      (found) => {
        if (found !== 'lost')
          for (const { account, deed } of found) {
            const arrived = { epoch: deed.epoch, giver: deed.giver ?? '', returned: deed.digest === null };
            this.handle({ kind: 'deed-arrived', account, deed: arrived });
          }
      },
    );
  }

  readSuccessions(): void {
    const { pg } = this.dc;
    this.query(
      () => {
        if (!pg.mayTouchSuccessions) return 'wait' as const;
        pg.settleView();
        if (pg.leaseLeftMs() > 0 || this.simulation.broken('marks put down without a lease')) pg.land();
        return pg.successions.map(({ term }) => term);
      },
      (terms) => {
        if (terms !== 'lost') this.handle({ kind: 'successions-read', terms });
      },
    );
  }

  /** The destination's side of a move: it asks the home, when its own gate allows. */
  askFor(account: string, id: string): void {
    const { dc } = this;
    const home = dc.pg.present(account)?.home;
    const peer = dc.peers.find(({ name }) => name === home);
    // Without a third one it is asked all the same: it may know better.
    const asked = peer ?? (dc.peers.length === 1 ? dc.peers[0] : undefined);
    if (asked !== undefined) this.#askForFrom(asked, account, id);
  }

  #askForFrom(peer: DataCenter, account: string, id: string): void {
    const { dc, simulation } = this;
    if (!simulation.requestsPass(dc, peer) || reasonsNotToStart(this.state, peer.name, this.monoMs).length > 0) return;
    const request = { account, to: dc.name, ifIdle: dc.random.chance(0.5), expected: null, withinMs: 1500 };
    simulation.timeline.after(simulation.links.delayMs(dc.name, peer.name), () => {
      const giver = peer.agent;
      if (giver === null) return;
      giver.later(0, () => {
        simulation.onAsked(id, giver);
        giver.handle({ kind: 'give-asked', id, request });
      });
    });
  }

  #perform(action: Action): void {
    const { simulation, dc } = this;
    const { pg } = dc;
    switch (action.kind) {
      case 'prove': {
        const { round } = action;
        const sentMs = this.monoMs;
        return this.query(
          () => ({
            clock: this.#readings(),
            positions: dc.positions(),
            incarnation: dc.incarnation(),
            holdsLease: pg.leaseLeftMs() > 0,
            lost: [...pg.frozen].flatMap(([of, { lost }]) => (lost ? [reason('tail-lost', of)] : [])),
          }),
          (answer) => {
            if (answer === 'lost') return this.handle({ kind: 'proof', round, result: { kind: 'failed' } });
            const clock = { ...answer.clock, sentMs, receivedMs: this.monoMs };
            const { lost, ...proof } = answer;
            if (lost.length > 0 && !simulation.broken('a lease without its tails'))
              return this.handle({ kind: 'proof', round, result: { kind: 'lacking', reasons: lost } });
            this.handle({ kind: 'proof', round, result: { kind: 'proved', proof: { ...proof, clock } } });
          },
          true,
        );
      }
      case 'read-store':
        return this.askStore(
          (nowMs) => simulation.store.read(nowMs),
          (view) => this.handle({ kind: 'store-view', round: action.round, view }),
        );
      case 'acquire':
        return this.askStore(
          (nowMs) => simulation.acquire(action.claim, action.predecessor, nowMs),
          (result) => this.handle({ kind: 'store-answer', round: action.round, result }),
        );
      case 'renew':
        return this.askStore(
          (nowMs) => simulation.renew(action.claim, action.revision, nowMs),
          (result) => this.handle({ kind: 'store-answer', round: action.round, result }),
        );
      case 'release':
        return this.askStore(
          () => simulation.store.release(dc.name, action.credential, false),
          () => this.handle({ kind: 'released', round: action.round }),
        );
      case 'write-lease':
        return this.query(
          () => {
            pg.writeLease(action.lease, action.credential);
            return true;
          },
          (answer) => this.handle({ kind: 'lease-written', round: action.round, ok: answer === true }),
          true,
        );
      case 'left':
        this.kill();
        return dc.onAgentLeft(this);
      case 'answer':
      case 'answer-failover':
      case 'answer-switch':
        for (const id of action.ids) {
          this.asking.delete(id);
          simulation.onAnswer(id, action.outcome);
        }
        return;
      case 'settled':
        return;
      case 'list-instances':
        return this.query(
          () => dc.instances,
          (alive) => this.handle(alive === 'lost' ? { kind: 'tick' } : { kind: 'instances', alive }),
        );
      case 'rejoin':
        return performRejoin(this, action);
      case 'mend':
        return performMend(this, action);
      case 'ask-seen':
        return askSeen(this, action);
      case 'watch-store':
      case 'succeed':
      case 'freeze':
      case 'record':
      case 'drain-all':
      case 'lock-writers':
      case 'give-all':
      case 'resume':
      case 'set-sync':
        return performHandover(this, action);
      default:
        return performMove(this, action);
    }
  }
}
