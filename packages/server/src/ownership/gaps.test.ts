/** What a data center knows of gaps in what arrived from another one, and what it must not do then. */
import type { LeaseRecord, Succession } from 'lanekeeper/model';
import { describe, expect, it } from 'vitest';
import { Driver, incarnation } from '../../../../test/support/ownership-driver.ts';
import { reason } from './reasons.ts';

const positions = { log: '0/1', received: {}, applied: {} };
const record = (change: Partial<LeaseRecord>): LeaseRecord => ({
  dataCenter: 'la',
  incarnation,
  positions,
  holder: 'la-1',
  revision: 5,
  state: 'expired',
  ttlMs: 6000,
  inSync: ['ny'],
  takenOver: null,
  ...change,
});

const take: Succession = { term: 2, kind: 'take', from: 'la', to: 'ny', undoes: null };

/** Ours holds; what the store says of `la` has been seen, and its whole length and the skew have passed since. */
function survivor(change: Partial<LeaseRecord> = {}): Driver {
  const driver = new Driver(null, { peers: ['la'] }).lead();
  driver.send({ kind: 'successions-read', terms: [] });
  look(driver, change);
  for (let ms = 0; ms < 8000; ms += 1000) {
    driver.tick(1000);
    if (driver.has('prove'))
      driver
        .prove()
        .grant(driver.view([{ revision: driver.revision + 1 }]))
        .written();
  }
  driver.tick(100);
  return driver;
}

function look(driver: Driver, change: Partial<LeaseRecord>, successions: readonly Succession[] = []): void {
  const view = { term: successions.at(-1)?.term ?? 1, leases: [record(change)], successions };
  let { round } = driver.take('watch-store');
  // Only the last question is open.
  while (driver.has('watch-store')) round = driver.take('watch-store').round;
  driver.send({ kind: 'watched', round, view });
}

describe('a takeover by one who may lack something', () => {
  it('is asked for when the lease has run out and we are in the sync set', () => {
    expect(survivor().take('succeed').request).toMatchObject({ kind: 'take', from: 'la', to: 'ny', forced: false });
  });

  it('is not asked for by one who knows that it lacks something, unless a person forces it', () => {
    const driver = survivor({ inSync: [] });
    expect(driver.has('succeed')).toBe(false);
    driver.send({ kind: 'gate', peer: 'la', reasons: [reason('table-not-ready', 'orders')] });
    look(driver.tick(300), { inSync: ['ny'] });
    for (let n = 0; n < 10; n++) driver.tick(100);
    expect(driver.has('succeed')).toBe(false);
    driver.send({ kind: 'failover-asked', id: 'one', from: 'la', forced: false });
    expect(driver.take('answer-failover').outcome).toEqual({
      kind: 'refused',
      reasons: [reason('table-not-ready', 'orders')],
    });
    driver.send({ kind: 'failover-asked', id: 'two', from: 'la', forced: true });
    expect(driver.take('succeed').request).toMatchObject({ forced: true });
  });

  it('is carried on by the next agent, and not begun anew by a reading that was overtaken', () => {
    const driver = new Driver(null, { peers: ['la'] }).lead();
    driver.send({ kind: 'successions-read', terms: [] });
    look(driver, { takenOver: 2 }, [take]);
    driver.tick(100);
    const { round, from } = driver.take('freeze');
    expect(from).toBe('la');
    driver.send({ kind: 'frozen', round, cut: { homed: '0/9', rest: '0/9' } });
    driver.send({ kind: 'recorded', round: driver.take('record').round, ok: true });
    driver.send({ kind: 'successions-read', terms: [] });
    for (let n = 0; n < 10; n++) driver.tick(100);
    expect(driver.has('freeze')).toBe(false);
  });
});

describe('a sync set with one who may lack something', () => {
  const link = { streaming: true, caughtUp: true, replyAgeMs: 0 };

  function joined(): Driver {
    const driver = new Driver(null, { peers: ['la'] }).lead();
    look(driver, { state: 'held' });
    driver.send({ kind: 'replication', links: { la: link } }).tick(100);
    const { round, members } = driver.take('set-sync');
    expect(members).toEqual(['la']);
    return driver.send({ kind: 'sync-set', round, ok: true });
  }

  it('does not take in, nor keep, whoever says that it lacks something', () => {
    const gap = { kind: 'gate', peer: 'la', reasons: [reason('peer-incomplete', 'la: a table')] } as const;
    const driver = new Driver(null, { peers: ['la'] }).lead();
    look(driver, { state: 'held' });
    driver
      .send(gap)
      .send({ kind: 'replication', links: { la: link } })
      .tick(100);
    expect(driver.has('set-sync')).toBe(false);

    const member = joined().send(gap);
    member.send({ kind: 'replication', links: { la: link } }).tick(100);
    expect(member.take('set-sync')).toMatchObject({ members: [], grows: false });
  });
});

it('a sync set that somebody else changed in the database is claimed no more, and put right', () => {
  const link = { streaming: true, caughtUp: true, replyAgeMs: 0 };
  const driver = new Driver(null, { peers: ['la'] }).lead();
  look(driver, { state: 'held' });
  driver.send({ kind: 'replication', links: { la: link } }).tick(100);
  driver.send({ kind: 'sync-set', round: driver.take('set-sync').round, ok: true }).tick(300);
  expect(driver.prove().take('renew').claim.inSync).toEqual(['la']);
  driver.send({ kind: 'replication', links: { la: link }, waitsFor: ['la'] });
  expect(driver.state.sync.waits).toEqual(['la']);
  driver.send({ kind: 'replication', links: { la: link }, waitsFor: [] });
  expect(driver.state.sync.waits).toEqual([]);
  driver.send({ kind: 'replication', links: { la: link } }).tick(600);
  expect(driver.take('set-sync')).toMatchObject({ members: ['la'], grows: true });
});
