import type { Succession } from 'lanekeeper/model';
import { describe, expect, it } from 'vitest';
import { Driver } from '../../../../test/support/ownership-driver.ts';
import { lapsesInMs, missing } from './index.ts';

const first: Succession = { term: 2, kind: 'take', from: 'la', to: 'ny', undoes: null };
const second: Succession = { term: 3, kind: 'return', from: 'ny', to: 'la', undoes: 2 };
const driver = () => new Driver(null, { peers: ['la'], automaticFailover: false });

describe('looking at the store', () => {
  it('is done again some time after each answer, and again when none comes', () => {
    const agent = driver().tick();
    const look = agent.take('watch-store');
    expect(agent.tick(1000).has('watch-store')).toBe(false);
    const again = agent.tick(500).take('watch-store');
    // The answer to the question that was given up.
    agent.send({ kind: 'watched', round: look.round, view: agent.view([{ dataCenter: 'la' }]) });
    expect(agent.state.view.peers.size).toBe(0);
    agent.send({ kind: 'watched', round: again.round, view: agent.view([{ dataCenter: 'la' }]) });
    expect(agent.state.view.peers.size).toBe(1);
    expect(agent.tick(299).has('watch-store')).toBe(false);
    expect(agent.tick(1).has('watch-store')).toBe(true);
  });

  it('that failed changes nothing', () => {
    const agent = driver().watch({ revision: 3 }).tick(300);
    agent.send({ kind: 'watched', round: agent.take('watch-store').round, view: null });
    expect(agent.state.view.peers.get('la')?.record.revision).toBe(3);
  });

  it('counts a revision from when it was first seen', () => {
    const agent = driver().watch({ revision: 3 });
    const sinceMs = agent.nowMs;
    agent.tick(300).watch({ revision: 3 });
    expect(agent.state.view.peers.get('la')?.sinceMs).toBe(sinceMs);
    agent.tick(300).watch({ revision: 4 });
    expect(agent.state.view.peers.get('la')?.sinceMs).toBe(agent.nowMs);
  });

  it('believes no older answer that overtook a newer one', () => {
    const agent = driver().watch({ revision: 4 }, [first], { revision: 9, inSync: ['la'] });
    agent.tick(300).watch({ revision: 3 }, [first], { revision: 8 });
    expect(agent.state.view.peers.get('la')?.record.revision).toBe(4);
    expect(agent.state.view.own?.inSync).toEqual(['la']);
    agent.tick(300).watch({ revision: 5 });
    expect(agent.state.view.peers.get('la')?.record.revision).toBe(4);
    expect(agent.state.view.history).toEqual([first]);
    expect(agent.state.term).toBe(2);
  });
});

describe('how long a lease may still be used', () => {
  it.each([
    ['held', 0, 7000],
    ['held', 8000, 1],
    ['expired', 500, 6500],
    ['expired', 7000, 0],
    ['released', 6999, 1],
    ['yielded', 0, 0],
  ] as const)('%s, %i ms after it was first seen', (state, afterMs, leftMs) => {
    const agent = driver().watch({ state });
    expect(lapsesInMs(agent.state, 'la', agent.nowMs + afterMs)).toBe(leftMs);
  });

  it('is not known of one that was never seen', () => {
    expect(lapsesInMs(driver().state, 'la', 0)).toBeNull();
  });
});

describe('what our database lacks', () => {
  it('is what the history has and it does not', () => {
    const agent = driver().watch({}, [first, second]);
    expect(missing(agent.state)).toEqual([]);
    agent.send({ kind: 'successions-read', terms: [2] });
    expect(missing(agent.state)).toEqual([second]);
    agent.send({ kind: 'successions-read', terms: [2, 3] });
    expect(missing(agent.state)).toEqual([]);
  });
});
