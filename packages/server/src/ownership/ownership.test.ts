import type { LeaseResult, LeaseView, Positions } from 'lanekeeper/model';
import { describe, expect, it } from 'vitest';
import {
  type Action,
  begin,
  type Facts,
  leaseLeftMs,
  type Ownership,
  type OwnershipEvent,
  type Proof,
  reason,
  reasonsNotToStart,
  type Settings,
  step,
} from './index.ts';

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
};
const incarnation = { systemIdentifier: '7', timeline: 1, generation: 1 };
const wallStartMs = 1_700_000_000_000;

/** One agent whose answers the test gives, in whatever order. */
class Driver {
  nowMs = 0;
  state: Ownership;
  actions: Action[] = [];
  positions: Positions = { log: '0/100', received: {}, applied: { la: '0/50' } };
  revision = 0;

  constructor(predecessor: { holder: string; revision: number } | null = null) {
    this.state = begin(settings, predecessor, 0);
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
    };
    return { term: 1, leases: records.map((changes) => ({ ...record, state: 'held', ...changes })) };
  }

  grant(view = this.view()): this {
    const asked = this.has('renew') ? this.take('renew') : this.take('acquire');
    const result: LeaseResult = { kind: 'held', revision: ++this.revision, view };
    return this.send({ kind: 'store-answer', round: asked.round, result });
  }

  written(ok = true): this {
    return this.send({ kind: 'lease-written', round: this.take('write-lease').round, ok });
  }

  /** From nothing to a lease, as in an ordinary start. */
  lead(): this {
    this.tick().prove();
    this.send({ kind: 'store-view', round: this.take('read-store').round, view: this.view() });
    this.grant().written();
    return this.send({ kind: 'gate', peer: 'la', reasons: [] });
  }

  reasons(): string[] {
    const { lease } = this.state;
    return 'reasons' in lease ? lease.reasons.map(({ code }) => code) : [];
  }
}

describe('lease', () => {
  it('is acquired with proof, and counts from when the request was sent', () => {
    const agent = new Driver().tick();
    agent.nowMs = 10;
    agent.prove();
    agent.nowMs = 50;
    agent.send({ kind: 'store-view', round: agent.take('read-store').round, view: agent.view() });
    agent.nowMs = 900;
    agent.grant();
    const write = agent.take('write-lease');
    expect(write.lease).toEqual({ validUntilMs: wallStartMs + 50 + 6000, validUntilUptimeMs: null });
    expect(write.credential).toEqual({ holder: 'ny-1', revision: 1 });
    expect(leaseLeftMs(agent.state, agent.nowMs)).toBe(0);
    agent.send({ kind: 'lease-written', round: write.round, ok: true });
    expect(leaseLeftMs(agent.state, agent.nowMs)).toBe(50 + 6000 - 900);
  });

  it('takes the reading of a slow database as old as it may be', () => {
    const agent = new Driver().tick();
    const clock = { sentMs: 0, receivedMs: 400, wallMs: wallStartMs, uptimeMs: 5000 };
    agent.nowMs = 400;
    agent.prove({ incarnation, positions: agent.positions, clock, holdsLease: true });
    agent.send({ kind: 'store-view', round: agent.take('read-store').round, view: agent.view() });
    agent.grant();
    expect(agent.take('write-lease').lease).toEqual({ validUntilMs: wallStartMs + 6000, validUntilUptimeMs: 11_000 });
  });

  it('is renewed in time and with a new proof each time', () => {
    const agent = new Driver().lead().tick(1999);
    expect(agent.has('prove')).toBe(false);
    agent.tick(1).prove().grant().written();
    expect(leaseLeftMs(agent.state, agent.nowMs)).toBe(6000);
  });

  it('is given up at once when a later proof is lacking', () => {
    const agent = new Driver().lead().tick(2000);
    const reasons = [reason('fence-incomplete', 'public.orders')];
    agent.send({ kind: 'proof', round: agent.take('prove').round, result: { kind: 'lacking', reasons } });
    expect(agent.state.lease.phase).toBe('voiding');
    expect(agent.take('write-lease').lease).toBeNull();
    expect(leaseLeftMs(agent.state, agent.nowMs)).toBe(0);
  });

  it('repeats until the database has let go, and only then goes on', () => {
    const agent = new Driver().lead();
    const clock = { sentMs: 0, receivedMs: 0, wallMs: wallStartMs - 3_600_000, uptimeMs: null };
    agent.send({ kind: 'clock', clock });
    agent.written(false).tick(1000);
    expect(agent.has('prove')).toBe(false);
    agent.written().tick();
    expect(agent.reasons()).toEqual(['clock-stepped']);
    agent.prove(agent.proof(wallStartMs - 3_600_000));
    agent.send({ kind: 'store-view', round: agent.take('read-store').round, view: agent.view([{}]) });
    agent.grant().written();
    expect(agent.state.lease.phase).toBe('held');
  });

  it.each([
    ['backward', -501, 'voiding'],
    ['forward', 501, 'voiding'],
    ['by no more than drift explains', 499, 'held'],
  ])('watches for the clock stepping %s', (_, byMs, phase) => {
    const agent = new Driver().lead();
    agent.nowMs = 100;
    const clock = { sentMs: 100, receivedMs: 100, wallMs: wallStartMs + 100 + byMs, uptimeMs: null };
    expect(agent.send({ kind: 'clock', clock }).state.lease.phase).toBe(phase);
  });

  it('takes a slow answer for a slow answer, not for a step', () => {
    const agent = new Driver().lead();
    agent.nowMs = 2000;
    const clock = { sentMs: 0, receivedMs: 2000, wallMs: wallStartMs + 1990, uptimeMs: null };
    expect(agent.send({ kind: 'clock', clock }).state.lease.phase).toBe('held');
  });

  it('ends by itself when the store stays away, and is wiped from the database', () => {
    const agent = new Driver().lead().tick(2000).prove();
    agent.send({ kind: 'store-answer', round: agent.take('renew').round, result: null });
    agent.tick(3999);
    expect(leaseLeftMs(agent.state, agent.nowMs)).toBe(1);
    agent.tick(1);
    expect(leaseLeftMs(agent.state, agent.nowMs)).toBe(0);
    expect(agent.take('write-lease').lease).toBeNull();
  });

  it('survives a lost answer: the store says that the newer revision is ours', () => {
    const agent = new Driver().lead().tick(2000).prove();
    agent.send({ kind: 'store-answer', round: agent.take('renew').round, result: null });
    agent.tick(500).prove();
    const view = agent.view([{ revision: 2 }]);
    const result: LeaseResult = { kind: 'refused', reason: 'stale-revision', view };
    agent.send({ kind: 'store-answer', round: agent.take('renew').round, result });
    expect(agent.has('write-lease')).toBe(false);
    agent.revision = 2;
    agent.grant().written();
    expect(leaseLeftMs(agent.state, agent.nowMs)).toBe(6000);
  });

  it('stops at once when another holds it', () => {
    const agent = new Driver().lead().tick(2000).prove();
    const view = agent.view([{ holder: 'ny-2', revision: 5 }]);
    const result: LeaseResult = { kind: 'refused', reason: 'stale-revision', view };
    agent.send({ kind: 'store-answer', round: agent.take('renew').round, result });
    expect(agent.take('write-lease').lease).toBeNull();
  });

  it('takes no notice of an answer to an older question', () => {
    const agent = new Driver().lead().tick(2000).prove();
    const first = agent.take('renew');
    agent.tick(1500).tick(500).prove();
    agent.send({ kind: 'store-answer', round: first.round, result: { kind: 'held', revision: 9, view: agent.view() } });
    expect(agent.has('write-lease')).toBe(false);
  });

  it.each([
    ['a term that fell', { term: 0 }, 5],
    ['a revision that did not rise', {}, 1],
  ])('refuses %s', (_, changes, revision) => {
    const agent = new Driver().lead().tick(2000).prove();
    const result: LeaseResult = { kind: 'held', revision, view: { ...agent.view(), ...changes } };
    agent.send({ kind: 'store-answer', round: agent.take('renew').round, result });
    expect(agent.has('write-lease')).toBe(false);
    expect(leaseLeftMs(agent.state, agent.nowMs)).toBe(4000);
  });

  it.each([
    ['another database', [{ incarnation: { ...incarnation, systemIdentifier: '8' } }], 'other-incarnation'],
    ['a promoted copy', [{ incarnation: { ...incarnation, timeline: 2 } }], 'other-incarnation'],
    [
      'an older log than its own record',
      [{ positions: { log: '0/101', received: {}, applied: {} } }],
      'behind-own-record',
    ],
    [
      'less of the peer than it had',
      [{ positions: { log: '0/1', received: {}, applied: { la: '0/51' } } }],
      'behind-own-record',
    ],
    [
      'less than the peer has of it',
      [{ dataCenter: 'la', positions: { log: '0/1', received: { ny: '1/0' }, applied: {} } }],
      'behind-peer',
    ],
    ['a lease of another agent', [{ holder: 'ny-9', revision: 3 }], 'held-by-other'],
  ])('is not asked for with %s', (_, records, code) => {
    const agent = new Driver().tick().prove();
    agent.send({ kind: 'store-view', round: agent.take('read-store').round, view: agent.view(records) });
    expect(agent.has('acquire')).toBe(false);
    expect(agent.reasons()).toEqual([code]);
  });

  it('goes over to the next agent without a gap, by what the last one left in the database', () => {
    const agent = new Driver({ holder: 'ny-0', revision: 41 }).tick().prove();
    const view = agent.view([{ holder: 'ny-0', revision: 41 }]);
    agent.send({ kind: 'store-view', round: agent.take('read-store').round, view });
    expect(agent.take('acquire').predecessor).toEqual({ holder: 'ny-0', revision: 41 });
    expect(agent.has('write-lease')).toBe(false);
  });

  it('wipes a lease that a dead predecessor left to run out', () => {
    const agent = new Driver({ holder: 'ny-0', revision: 41 }).tick();
    agent.prove(agent.proof(wallStartMs, false));
    expect(agent.take('write-lease').lease).toBeNull();
  });

  it('is released only after the database has let go', () => {
    const agent = new Driver().lead().send({ kind: 'leave', successor: false });
    expect(agent.has('release')).toBe(false);
    agent.written();
    const release = agent.take('release');
    expect(release.credential).toEqual({ holder: 'ny-1', revision: 1 });
    expect(agent.has('left')).toBe(false);
    agent.send({ kind: 'released', round: release.round });
    expect(agent.has('left')).toBe(true);
  });

  it('is not released by an agent that does not know what the database holds', () => {
    const agent = new Driver({ holder: 'ny-0', revision: 41 }).send({ kind: 'leave', successor: false });
    expect(agent.has('release')).toBe(false);
    expect(agent.take('write-lease').lease).toBeNull();
  });

  it('is left in place for a successor, after the answer under way', () => {
    const agent = new Driver().lead().tick(2000).prove();
    agent.send({ kind: 'leave', successor: true });
    expect(agent.has('left')).toBe(false);
    agent.grant().written();
    expect(agent.has('left')).toBe(true);
    expect(agent.has('release')).toBe(false);
  });
});

describe('giving', () => {
  const facts: Facts = {
    home: 'ny',
    epoch: { term: 1, counter: 4 },
    accepted: true,
    inUse: false,
    arrivedAgoMs: null,
    movesAgoMs: [],
  };
  const request = { account: 'a1', to: 'la', ifIdle: true, expected: null, withinMs: 60_000 };
  const ask = (agent: Driver, id = 'r1') => agent.send({ kind: 'give-asked', id, request });
  const known = (agent: Driver, changes: Partial<Facts> = {}) => {
    const { round } = agent.take('read-facts');
    const result = { kind: 'known', facts: { ...facts, ...changes } } as const;
    return agent.send({ kind: 'facts', account: 'a1', round, result });
  };
  const begun = (agent: Driver, instances: string[]) => {
    const { round } = agent.take('begin-drain');
    return agent.send({ kind: 'drain-begun', account: 'a1', round, result: { kind: 'begun', move: 42, instances } });
  };

  it('reads, drains every instance, gives, and answers everyone who asked', () => {
    const agent = ask(new Driver().lead());
    ask(agent, 'r2');
    begun(known(agent), ['app-1', 'app-2']);
    agent.send({ kind: 'drained', move: 42, instance: 'app-2' });
    expect(agent.has('give')).toBe(false);
    agent.send({ kind: 'drained', move: 42, instance: 'app-1' });
    const give = agent.take('give');
    expect(give).toMatchObject({ to: 'la', epoch: { term: 1, counter: 4 }, move: 42 });
    const epoch = { term: 1, counter: 5 };
    agent.send({ kind: 'give-answered', account: 'a1', round: give.round, result: { kind: 'given', epoch } });
    expect(agent.take('answer')).toMatchObject({ ids: ['r1', 'r2'], outcome: { kind: 'given', epoch } });
    expect(agent.state.moves.size).toBe(0);
  });

  it('counts a report that overtook the number of the drain', () => {
    const agent = known(ask(new Driver().lead()));
    agent.send({ kind: 'drained', move: 42, instance: 'app-1' });
    begun(agent, ['app-1']);
    expect(agent.has('give')).toBe(true);
  });

  it('does not wait for an instance that died', () => {
    const agent = begun(known(ask(new Driver().lead())), ['app-1']);
    agent.tick(250).take('list-instances');
    agent.send({ kind: 'instances', alive: [] });
    expect(agent.has('give')).toBe(true);
  });

  it('keeps the account when requests do not finish in time', () => {
    const agent = begun(known(ask(new Driver().lead())), ['app-1']);
    agent.tick(4999);
    agent.send({ kind: 'gate', peer: 'la', reasons: [] });
    agent.tick(1);
    expect(agent.take('answer').outcome).toMatchObject({ kind: 'refused', reasons: [{ code: 'not-drained' }] });
    expect(agent.take('end-drain').move).toBe(42);
    expect(agent.has('give')).toBe(false);
  });

  it('aborts a drain when the lease or the gate is lost, and tells the applications until they know', () => {
    const agent = begun(known(ask(new Driver().lead())), ['app-1']);
    agent.send({ kind: 'gate', peer: 'la', reasons: [reason('not-streaming')] }).tick(10);
    expect(agent.take('answer').outcome).toMatchObject({ kind: 'refused', reasons: [{ code: 'not-streaming' }] });
    agent.send({ kind: 'drain-ended', account: 'a1', round: agent.take('end-drain').round, ok: false });
    agent.tick(499);
    expect(agent.has('end-drain')).toBe(false);
    agent.tick(1);
    agent.send({ kind: 'drain-ended', account: 'a1', round: agent.take('end-drain').round, ok: true });
    expect(agent.state.moves.size).toBe(0);
  });

  it('lets the database decide when the answer to a give was lost', () => {
    for (const [home, outcome] of [
      ['la', 'given'],
      ['ny', 'refused'],
    ] as const) {
      const agent = begun(known(ask(new Driver().lead())), []);
      const { round } = agent.take('give');
      agent.send({ kind: 'give-answered', account: 'a1', round, result: { kind: 'lost' } });
      expect(agent.has('answer')).toBe(false);
      agent.send({ kind: 'deed-read', account: 'a1', round: agent.take('read-deed').round, deed: null });
      agent.tick(500);
      const deed = { home, epoch: { term: 1, counter: 5 } };
      agent.send({ kind: 'deed-read', account: 'a1', round: agent.take('read-deed').round, deed });
      expect(agent.take('answer').outcome.kind).toBe(outcome);
    }
  });

  it('never takes a give back because of time', () => {
    const agent = begun(known(ask(new Driver().lead())), []);
    agent.take('give');
    for (let second = 0; second < 60; second++) agent.tick(1000);
    expect(agent.has('end-drain')).toBe(false);
    expect(agent.state.moves.get('a1')?.phase).toBe('giving');
  });

  it.each([
    ['in use', { inUse: true }, { kind: 'in-use' }],
    ['dwelling', { arrivedAgoMs: 10_000 }, { kind: 'dwelling', retryAfterMs: 20_000 }],
    [
      'over budget',
      { arrivedAgoMs: 40_000, movesAgoMs: Array.from({ length: 12 }, (_, n) => 40_000 * (n + 1)) },
      { kind: 'over-budget', retryAfterMs: 3_600_000 - 480_000 },
    ],
    ['arriving', { accepted: false }, { kind: 'refused', reasons: [{ code: 'arriving' }] }],
    ['homed elsewhere', { home: 'la' }, { kind: 'elsewhere', home: 'la' }],
  ])('keeps an account that is %s', (_, changes, outcome) => {
    const agent = known(ask(new Driver().lead()), changes);
    expect(agent.take('answer').outcome).toMatchObject(outcome);
    expect(agent.has('begin-drain')).toBe(false);
  });

  it('does not ask about use when a person wants the move', () => {
    const agent = new Driver().lead();
    agent.send({ kind: 'give-asked', id: 'r1', request: { ...request, ifIdle: false } });
    expect(known(agent, { inUse: true, arrivedAgoMs: 1 }).has('begin-drain')).toBe(true);
  });

  it('gives only what the one who asks has seen', () => {
    for (const [counter, given] of [
      [4, true],
      [3, false],
    ] as const) {
      const agent = new Driver().lead();
      const expected = { term: 1, counter };
      agent.send({ kind: 'give-asked', id: 'r1', request: { ...request, expected } });
      expect(known(agent).has('begin-drain')).toBe(given);
    }
  });

  it('begins no more moves than it may, and the next when one ends', () => {
    const agent = new Driver().lead();
    for (const account of ['a1', 'a2', 'a3'])
      agent.send({ kind: 'give-asked', id: account, request: { ...request, account } });
    expect(agent.actions.filter(({ kind }) => kind === 'read-facts')).toHaveLength(2);
    agent.send({ kind: 'facts', account: 'a1', round: agent.take('read-facts').round, result: { kind: 'unknown' } });
    expect(
      agent.actions.filter(({ kind }) => kind === 'read-facts').map((action) => 'account' in action && action.account),
    ).toEqual(['a2', 'a3']);
  });

  it('refuses without a lease, with closed gates, and with gates not looked at lately', () => {
    const without = new Driver();
    expect(reasonsNotToStart(without.state, 'la', 0).map(({ code }) => code)).toEqual(['no-lease']);
    const agent = new Driver().lead();
    expect(reasonsNotToStart(agent.state, 'la', 5000)).toEqual([]);
    expect(reasonsNotToStart(agent.state, 'la', 5001).map(({ code }) => code)).toEqual(['not-observed']);
  });
});

describe('receiving', () => {
  const deed = { epoch: { term: 1, counter: 5 }, giver: 'la', returned: false };
  const arrive = (agent: Driver, changes = {}) =>
    agent.send({ kind: 'deed-arrived', account: 'a1', deed: { ...deed, ...changes } });

  it('accepts in the same turn when lease and gate are there', () => {
    const agent = arrive(new Driver().lead());
    const { round, epoch } = agent.take('accept');
    expect(epoch).toEqual(deed.epoch);
    agent.send({ kind: 'accept-answered', account: 'a1', round, result: 'accepted' });
    expect(agent.take('settled').outcome).toBe('accepted');
  });

  it('waits for the lease, for however long, and then accepts', () => {
    const agent = arrive(new Driver());
    for (let second = 0; second < 60; second++) agent.tick(1000);
    expect(agent.has('accept') || agent.has('decline')).toBe(false);
    agent.send({ kind: 'gate', peer: 'la', reasons: [] });
    agent.actions = [];
    const { round } = agent.state.lease as { round?: number };
    if (round !== undefined) agent.send({ kind: 'lease-written', round, ok: true });
    agent.tick(1000);
    agent.actions = agent.actions.filter(({ kind }) => kind === 'prove').slice(-1);
    agent.prove().send({ kind: 'store-view', round: agent.take('read-store').round, view: agent.view() });
    agent.grant().written();
    expect(agent.has('accept')).toBe(true);
  });

  it('does not accept through a table that is not ready, and gives back when it stays so', () => {
    const agent = new Driver()
      .lead()
      .send({ kind: 'gate', peer: 'la', reasons: [reason('table-not-ready', 'public.carts')] });
    arrive(agent).tick(2999);
    expect(agent.has('accept') || agent.has('decline')).toBe(false);
    agent.tick(1);
    expect(agent.take('decline').reasons).toEqual([{ code: 'table-not-ready', about: 'public.carts' }]);
  });

  it('accepts what arrived before its stream stopped', () => {
    const agent = new Driver().lead().send({ kind: 'gate', peer: 'la', reasons: [reason('not-streaming')] });
    expect(arrive(agent).has('accept')).toBe(true);
  });

  it('gives back an account whose rows are not the ones that were sent', () => {
    const agent = arrive(new Driver().lead());
    agent.send({ kind: 'accept-answered', account: 'a1', round: agent.take('accept').round, result: 'digest-differs' });
    const { round } = agent.take('decline');
    agent.send({ kind: 'decline-answered', account: 'a1', round, result: 'declined' });
    expect(agent.take('settled')).toMatchObject({ outcome: 'declined', reasons: [{ code: 'digest-differs' }] });
  });

  it('takes back what was declined, whatever the gate says', () => {
    const agent = new Driver()
      .lead()
      .send({ kind: 'gate', peer: 'la', reasons: [reason('tables-differ', 'public.x')] });
    expect(arrive(agent, { returned: true }).has('accept')).toBe(true);
  });

  it('tries again when the database did not answer, and not at once', () => {
    const agent = arrive(new Driver().lead());
    agent.send({ kind: 'accept-answered', account: 'a1', round: agent.take('accept').round, result: 'failed' });
    expect(agent.has('accept')).toBe(false);
    expect(agent.tick(200).has('accept')).toBe(true);
  });

  it('answers whoever asked for an account that came back before the answer did', () => {
    const agent = new Driver().lead();
    agent.send({
      kind: 'give-asked',
      id: 'r1',
      request: { account: 'a1', to: 'la', ifIdle: false, expected: null, withinMs: 60_000 },
    });
    arrive(agent);
    expect(agent.take('answer')).toMatchObject({
      ids: ['r1'],
      outcome: { kind: 'refused', reasons: [{ code: 'arriving' }] },
    });
    expect(agent.has('accept')).toBe(true);
  });
});
