import type { LeaseRecord, Succession } from 'lanekeeper/model';
import { describe, expect, it } from 'vitest';
import { Driver } from '../../../../test/support/ownership-driver.ts';
import { type FailoverOutcome, reasonsNotToTake } from './index.ts';

const take: Succession = { term: 2, kind: 'take', from: 'la', to: 'ny', undoes: null };
const cut = { homed: '0/500', rest: '0/400' };
const lapsed: Partial<LeaseRecord> = { revision: 7, state: 'expired', inSync: ['ny'] };

/** An agent that holds its lease and has seen that la's is not renewed any more. */
function ready(la: Partial<LeaseRecord> = lapsed, settings = {}): Driver {
  const agent = new Driver(null, { peers: ['la'], ...settings }).lead();
  return agent.send({ kind: 'successions-read', terms: [] }).watch(la);
}

function claiming(): Driver {
  const agent = ready().wait(7000);
  expect(agent.has('succeed')).toBe(true);
  return agent;
}

function succeed(agent: Driver, successions = [take]): Driver {
  const view = { ...agent.view([{}, { dataCenter: 'la', ...lapsed, takenOver: 2 }]), term: 2, successions };
  return agent.send({
    kind: 'succeeded',
    round: agent.take('succeed').round,
    result: { kind: 'succeeded', term: 2, view },
  });
}

function answers(agent: Driver): FailoverOutcome[] {
  return agent.actions.flatMap((action) =>
    action.kind === 'answer-failover' ? action.ids.map(() => action.outcome) : [],
  );
}

function because(agent: Driver, forced = false): string[] {
  return reasonsNotToTake(agent.state, 'la', forced, agent.nowMs).map(({ code }) => code);
}

describe('whether it may be taken over', () => {
  it('is not known before its record was seen, nor before our own successions were read', () => {
    const agent = new Driver(null, { peers: ['la'] }).lead();
    expect(because(agent)).toEqual(['starting']);
    agent.send({ kind: 'successions-read', terms: [] });
    expect(because(agent)).toEqual(['peer-not-observed']);
  });

  it('needs its whole lease and the skew since its revision was first seen, however it looks in the store', () => {
    const agent = ready();
    agent.wait(6950);
    expect(because(agent)).toEqual(['still-held']);
    expect(agent.has('succeed')).toBe(false);
    agent.wait(100);
    expect(because(agent)).toEqual([]);
    expect(agent.take('succeed').request).toMatchObject({
      kind: 'take',
      term: 1,
      from: 'la',
      to: 'ny',
      fromRevision: 7,
      forced: false,
    });
  });

  it('is counted anew with every revision', () => {
    const agent = ready()
      .wait(6000)
      .watch({ ...lapsed, revision: 8 })
      .wait(3000);
    expect(because(agent)).toEqual(['still-held']);
  });

  it.each([
    ['held by the store', { state: 'held' }, 7500, ['still-held'], ['still-held']],
    ['given up at once', { state: 'yielded' }, 0, [], []],
    ['stopped in order', { state: 'released' }, 8000, ['released-lately'], []],
    ['stopped in order long ago', { state: 'released' }, 31_000, [], []],
    ['not in step with us', { inSync: [] }, 8000, ['not-in-sync'], []],
    ['taken over already', { takenOver: 2 }, 8000, ['taken-over'], ['taken-over']],
  ] as const)('%s', (_, la, afterMs, codes, forcedCodes) => {
    const agent = ready({ ...lapsed, ...la }, { automaticFailover: false }).wait(afterMs);
    expect(because(agent)).toEqual(codes);
    expect(because(agent, true)).toEqual(forcedCodes);
  });

  it('needs a lease of our own', () => {
    const agent = ready(lapsed, { automaticFailover: false }).wait(7100);
    agent.nowMs += 6000;
    expect(because(agent)).toEqual(['no-lease']);
  });
});

describe('a takeover', () => {
  it('goes from the claim over the freeze and the cut to the succession', () => {
    const agent = succeed(claiming());
    const freeze = agent.take('freeze');
    expect(freeze).toMatchObject({ from: 'la', term: 2 });
    expect(agent.has('record')).toBe(false);
    agent.send({ kind: 'frozen', round: freeze.round, cut });
    const record = agent.take('record');
    expect(record).toMatchObject({ successions: [take], cuts: { la: { generation: 1, ...cut } } });
    agent.send({ kind: 'recorded', round: record.round, ok: true });
    expect(agent.state.takeover.phase).toBe('none');
    expect(agent.state.view.recorded).toEqual([2]);
    agent.wait(1000);
    expect(agent.has('freeze') || agent.has('succeed')).toBe(false);
  });

  it('records every earlier succession that never arrived, and the generation that was cut off', () => {
    const switched: Succession = { term: 2, kind: 'switch', from: 'la', to: 'ny', undoes: null };
    const taken = { ...take, term: 3 };
    const agent = claiming().watch({ ...lapsed, incarnation: { systemIdentifier: '7', timeline: 1, generation: 4 } });
    const { leases } = agent.view([
      {},
      { dataCenter: 'la', ...lapsed, takenOver: 3, incarnation: { systemIdentifier: '7', timeline: 1, generation: 4 } },
    ]);
    const view = { term: 3, leases, successions: [switched, taken] };
    agent.send({ kind: 'succeeded', round: agent.take('succeed').round, result: { kind: 'succeeded', term: 3, view } });
    agent.send({ kind: 'frozen', round: agent.take('freeze').round, cut });
    expect(agent.take('record')).toMatchObject({
      successions: [switched, taken],
      cuts: { la: { generation: 4, ...cut } },
    });
  });

  it.each(['still-held', 'no-lease', 'taken-over', 'not-in-sync'] as const)(
    'refused as %s is tried again later',
    (why) => {
      const agent = claiming().send({ kind: 'failover-asked', id: 'a', from: 'la', forced: false });
      const view = agent.view([{}, { dataCenter: 'la', ...lapsed }]);
      agent.send({
        kind: 'succeeded',
        round: agent.take('succeed').round,
        result: { kind: 'refused', reason: why, view },
      });
      expect(answers(agent)).toEqual([{ kind: 'refused', reasons: [{ code: why, about: 'la' }] }]);
      expect(agent.tick(200).has('succeed')).toBe(false);
      expect(agent.tick(100).has('succeed')).toBe(true);
    },
  );

  it('is pending when the store does not answer, and a late answer changes nothing', () => {
    const agent = claiming().send({ kind: 'failover-asked', id: 'a', from: 'la', forced: false });
    const { round } = agent.take('succeed');
    agent.wait(1500);
    expect(answers(agent)).toEqual([{ kind: 'pending' }]);
    const view = { ...agent.view([{}]), term: 2, successions: [take] };
    agent.send({ kind: 'succeeded', round, result: { kind: 'succeeded', term: 2, view } });
    expect(agent.has('freeze')).toBe(false);
  });

  it('is not given up before its time, nor answered by what was asked before', () => {
    const agent = claiming();
    const { round } = agent.take('succeed');
    agent.wait(1400);
    expect(agent.state.takeover.phase).toBe('claiming');
    const view = { ...agent.view([{}]), term: 2, successions: [take] };
    agent.send({ kind: 'succeeded', round: round - 1, result: { kind: 'succeeded', term: 2, view } });
    expect(agent.state.takeover.phase).toBe('claiming');
  });

  it('of somebody else, or that is none, is nothing to go on with', () => {
    const agent = ready(lapsed, { automaticFailover: false });
    agent.watch(lapsed, [
      { ...take, to: 'fra' },
      { term: 3, kind: 'switch', from: 'la', to: 'ny', undoes: null },
    ]);
    expect(agent.wait(1000).has('freeze')).toBe(false);
  });

  it('whose answer was lost is found in the history', () => {
    const agent = claiming();
    agent.send({ kind: 'succeeded', round: agent.take('succeed').round, result: null });
    agent.watch({ ...lapsed, takenOver: 2 }, [take]).wait(300);
    expect(agent.take('freeze')).toMatchObject({ from: 'la', term: 2 });
    expect(agent.has('succeed')).toBe(false);
  });

  it('is found also when a stale term is the answer', () => {
    const agent = claiming();
    const view = { ...agent.view([{}, { dataCenter: 'la', ...lapsed, takenOver: 2 }]), term: 2, successions: [take] };
    agent.send({
      kind: 'succeeded',
      round: agent.take('succeed').round,
      result: { kind: 'refused', reason: 'stale-term', view },
    });
    expect(agent.take('freeze')).toMatchObject({ term: 2 });
  });

  it('does not take an old takeover for a new one', () => {
    const agent = ready(lapsed, { automaticFailover: false }).send({ kind: 'successions-read', terms: [2] });
    const past = { ...agent.view(), term: 2, successions: [take] };
    agent.watch(lapsed, [take]).wait(7100, past).send({ kind: 'failover-asked', id: 'a', from: 'la', forced: true });
    const view = { ...agent.view([{}, { dataCenter: 'la', ...lapsed }]), term: 2, successions: [take] };
    agent.send({
      kind: 'succeeded',
      round: agent.take('succeed').round,
      result: { kind: 'refused', reason: 'still-held', view },
    });
    expect(agent.has('freeze')).toBe(false);
    expect(answers(agent)).toEqual([{ kind: 'refused', reasons: [{ code: 'still-held', about: 'la' }] }]);
  });

  it('freezes again until it is known to be frozen', () => {
    const agent = succeed(claiming());
    const first = agent.take('freeze');
    agent.send({ kind: 'frozen', round: first.round, cut: null }).wait(250);
    const second = agent.take('freeze');
    // The answer to the first, repeated: of no interest any more.
    agent.send({ kind: 'frozen', round: first.round, cut });
    expect(agent.has('record')).toBe(false);
    agent.wait(10_000);
    const third = agent.take('freeze');
    agent.send({ kind: 'frozen', round: second.round, cut });
    expect(agent.has('record')).toBe(false);
    agent.send({ kind: 'frozen', round: third.round, cut }).send({ kind: 'frozen', round: third.round, cut });
    agent.take('record');
    expect(agent.has('record')).toBe(false);
  });

  it('records again until it is known to be recorded, with the same cut', () => {
    const agent = succeed(claiming());
    agent.send({ kind: 'frozen', round: agent.take('freeze').round, cut });
    const first = agent.take('record');
    agent.send({ kind: 'recorded', round: first.round, ok: false }).wait(250);
    const second = agent.take('record');
    expect(second.cuts).toEqual({ la: { generation: 1, takenOver: 2, ...cut } });
    agent.send({ kind: 'recorded', round: first.round, ok: true });
    expect(agent.state.takeover.phase).toBe('recording');
    agent.wait(10_000).send({ kind: 'recorded', round: agent.take('record').round, ok: true });
    expect(agent.state.takeover.phase).toBe('none');
  });

  it('is gone on with by an agent that starts anew', () => {
    const agent = new Driver(null, { peers: ['la'], automaticFailover: false }).lead();
    agent.watch({ ...lapsed, takenOver: 2 }, [take]).wait(500);
    agent.send({ kind: 'frozen', round: agent.take('freeze').round, cut }).wait(500);
    // Until the database was read nobody knows what is missing in it.
    expect(agent.has('record')).toBe(false);
    agent.send({ kind: 'successions-read', terms: [] }).tick(50);
    expect(agent.take('record')).toMatchObject({ successions: [take] });
  });

  it('is answered to everybody who asked for it, and to nobody else', () => {
    const agent = claiming();
    for (const id of ['a', 'b']) agent.send({ kind: 'failover-asked', id, from: 'la', forced: false });
    agent.send({ kind: 'failover-asked', id: 'c', from: 'fra', forced: true });
    expect(answers(agent)).toMatchObject([{ kind: 'refused', reasons: [{ code: 'busy' }] }]);
    succeed(agent).send({ kind: 'frozen', round: agent.take('freeze').round, cut });
    agent.send({ kind: 'failover-asked', id: 'd', from: 'la', forced: false });
    agent.send({ kind: 'recorded', round: agent.take('record').round, ok: true });
    expect(answers(agent).slice(1)).toEqual(Array.from({ length: 3 }, () => ({ kind: 'taken', term: 2 })));
  });

  it('is not begun by an agent that leaves, and one that was begun is finished first', () => {
    expect(ready().send({ kind: 'leave', successor: true }).has('succeed')).toBe(false);
    const agent = succeed(claiming()).send({ kind: 'leave', successor: false }).wait(300);
    expect(agent.has('left')).toBe(false);
    agent.send({ kind: 'frozen', round: agent.take('freeze').round, cut });
    agent.send({ kind: 'recorded', round: agent.take('record').round, ok: true });
    agent.written().send({ kind: 'released', round: agent.take('release').round });
    expect(agent.has('left')).toBe(true);
  });

  it('waits for a person where that is configured', () => {
    const agent = ready(lapsed, { automaticFailover: false }).wait(9000);
    expect(agent.has('succeed')).toBe(false);
    agent.send({ kind: 'failover-asked', id: 'a', from: 'la', forced: true });
    expect(agent.take('succeed').request).toMatchObject({ forced: true });
  });
});
