import type { LeaseRecord } from 'lanekeeper/model';
import { describe, expect, it } from 'vitest';
import { hasAllOfIt } from './rejoin-standing.ts';

const incarnation = { systemIdentifier: '7', timeline: 1, generation: 1 };
const positions = { log: '0/500', received: {}, applied: { la: '0/90' } };
const record: LeaseRecord = {
  dataCenter: 'ny',
  incarnation,
  positions,
  holder: 'ny-1',
  revision: 4,
  state: 'expired',
  ttlMs: 6000,
  inSync: ['la'],
  takenOver: 2,
};
const la: LeaseRecord = {
  ...record,
  dataCenter: 'la',
  positions: { log: '0/100', received: {}, applied: { ny: '0/520' }, homed: { ny: '0/520' } },
  state: 'held',
  takenOver: null,
};
const cut = '0/520';

/** A standby that was promoted, and its log where it left the one before. */
const promoted = (at: string, timeline = 2) => ({
  incarnation: { ...incarnation, timeline, ended: [{ timeline: 1, at }] },
  positions: { ...positions, log: '0/9000' },
});
const judge = (proof: Parameters<typeof hasAllOfIt>[0], known = record) => hasAllOfIt(proof, known, [known, la], cut);

describe('whether it is the database that was taken over', () => {
  it.each([
    ['it is the same, and went on', true, { incarnation, positions: { ...positions, log: '0/600' } }],
    ['it is behind its own record', false, { incarnation, positions: { ...positions, log: '0/4FF' } }],
    ['its successor has more of its log', false, { incarnation, positions: { ...positions, log: '0/510' } }],
    ['it is another one', false, { incarnation: { ...incarnation, systemIdentifier: '8' }, positions }],
    ['a standby of it was promoted that had everything', true, promoted('0/520')],
    ['one was that lacks what its successor has', false, promoted('0/51F')],
    ['one was that lacks what it had told the lease store', false, promoted('0/4FF')],
    [
      'one was, and nothing says where it left',
      false,
      { ...promoted('0/520'), incarnation: { ...incarnation, timeline: 2 } },
    ],
  ])('%s: %s', (_, whole, proof) => {
    expect(judge(proof)).toBe(whole);
  });

  it('is the primary before no more, once the standby is the one that is known', () => {
    const known = { ...record, incarnation: { ...incarnation, timeline: 2 } };
    expect(judge({ incarnation, positions: { ...positions, log: '0/900' } }, known)).toBe(false);
  });

  it('leaves what a promoted one lacks of others to the comparison of rows', () => {
    const lacking = { ...promoted('0/520'), positions: { ...positions, applied: { la: '0/80' } } };
    expect(judge(lacking)).toBe(true);
  });
});
