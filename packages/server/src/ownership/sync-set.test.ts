import type { LeaseRecord } from 'lanekeeper/model';
import { describe, expect, it } from 'vitest';
import { Driver } from '../../../../test/support/ownership-driver.ts';
import type { Link } from './index.ts';

const peer: Partial<LeaseRecord> = { revision: 7, state: 'held' };
const well: Link = { streaming: true, caughtUp: true, replyAgeMs: 0 };

/** The peers that it recorded last in the store, which answers what it is told. */
class Store extends Driver {
  recorded: readonly string[] = [];

  /** Ticks in small steps; the peer is heard of in each when `link` is given, and renewals are granted. */
  hear(ms: number, link: Link | null = well): this {
    for (const untilMs = this.nowMs + ms; this.nowMs < untilMs; ) {
      this.nowMs += 50;
      if (link !== null) this.send({ kind: 'replication', links: { la: link } });
      this.tick();
      this.answer();
    }
    return this;
  }

  answer(): void {
    if (this.has('prove')) this.prove();
    const asked = this.actions.find((action) => action.kind === 'renew');
    if (asked === undefined) return;
    this.recorded = asked.claim.inSync;
    this.grant(this.view([{ inSync: this.recorded, revision: this.revision + 1 }])).written();
  }

  set(ok = true): this {
    return this.send({ kind: 'sync-set', round: this.take('set-sync').round, ok });
  }
}

function ready(): Store {
  const agent = new Store(null, { peers: ['la'], automaticFailover: false }).lead();
  return agent
    .send({ kind: 'successions-read', terms: [] })
    .watch(peer)
    .send({ kind: 'gate', peer: 'la', reasons: [] });
}

function inSync(): Store {
  const agent = ready().hear(50);
  expect(agent.actions.find(({ kind }) => kind === 'set-sync')).toMatchObject({ members: ['la'], grows: true });
  return agent.set().hear(500);
}

describe('a peer whose database is gone', () => {
  it.each<[string, Partial<LeaseRecord>]>([
    ['has yielded its lease', { revision: 8, state: 'yielded' }],
    ['was taken over', { revision: 7, state: 'expired', takenOver: 2 }],
  ])('%s: it is not waited for any longer, although it was heard of lately', (_, record) => {
    const agent = inSync();
    expect(agent.recorded).toEqual(['la']);
    agent.hear(500).watch(record).hear(400);
    expect(agent.recorded).toEqual([]);
    expect(agent.take('set-sync')).toMatchObject({ members: [], grows: false });
  });
});

describe('growing', () => {
  it('lets the database wait first, and then the store know', () => {
    const agent = ready().hear(400);
    expect(agent.recorded).toEqual([]);
    expect(agent.state.sync.waits).toEqual([]);
    agent.set().hear(300);
    expect(agent.recorded).toEqual(['la']);
  });

  it.each([
    ['who does not stream', { ...well, streaming: false }],
    ['who is behind', { ...well, caughtUp: false }],
    ['who was not heard of lately', { ...well, replyAgeMs: 2001 }],
  ])('not with one %s', (_, link) => {
    const agent = ready().hear(1900, link);
    expect(agent.has('set-sync')).toBe(false);
  });

  it.each([
    ['who is taken over', { takenOver: 2 }, 'schema-differs', false],
    ['from whom what arrives may be incomplete', {}, 'schema-differs', false],
    ['to whom nothing can move just now', {}, 'lagging', true],
  ] as const)('looks at one %s', (_, record, code, joins) => {
    const agent = ready()
      .watch({ ...peer, revision: 8, ...record })
      .send({ kind: 'gate', peer: 'la', reasons: [{ code }] });
    expect(agent.hear(500).has('set-sync')).toBe(joins);
  });

  it('that failed is tried again, and claims nobody meanwhile', () => {
    const agent = ready().hear(100).set(false).hear(450);
    expect(agent.has('set-sync')).toBe(false);
    agent.hear(100);
    expect(agent.recorded).toEqual([]);
    expect(agent.has('set-sync')).toBe(true);
  });

  it('whose answer never comes is given up, and what it left is settled', () => {
    const agent = ready().hear(100);
    const { round } = agent.take('set-sync');
    agent.hear(15_000, null);
    expect(agent.has('set-sync')).toBe(false);
    agent.hear(600, null);
    expect(agent.take('set-sync')).toMatchObject({ members: [], grows: false });
    agent.send({ kind: 'sync-set', round, ok: true });
    expect(agent.state.sync.waits).toEqual([]);
  });
});

describe('shrinking', () => {
  it('lets the store forget first, and then the database stop waiting', () => {
    const agent = inSync();
    for (let ms = 0; ms < 2000; ms += 50) {
      agent.hear(50, null);
      if (agent.has('set-sync')) break;
      expect(agent.recorded).toEqual(['la']);
    }
    agent.hear(100, null);
    expect(agent.recorded).toEqual([]);
    expect(agent.take('set-sync')).toMatchObject({ members: [], grows: false });
  });

  it('does not happen while the store cannot be told', () => {
    const agent = inSync();
    for (let ms = 0; ms < 4000; ms += 100) {
      agent.tick(100);
      if (agent.has('prove')) agent.prove();
      if (agent.has('renew')) agent.send({ kind: 'store-answer', round: agent.take('renew').round, result: null });
    }
    expect(agent.has('set-sync')).toBe(false);
    expect(agent.state.sync.waits).toEqual(['la']);
  });

  it('waits for a claim that is still on its way', () => {
    const agent = inSync();
    agent.nowMs += 2001;
    agent.tick().answer();
    expect(agent.recorded).toEqual([]);
    // Heard of again before the database was told: the next claim names it, and gets no answer.
    agent
      .send({ kind: 'replication', links: { la: well } })
      .tick(300)
      .prove();
    expect(agent.take('renew').claim.inSync).toEqual(['la']);
    for (let ms = 0; ms < 2500; ms += 100) agent.tick(100);
    expect(agent.has('set-sync')).toBe(false);
    agent.hear(300, null);
    expect(agent.recorded).toEqual([]);
    expect(agent.take('set-sync')).toMatchObject({ members: [], grows: false });
  });

  it('that may have happened claims nobody until it was set anew', () => {
    const agent = inSync().hear(2200, null);
    agent.set(false);
    expect(agent.state.sync.waits).toEqual([]);
    // Heard of again: the database is told to wait before the store hears of it.
    agent.hear(450);
    expect(agent.recorded).toEqual([]);
    agent.hear(100);
    expect(agent.take('set-sync')).toMatchObject({ members: ['la'], grows: true });
    expect(agent.hear(300).recorded).toEqual([]);
  });

  it('that is under way claims nobody whom it lets go of', () => {
    const agent = inSync().hear(2200, null);
    expect(agent.has('set-sync')).toBe(true);
    agent.hear(2500);
    expect(agent.recorded).toEqual([]);
  });
});

describe('what another agent left', () => {
  it('is settled also when nobody can join', () => {
    const agent = ready().hear(1800, null);
    expect(agent.has('set-sync')).toBe(false);
    agent.hear(300, null);
    expect(agent.take('set-sync')).toMatchObject({ members: [], grows: false });
    agent.send({ kind: 'sync-set', round: agent.state.sync.setting?.round ?? 0, ok: true }).hear(5000, null);
    expect(agent.has('set-sync')).toBe(false);
  });

  it('an acquisition claims nobody: it counts however late it arrives', () => {
    const agent = inSync().hear(1400);
    agent.tick(600);
    while (!agent.has('renew')) {
      agent.tick(50);
      if (agent.has('prove')) agent.prove();
    }
    const view = agent.view([{ holder: 'ny-1', inSync: ['la'], revision: 9 }]);
    const result = { kind: 'refused', reason: 'stale-revision', view } as const;
    agent.send({ kind: 'store-answer', round: agent.take('renew').round, result });
    expect(agent.take('acquire').claim.inSync).toEqual([]);
  });

  it('is not touched without a lease, nor by an agent that leaves', () => {
    const without = new Store(null, { peers: ['la'] }).watch(peer).send({ kind: 'gate', peer: 'la', reasons: [] });
    without.actions = [];
    for (let ms = 0; ms < 4000; ms += 100) {
      without.nowMs += 100;
      without.send({ kind: 'replication', links: { la: well } }).tick();
    }
    expect(without.has('set-sync')).toBe(false);
    const leaving = ready();
    leaving.send({
      kind: 'give-asked',
      id: 'x',
      request: { account: 'a', to: 'la', ifIdle: false, expected: null, withinMs: 5000 },
    });
    leaving.send({ kind: 'leave', successor: true });
    expect(leaving.hear(500).has('set-sync')).toBe(false);
  });
});
