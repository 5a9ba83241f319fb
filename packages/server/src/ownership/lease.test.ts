import type { LeaseResult } from 'lanekeeper/model';
import { describe, expect, it } from 'vitest';
import { Driver, incarnation, wallStartMs } from '../../../../test/support/ownership-driver.ts';
import { leaseLeftMs, reason } from './index.ts';

describe('lease', () => {
  it('is acquired with proof, and counts from when the request was sent', () => {
    const agent = new Driver().tick();
    agent.nowMs = 10;
    agent.prove();
    agent.nowMs = 50;
    agent.read(agent.view());
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
    agent.prove();
    agent.send({ kind: 'store-view', round: agent.take('read-store').round, view: agent.view() });
    agent.prove({ incarnation, positions: agent.positions, clock, holdsLease: true });
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
    agent.read(agent.view([{}]));
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
    ['a standby that was promoted since', [{ incarnation: { ...incarnation, timeline: 2 } }], 'demoted'],
    [
      'a standby that was promoted since, and taken over',
      [{ incarnation: { ...incarnation, timeline: 2 }, takenOver: 1 }],
      'demoted',
    ],
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
    agent.read(agent.view(records));
    expect(agent.has('acquire')).toBe(false);
    expect(agent.reasons()).toEqual([code]);
  });

  it('is not lost for what a peer has received since the proof', () => {
    const agent = new Driver().lead().tick(2000).prove();
    const peer = { dataCenter: 'la', positions: { log: '0/1', received: { ny: '0/180' }, applied: {} } };
    agent.grant(agent.view([peer])).written();
    expect(leaseLeftMs(agent.state, agent.nowMs)).toBe(6000);
    agent.positions = { ...agent.positions, log: '0/200' };
    agent
      .tick(2000)
      .prove()
      .grant(agent.view([peer]))
      .written();
    expect(leaseLeftMs(agent.state, agent.nowMs)).toBe(6000);
  });

  it('is given up when the next proof is still behind what a peer has received', () => {
    const agent = new Driver().lead().tick(2000).prove();
    const peer = { dataCenter: 'la', positions: { log: '0/1', received: { ny: '0/180' }, applied: {} } };
    agent.grant(agent.view([peer])).written();
    agent.tick(2000).prove();
    expect(agent.reasons()).toEqual(['behind-peer']);
    expect(agent.take('write-lease').lease).toBeNull();
  });

  it('goes over to the next agent without a gap, by what the last one left in the database', () => {
    const agent = new Driver({ holder: 'ny-0', revision: 41 }).tick().prove();
    const view = agent.view([{ holder: 'ny-0', revision: 41 }]);
    agent.read(view);
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

describe('after a promotion', () => {
  const promoted = { ...incarnation, timeline: 2, ended: [{ timeline: 1, at: '0/180' }] };
  const readers = { la: 'reads' } as const;
  const own = { holder: 'ny-0', revision: 7, positions: { log: '0/100', received: {}, applied: { la: '0/50' } } };
  const la = { dataCenter: 'la', holder: 'la-1' };
  /** A proof, the view, and a proof that is held against it. */
  function ask(agent: Driver, records: Parameters<Driver['view']>[0], changes: object = {}): Driver {
    const proof = () => ({
      ...agent.proof(wallStartMs + agent.nowMs, false),
      incarnation: promoted,
      readers,
      ...changes,
    });
    agent.tick();
    if (agent.has('write-lease')) agent.written().tick();
    agent.prove(proof());
    if (agent.has('write-lease')) agent.written().tick().prove(proof());
    agent.send({ kind: 'store-view', round: agent.take('read-store').round, view: agent.view(records) });
    return agent.has('prove') ? agent.prove(proof()) : agent;
  }

  it('a lease is asked for once the one of the primary before has run out by our own clock', () => {
    const agent = ask(new Driver(), [{ ...own, state: 'expired' }, la]);
    expect(agent.reasons()).toEqual(['promotion-waits']);
    ask(agent.tick(6999), [{ ...own, state: 'expired' }, la]);
    expect(agent.reasons()).toEqual(['promotion-waits']);
    ask(agent.tick(1000), [{ ...own, state: 'expired' }, la]);
    expect(agent.take('acquire')).toMatchObject({ claim: { incarnation: promoted }, predecessor: null });
  });

  it('it is not, however long that takes, while the primary before renews it', () => {
    const agent = ask(new Driver(), [{ ...own, state: 'held' }, la]);
    for (let revision = 8; revision < 12; revision++) {
      ask(agent.tick(6000), [{ ...own, revision, state: 'held' }, la]);
      expect(agent.reasons()).toEqual(['promotion-waits']);
    }
  });

  it('it is asked for at once when that was given up', () => {
    const agent = ask(new Driver(), [{ ...own, state: 'yielded' }, la]);
    expect(agent.has('acquire')).toBe(true);
  });

  it('what the agent left behind in the database does not help: the primary before has it as well', () => {
    const agent = ask(new Driver({ holder: 'ny-0', revision: 7 }), [{ ...own, state: 'held' }, la]);
    expect(agent.has('acquire')).toBe(false);
    expect(agent.reasons()).toEqual(['promotion-waits']);
  });

  const gone = { ...own, state: 'yielded' } as const;
  const lagging = { ...promoted, ended: [{ timeline: 1, at: '0/FF' }] };
  it.each([
    ['its own log is behind its record', [gone, la], { incarnation: lagging }, 'promotion-lacks'],
    [
      'a peer has more of it',
      [gone, { ...la, positions: { log: '0/1', received: {}, applied: { ny: '0/181' } } }],
      {},
      'promotion-lacks',
    ],
    [
      'it had more of a peer',
      [{ ...gone, positions: { ...own.positions, applied: { la: '0/51' } } }, la],
      {},
      'promotion-lacks',
    ],
    [
      'nothing says where it comes from',
      [gone, la],
      { incarnation: { ...incarnation, timeline: 2 } },
      'promotion-unproved',
    ],
    ['a peer has no slot', [gone, la], { readers: { la: 'no-slot' } }, 'promotion-without-slots'],
    ['a peer that lives reads elsewhere', [gone, la], { readers: { la: 'away' } }, 'promotion-unread'],
    ['it was taken over meanwhile', [{ ...gone, takenOver: 2 }, la], { incarnation: lagging }, 'taken-over'],
  ])('it is not asked for when %s', (_, records, changes, code) => {
    const agent = ask(new Driver(), [...records], changes);
    expect(agent.has('acquire')).toBe(false);
    expect(agent.reasons()).toEqual([code]);
  });

  it('nobody is waited for whose own lease has run out', () => {
    const agent = ask(
      new Driver(),
      [
        { ...own, state: 'yielded' },
        { ...la, state: 'expired' },
      ],
      { readers: { la: 'away' } },
    );
    expect(agent.has('acquire')).toBe(true);
  });
});
