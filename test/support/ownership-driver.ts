/** One agent's protocol, driven by a test that gives the answers, in whatever order. */
import {
  type Action,
  begin,
  type Ownership,
  type OwnershipEvent,
  type Proof,
  type Settings,
  step,
} from '@lanekeeper/server/ownership';
import type { LeaseRecord, LeaseResult, LeaseView, Positions, Succession } from 'lanekeeper/model';

const settings: Settings = {
  here: 'ny',
  holder: 'ny-1',
  ttlMs: 6000,
  renewEveryMs: 2000,
  skewMs: 1000,
  answerWithinMs: 1500,
  observationMaxAgeMs: 5000,
  acceptWithinMs: 3000,
  drainMs: 5000,
  maxMoves: 2,
  dwellMs: 30_000,
  perHour: 12,
  peers: [],
  watchEveryMs: 300,
  automaticFailover: true,
  releasedGraceMs: 30_000,
  automaticRejoin: true,
  peerTimeoutMs: 2000,
};
export const incarnation = { systemIdentifier: '7', timeline: 1, generation: 1 };
export const wallStartMs = 1_700_000_000_000;

export class Driver {
  nowMs = 0;
  state: Ownership;
  actions: Action[] = [];
  positions: Positions = { log: '0/100', received: {}, applied: { la: '0/50' } };
  revision = 0;

  constructor(predecessor: { holder: string; revision: number } | null = null, changes: Partial<Settings> = {}) {
    this.state = begin({ ...settings, ...changes }, predecessor, 0);
  }

  send(event: OwnershipEvent): this {
    const { state, actions } = step(this.state, event, this.nowMs);
    this.state = state;
    this.actions.push(...actions);
    return this;
  }

  tick(afterMs = 0): this {
    this.nowMs += afterMs;
    return this.send({ kind: 'tick' });
  }

  /** Takes the oldest action of a kind out of the list. */
  take<Kind extends Action['kind']>(kind: Kind): Extract<Action, { kind: Kind }> {
    const index = this.actions.findIndex((action) => action.kind === kind);
    if (index < 0)
      throw new Error(`no ${kind} among ${this.actions.map((action) => action.kind).join(', ') || 'none'}`);
    return this.actions.splice(index, 1)[0] as Extract<Action, { kind: Kind }>;
  }

  has(kind: Action['kind']): boolean {
    return this.actions.some((action) => action.kind === kind);
  }

  proof(wallMs = wallStartMs + this.nowMs, holdsLease = true): Proof {
    const clock = { sentMs: this.nowMs, receivedMs: this.nowMs, wallMs, uptimeMs: null };
    return { incarnation, positions: this.positions, clock, holdsLease };
  }

  prove(proof = this.proof()): this {
    return this.send({ kind: 'proof', round: this.take('prove').round, result: { kind: 'proved', proof } });
  }

  view(records: Partial<LeaseView['leases'][number]>[] = []): LeaseView {
    const record = {
      dataCenter: 'ny',
      incarnation,
      positions: { log: '0/1', received: {}, applied: {} },
      holder: 'ny-1',
      revision: 1,
      state: 'held' as const,
      ttlMs: settings.ttlMs,
      inSync: [],
      takenOver: null,
    };
    return { term: 1, leases: records.map((changes) => ({ ...record, ...changes })), successions: [] };
  }

  grant(view = this.view()): this {
    const asked = this.has('renew') ? this.take('renew') : this.take('acquire');
    const result: LeaseResult = { kind: 'held', revision: ++this.revision, view };
    return this.send({ kind: 'store-answer', round: asked.round, result });
  }

  written(ok = true): this {
    return this.send({ kind: 'lease-written', round: this.take('write-lease').round, ok });
  }

  /** The store is read, and a proof that is newer held against it. */
  read(view: LeaseView | null = this.view()): this {
    this.send({ kind: 'store-view', round: this.take('read-store').round, view });
    return this.has('prove') ? this.prove() : this;
  }

  /** From nothing to a lease, as in an ordinary start. */
  lead(): this {
    this.tick().prove().read();
    this.grant().written();
    return this.send({ kind: 'gate', peer: 'la', reasons: [] });
  }

  /** What the store says of `la` (and, when given, of here), seen by the next look at it. */
  watch(la: Partial<LeaseRecord>, successions: readonly Succession[] = [], own: Partial<LeaseRecord> = {}): this {
    const { leases } = this.view([own, { dataCenter: 'la', holder: 'la-1', ...la }]);
    const view = { term: (successions.at(-1)?.term ?? 1) as number, leases, successions };
    while (this.state.view.look.step !== 'reading') this.tick(50);
    return this.send({ kind: 'watched', round: this.state.view.look.round, view });
  }

  /** Ticks, and renews the lease whenever that is asked for. */
  wait(ms: number, view = this.view()): this {
    for (const untilMs = this.nowMs + ms; this.nowMs < untilMs; ) {
      this.tick(Math.min(50, untilMs - this.nowMs));
      if (this.has('prove')) this.prove();
      if (this.has('renew')) this.grant(view);
      if (this.has('write-lease')) this.written();
    }
    return this;
  }

  reasons(): string[] {
    const { lease } = this.state;
    return 'reasons' in lease ? lease.reasons.map(({ code }) => code) : [];
  }
}
