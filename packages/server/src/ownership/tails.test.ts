import type { LeaseRecord, Succession, Tail } from 'lanekeeper/model';
import { describe, expect, it } from 'vitest';
import { Driver } from '../../../../test/support/ownership-driver.ts';
import { type ArrivedDeed, type Reason, reasonsNotToTake } from './index.ts';

const take: Succession = { term: 2, kind: 'take', from: 'la', to: 'ny', undoes: null };
const lapsed: Partial<LeaseRecord> = { revision: 7, state: 'expired', inSync: ['ny', 'fra'] };
const dead: Partial<LeaseRecord> = { ...lapsed, takenOver: 2 };
const cut = { homed: '0/500', rest: '0/400' };

function reported(tail: Partial<Tail> = {}): Partial<LeaseRecord> {
  const la = { term: 2, ...cut, ...tail };
  return { positions: { log: '0/1', received: {}, applied: {}, frozen: { la } } };
}

/** ny, which holds its lease, and sees la and fra as they are given. */
function among(
  la: Partial<LeaseRecord>,
  fra: Partial<LeaseRecord> = {},
  successions: readonly Succession[] = [],
): Driver {
  const agent = new Driver(null, { peers: ['la', 'fra'] }).lead();
  agent.send({ kind: 'gate', peer: 'fra', reasons: [] }).send({ kind: 'successions-read', terms: [] });
  return look(agent, la, fra, successions);
}

function look(
  agent: Driver,
  la: Partial<LeaseRecord>,
  fra: Partial<LeaseRecord>,
  successions: readonly Succession[],
): Driver {
  while (agent.state.view.look.step !== 'reading') agent.tick(50);
  const { leases } = agent.view([
    {},
    { dataCenter: 'la', holder: 'la-1', ...la },
    { dataCenter: 'fra', holder: 'fra-1', ...fra },
  ]);
  const view = { term: successions.at(-1)?.term ?? 1, leases, successions };
  return agent.send({ kind: 'watched', round: agent.state.view.look.round, view });
}

function frozen(agent: Driver, tail = cut): Driver {
  return agent.send({ kind: 'frozen', round: agent.take('freeze').round, cut: tail });
}

describe('a takeover among three', () => {
  it('is recorded when the third has said how far it has come', () => {
    const agent = frozen(among(dead, {}, [take]));
    expect(agent.tick(50).has('record')).toBe(false);
    look(agent, dead, { ...reported(), revision: 2 }, [take]);
    expect(agent.take('record')).toMatchObject({ successions: [take], cuts: { la: { generation: 1, ...cut } } });
  });

  it('does not believe a report of an earlier takeover', () => {
    const agent = frozen(among(dead, {}, [take]));
    look(agent, dead, { ...reported({ term: 1 }), revision: 2 }, [take]);
    expect(agent.tick(50).has('record')).toBe(false);
  });

  it('fetches what the third has beyond it, before anything is recorded', () => {
    const agent = frozen(among(dead, reported({ homed: '0/600' }), [take])).tick(50);
    expect(agent.has('record')).toBe(false);
    const mend = agent.take('mend');
    expect(mend).toMatchObject({ of: 'la', term: 2, from: 'fra', upTo: { homed: '0/600', rest: '0/400' } });
    agent.send({ kind: 'mended', round: mend.round, result: { kind: 'not-yet', problem: 'fra does not answer' } });
    expect(agent.state.tails.get('la')?.problem).toBe('fra does not answer');
    // Some of it may be here all the same.
    expect(agent.tick(249).has('freeze')).toBe(false);
    frozen(agent.tick(1), { homed: '0/550', rest: '0/400' });
    const again = agent.take('mend');
    const reached = { homed: '0/600', rest: '0/400' };
    agent.send({ kind: 'mended', round: again.round, result: { kind: 'reached', cut: reached } });
    expect(agent.take('record').cuts).toEqual({ la: { generation: 1, takenOver: 2, ...reached } });
  });

  it('asks for no more than was said, also where it has more of one stream and less of the other', () => {
    const agent = frozen(among(dead, reported({ homed: '0/600', rest: '0/100' }), [take])).tick(50);
    expect(agent.take('mend').upTo).toEqual({ homed: '0/600', rest: '0/100' });
  });

  it('does not record while something is being fetched, not even from one that was taken over meanwhile', () => {
    const second: Succession = { term: 3, kind: 'take', from: 'fra', to: 'ny', undoes: null };
    const agent = frozen(among(dead, reported({ homed: '0/600' }), [take])).tick(50);
    const mend = agent.take('mend');
    look(agent, dead, { takenOver: 3, state: 'expired', revision: 2 }, [take, second]);
    frozen(agent, { homed: '0/70', rest: '0/80' }).tick(50);
    expect(agent.has('record')).toBe(false);
    agent.send({ kind: 'mended', round: mend.round, result: { kind: 'not-yet', problem: 'fra does not answer' } });
    agent.tick(50);
    expect(agent.has('record')).toBe(false);
    const tail = { homed: '0/550', rest: '0/400' };
    frozen(agent.tick(250), tail);
    expect(agent.take('record').cuts).toMatchObject({ la: tail });
  });

  it('goes on without a third that was taken over meanwhile, and cuts its log off too', () => {
    const second: Succession = { term: 3, kind: 'take', from: 'fra', to: 'ny', undoes: null };
    const agent = frozen(among(dead, {}, [take]));
    look(agent, dead, { takenOver: 3, state: 'expired', revision: 2 }, [take, second]);
    expect(agent.tick(50).has('record')).toBe(false);
    frozen(agent, { homed: '0/70', rest: '0/80' });
    const first = agent.take('record');
    expect(first).toMatchObject({ successions: [take], cuts: { la: cut, fra: { homed: '0/70' } } });
    agent.send({ kind: 'recorded', round: first.round, ok: true }).tick(50);
    expect(agent.take('record')).toMatchObject({ successions: [second], cuts: { la: cut } });
  });

  it('waits for what a third has switched away, which arrives by itself', () => {
    const switched: Succession = { term: 2, kind: 'switch', from: 'fra', to: 'la', undoes: null };
    const later = { ...take, term: 3 };
    const history = [switched, later];
    const agent = frozen(among({ ...dead, takenOver: 3 }, reported({ term: 3 }), history));
    expect(agent.tick(50).has('record')).toBe(false);
    agent.send({ kind: 'successions-read', terms: [2] }).tick(50);
    expect(agent.take('record')).toMatchObject({ successions: [later] });
  });
});

describe('a third', () => {
  const theirs = { ...take, to: 'fra' };

  it('ends its streams, says so at once, and fetches what the successor has', () => {
    const agent = frozen(among(dead, {}, [theirs]));
    agent.nowMs += 250;
    expect(agent.tick(0).has('prove')).toBe(true);
    look(agent, dead, { ...reported({ rest: '0/900' }), revision: 2 }, [theirs]);
    expect(agent.take('mend')).toMatchObject({ of: 'la', from: 'fra', upTo: { homed: '0/500', rest: '0/900' } });
    expect(agent.has('record')).toBe(false);
  });

  it('fetches nothing from one that was taken over itself', () => {
    const agent = frozen(among(dead, { ...reported({ homed: '0/900' }), takenOver: 3 }, [theirs]));
    expect(agent.tick(50).has('mend')).toBe(false);
  });

  it('forgets a tail when the other one is back', () => {
    const agent = frozen(among(dead, {}, [theirs]));
    look(agent, { ...lapsed, revision: 9, takenOver: null }, {}, [theirs]).tick(50);
    expect(agent.state.tails.size).toBe(0);
  });
});

describe('who takes over', () => {
  const ended = { ...lapsed, state: 'expired' } as const;
  const had = (homed: string, rest = '0/400'): Partial<LeaseRecord> => ({
    positions: { log: '0/1', received: {}, applied: { la: homed }, homed: { la: homed }, rest: { la: rest } },
  });
  const unheard = [{ code: 'peer-not-observed' }] as const;
  const unread = [{ code: 'not-streaming' }] as const;

  /** la's lease has run out, and fra's is renewed. */
  function lapse(fra: Partial<LeaseRecord>, reasons: readonly Reason[], la: Partial<LeaseRecord> = ended): Driver {
    const agent = among(la, { ...fra, revision: 2 });
    agent.positions = { ...agent.positions, applied: { la: '0/500' } };
    for (let revision = 3; revision < 8; revision++) {
      agent.send({ kind: 'gate', peer: 'fra', reasons }).wait(1500);
      const others = [{ dataCenter: 'la', ...la } as const, { dataCenter: 'fra', ...fra, revision }];
      const { leases } = agent.view([had('0/500'), ...others]);
      while (agent.state.view.look.step !== 'reading') agent.tick(50);
      agent.send({ kind: 'watched', round: agent.state.view.look.round, view: { term: 1, leases, successions: [] } });
    }
    return agent;
  }
  const because = (agent: Driver) => reasonsNotToTake(agent.state, 'la', false, agent.nowMs);

  it.each([
    ['more of the homed stream', had('0/600', '0/100')],
    ['as much of it, and more of the other one', had('0/500', '0/401')],
  ])('is another one that cannot be reached and has %s', (_, fra) => {
    const agent = lapse(fra, unheard);
    expect(because(agent)).toEqual([{ code: 'another-has-more', about: 'fra' }]);
    expect(agent.has('succeed')).toBe(false);
    expect(reasonsNotToTake(agent.state, 'la', true, agent.nowMs)).toEqual([]);
    // What it had, it may still say: once it can be asked, it is.
    agent.send({ kind: 'gate', peer: 'fra', reasons: unread }).tick(50);
    expect(agent.has('succeed')).toBe(true);
  });

  it.each([
    ['that can be asked for it', had('0/600'), unread, ended],
    ['that has as much', had('0/500'), unheard, ended],
    ['that has less, though more of the other stream', had('0/499', '0/900'), unheard, ended],
    ['that may not take over', had('0/600'), unheard, { ...ended, inSync: ['ny'] }],
    ['that was taken over itself', { ...had('0/600'), takenOver: 2 }, unheard, ended],
    ['that gave its lease up', { ...had('0/600'), state: 'yielded' }, unheard, ended],
  ] as const)('is not another one %s', (_, fra, reasons, la) => {
    expect(lapse(fra, reasons, la).has('succeed')).toBe(true);
  });

  it('is not one whose lease runs out as well', () => {
    const agent = lapse(had('0/600'), unheard);
    agent.wait(7200);
    expect(agent.has('succeed')).toBe(false);
    look(agent, ended, { ...had('0/600'), revision: 7, state: 'expired' }, []).tick(50);
    expect(agent.take('succeed').request).toMatchObject({ from: 'la', to: 'ny' });
  });
});

describe('a second failure', () => {
  const theirs = { ...take, to: 'fra' };
  const gone = { ...lapsed, inSync: ['ny'], revision: 3 };
  const lapse = (agent: Driver) => agent.wait(7200, { ...agent.view(), term: 2, successions: [theirs] });
  const because = (agent: Driver) => reasonsNotToTake(agent.state, 'fra', false, agent.nowMs).map(({ code }) => code);

  it('waits for a person where the successor had more of the first one, and that had not waited for us', () => {
    const la = { ...dead, inSync: ['fra'] };
    const agent = lapse(frozen(among(la, { ...gone, ...reported({ homed: '0/900' }) }, [theirs])));
    expect(because(agent)).toEqual(['not-in-sync']);
  });

  it.each([
    ['it is here as well', ['fra'], cut],
    ['it had waited for us', ['fra', 'ny'], { homed: '0/900', rest: '0/400' }],
  ])('is taken over where %s', (_, inSync, had) => {
    const agent = lapse(frozen(among({ ...dead, inSync }, { ...gone, ...reported(had) }, [theirs])));
    expect(because(agent)).toEqual([]);
  });
});

describe('a move among three', () => {
  const deed: ArrivedDeed = { epoch: { term: 1, counter: 3 }, giver: 'la', returned: false };
  const here = () => {
    const agent = among({}, {});
    return agent.send({ kind: 'deed-arrived', account: 'a1', deed });
  };
  const answerComparison = (agent: ReturnType<typeof here>, same: boolean) =>
    agent.send({ kind: 'compared', account: 'a1', round: agent.take('compare').round, same });

  it('counts when the third has the deed', () => {
    const agent = here();
    answerComparison(agent, true);
    expect(agent.has('accept')).toBe(false);
    agent.send({ kind: 'deed-seen', account: 'a1', peer: 'fra', epoch: { term: 1, counter: 2 } });
    expect(agent.has('accept')).toBe(false);
    agent.send({ kind: 'deed-seen', account: 'a1', peer: 'fra', epoch: deed.epoch });
    expect(agent.take('accept')).toMatchObject({ account: 'a1', epoch: deed.epoch, compared: true });
  });

  it('does not compare twice: what was begun while it waited is waited for', () => {
    const agent = here().send({ kind: 'deed-seen', account: 'a1', peer: 'fra', epoch: deed.epoch });
    expect(agent.has('accept')).toBe(false);
    answerComparison(agent, true);
    expect(agent.take('accept')).toMatchObject({ compared: true });
    expect(agent.has('compare')).toBe(false);
  });

  it('leaves the last word about rows that differ to the acceptance', () => {
    const agent = here();
    answerComparison(agent, false);
    agent.send({ kind: 'deed-seen', account: 'a1', peer: 'fra', epoch: deed.epoch });
    expect(agent.take('accept')).toMatchObject({ compared: false });
  });

  it('forgets a comparison with another deed that has arrived since', () => {
    const agent = here();
    const { round } = agent.take('compare');
    const later = { ...deed, epoch: { term: 1, counter: 5 } };
    agent.send({ kind: 'deed-arrived', account: 'a1', deed: later });
    agent.send({ kind: 'compared', account: 'a1', round, same: true });
    answerComparison(agent, false);
    agent.send({ kind: 'deed-seen', account: 'a1', peer: 'fra', epoch: later.epoch });
    expect(agent.take('accept')).toMatchObject({ epoch: later.epoch, compared: false });
  });

  it('counts at once when the third was faster', () => {
    const agent = among({}, {}).send({ kind: 'deed-seen', account: 'a1', peer: 'fra', epoch: deed.epoch });
    expect(agent.send({ kind: 'deed-arrived', account: 'a1', deed }).take('accept')).toMatchObject({ compared: false });
    expect(agent.state.seen).toEqual([]);
  });

  it('asks the third, again and again, and gives the account back when it never has it', () => {
    const agent = here().tick(250);
    expect(agent.take('ask-seen')).toMatchObject({ account: 'a1', peers: ['fra'] });
    expect(agent.tick(400).has('ask-seen')).toBe(false);
    expect(agent.tick(100).has('ask-seen')).toBe(true);
    expect(agent.wait(2500).take('decline')).toMatchObject({ reasons: [{ code: 'third-lacks-deed', about: 'fra' }] });
  });

  it.each([
    ['holds no lease', { state: 'expired' }],
    ['was taken over', { takenOver: 2 }],
  ] as const)('does not wait for one that %s', (_, fra) => {
    const agent = among({}, fra).send({ kind: 'deed-arrived', account: 'a1', deed });
    expect(agent.has('accept')).toBe(true);
  });

  it('is not begun while the stream to the third does not run', () => {
    const agent = among({}, {}).send({ kind: 'gate', peer: 'fra', reasons: [{ code: 'not-streaming' }] });
    const request = { account: 'a1', to: 'la', ifIdle: false, expected: null, withinMs: 1000 };
    agent.send({ kind: 'give-asked', id: 'x', request });
    expect(agent.take('answer').outcome).toMatchObject({ kind: 'refused', reasons: [{ code: 'not-streaming' }] });
  });
});
