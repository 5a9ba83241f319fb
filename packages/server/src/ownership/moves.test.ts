import { describe, expect, it } from 'vitest';
import { Driver } from '../../../../test/support/ownership-driver.ts';
import { type Facts, reason, reasonsNotToStart } from './index.ts';

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
    agent.prove().read();
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
