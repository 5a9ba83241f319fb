import { expect, it } from 'vitest';
import type { LeaseRecord, Positions } from './lease-store.ts';
import { judgeStanding } from './promotion.ts';

const incarnation = { systemIdentifier: '7', timeline: 1, generation: 1 };
const record: LeaseRecord = {
  dataCenter: 'ny',
  incarnation,
  positions: { log: '0/100', received: { la: '0/60' }, applied: { la: '0/50' } },
  holder: 'ny-1',
  revision: 1,
  state: 'expired',
  ttlMs: 6000,
  inSync: ['la'],
  takenOver: null,
};
const peer = (positions: Partial<Positions>): LeaseRecord => ({
  ...record,
  dataCenter: 'la',
  positions: { log: '0/500', received: {}, applied: {}, ...positions },
});
const promoted = { ...incarnation, timeline: 2, ended: [{ timeline: 1, at: '0/200' }] };
const judge = (changes: object = {}, positions: Partial<Positions> = {}, others: readonly LeaseRecord[] = []) =>
  judgeStanding(
    {
      dataCenter: 'ny',
      incarnation: { ...promoted, ...changes },
      positions: { log: '0/300', received: {}, applied: { la: '0/50' }, ...positions },
    },
    record,
    [record, ...others],
  );

it.each([
  ['the same', incarnation, 'same'],
  ['an earlier timeline', { ...incarnation, timeline: 0 }, 'demoted'],
  ['another system', { systemIdentifier: '8' }, 'other'],
  ['another generation', { generation: 2 }, 'other'],
  ['a history that could not be read', { ended: undefined }, 'unproved'],
  ['one that left an even earlier timeline', { ended: [{ timeline: 0, at: '0/200' }] }, 'unproved'],
  ['a promoted standby', {}, 'promoted'],
  ['one promoted twice', { timeline: 3, ended: [...promoted.ended, { timeline: 2, at: '0/250' }] }, 'promoted'],
])('tells %s', (_, changes, kind) => {
  expect(judge(changes).kind).toBe(kind);
});

it('counts only what came before the timeline ended, however far the log is by now', () => {
  expect(judge()).toEqual({ kind: 'promoted', missing: [] });
  expect(judge({ ended: [{ timeline: 1, at: '0/FF' }] }, { log: '1/0' })).toEqual({
    kind: 'promoted',
    missing: [{ of: 'log', peer: null, known: '0/100', here: '0/FF' }],
  });
});

it('misses what a peer has applied of the homed stream, and not what it has received since', () => {
  const ahead = { of: 'peer', peer: 'la', known: '0/201', here: '0/200' };
  expect(judge({}, {}, [peer({ applied: { ny: '0/201' } })])).toMatchObject({ missing: [ahead] });
  expect(judge({}, {}, [peer({ homed: { ny: '0/201' } })])).toMatchObject({ missing: [ahead] });
  const well = { received: { ny: '0/280' }, applied: { ny: '0/280' }, homed: { ny: '0/200' } };
  expect(judge({}, {}, [peer(well)])).toMatchObject({ missing: [] });
  // Where progress may not be read, what was received is all that is known.
  expect(judge({}, {}, [peer({ received: { ny: '0/201' } })])).toMatchObject({ missing: [ahead] });
});

it('misses what it had applied of a peer, also when nothing of it is known any more', () => {
  expect(judge({}, { applied: { la: '0/4F' } })).toMatchObject({
    missing: [{ of: 'applied', peer: 'la', known: '0/50', here: '0/4F' }],
  });
  expect(judge({}, { applied: {} })).toMatchObject({ missing: [{ of: 'applied', peer: 'la', here: null }] });
});
