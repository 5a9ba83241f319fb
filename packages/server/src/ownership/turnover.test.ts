import type { LeaseRecord, Succession } from 'lanekeeper/model';
import { describe, expect, it } from 'vitest';
import { Driver } from '../../../../test/support/ownership-driver.ts';
import { reasonsNotToSwitch, type SwitchOutcome } from './index.ts';

const peer: Partial<LeaseRecord> = { revision: 7, state: 'held' };
const switched: Succession = { term: 2, kind: 'switch', from: 'ny', to: 'la', undoes: null };

function ready(successions: readonly Succession[] = []): Driver {
  const agent = new Driver(null, { peers: ['la'], automaticFailover: false }).lead();
  agent.send({ kind: 'successions-read', terms: successions.map(({ term }) => term) });
  return agent.watch(peer, successions).send({ kind: 'gate', peer: 'la', reasons: [] });
}

function ask(agent: Driver, id = 'a', undoes: number | null = null): Driver {
  return agent.send({ kind: 'switch-asked', id, request: { to: 'la', undoes } });
}

function draining(instances: string[] = []): Driver {
  const agent = ask(ready());
  const { round } = agent.take('drain-all');
  return agent.send({ kind: 'all-draining', round, result: { kind: 'begun', move: 4, instances } });
}

function claiming(): Driver {
  const agent = draining();
  return agent.send({ kind: 'writers-locked', round: agent.take('lock-writers').round, ok: true });
}

function succeed(agent: Driver, successions = [switched]): Driver {
  const view = { ...agent.view([{}, { dataCenter: 'la', ...peer }]), term: 2, successions };
  return agent.send({
    kind: 'succeeded',
    round: agent.take('succeed').round,
    result: { kind: 'succeeded', term: 2, view },
  });
}

function resumed(agent: Driver, ok = true): Driver {
  return agent.send({ kind: 'resumed', round: agent.take('resume').round, ok });
}

function answers(agent: Driver): SwitchOutcome[] {
  return agent.actions.flatMap((action) =>
    action.kind === 'answer-switch' ? action.ids.map(() => action.outcome) : [],
  );
}

function codes(agent: Driver): (string | undefined)[] {
  return answers(agent).flatMap((one) => (one.kind === 'refused' ? one.reasons.map(({ code }) => code) : [one.kind]));
}

describe('whether everything may be given away', () => {
  it.each([
    ['to one who is taken over', { takenOver: 2 }, null, 'taken-over'],
    ['to one who holds no lease', { state: 'expired' }, null, 'no-lease'],
    ['back, when nothing came from there', {}, 2, 'nothing-to-undo'],
  ] as const)('not %s', (_, la, undoes, code) => {
    const agent = ready().watch({ ...peer, revision: 8, ...la });
    expect(codes(ask(agent, 'a', undoes))).toEqual([code]);
    expect(agent.has('drain-all')).toBe(false);
  });

  it('not back, when what came from there has gone on to a third one', () => {
    const came: Succession = { term: 2, kind: 'take', from: 'la', to: 'ny', undoes: null };
    const wentOn: Succession = { term: 3, kind: 'take', from: 'ny', to: 'fra', undoes: null };
    const asked = (successions: readonly Succession[]) => {
      const agent = ready(successions);
      return reasonsNotToSwitch(agent.state, { to: 'la', undoes: 2 }, agent.nowMs);
    };
    expect(asked([came, wentOn])).toMatchObject([{ code: 'nothing-to-undo', about: 'term 2: it is in fra' }]);
    const cameBack: Succession = { term: 4, kind: 'return', from: 'fra', to: 'ny', undoes: 3 };
    expect(asked([came, wentOn, cameBack])).toEqual([]);
  });

  it('not before our own successions were read, nor while one of them is missing here', () => {
    const agent = new Driver(null, { peers: ['la'], automaticFailover: false }).lead().watch(peer);
    expect(codes(ask(agent))).toEqual(['starting']);
    agent.send({ kind: 'successions-read', terms: [] });
    agent.watch(peer, [{ ...switched, from: 'la', to: 'ny' }]);
    expect(reasonsNotToSwitch(agent.state, { to: 'la', undoes: null }, agent.nowMs)).toMatchObject([{ code: 'busy' }]);
  });

  it('not with a gate that is closed', () => {
    const agent = ready().send({ kind: 'gate', peer: 'la', reasons: [{ code: 'not-streaming' }] });
    expect(codes(ask(agent))).toEqual(['not-streaming']);
  });
});

describe('a switchover', () => {
  it('drains, locks, asks, records, in this order', () => {
    const agent = ask(ready());
    agent.nowMs += 20;
    const drain = agent.take('drain-all');
    expect(drain).toMatchObject({ to: 'la', forMs: 5000 });
    agent.send({ kind: 'all-draining', round: drain.round, result: { kind: 'begun', move: 4, instances: ['a', 'b'] } });
    agent.send({ kind: 'drained', move: 4, instance: 'a' });
    expect(agent.has('lock-writers')).toBe(false);
    agent.send({ kind: 'drained', move: 4, instance: 'b' });
    agent.nowMs += 30;
    const lock = agent.take('lock-writers');
    expect(agent.has('succeed')).toBe(false);
    agent.send({ kind: 'writers-locked', round: lock.round, ok: true });
    expect(agent.actions.find(({ kind }) => kind === 'succeed')).toMatchObject({
      request: { kind: 'switch', term: 1, from: 'ny', to: 'la', revision: 1 },
    });
    expect(agent.has('give-all')).toBe(false);
    succeed(agent);
    const give = agent.take('give-all');
    expect(give.succession).toEqual(switched);
    expect(answers(agent)).toEqual([]);
    agent.send({ kind: 'all-given', round: give.round, ok: true });
    expect(answers(agent)).toEqual([{ kind: 'switched', term: 2, pauseMs: 50 }]);
    expect(agent.state.turnover).toBeNull();
    agent.wait(1000);
    expect(agent.has('lock-writers') || agent.has('resume')).toBe(false);
  });

  it('that undoes a takeover says which', () => {
    const taken: Succession = { term: 2, kind: 'take', from: 'la', to: 'ny', undoes: null };
    const agent = ask(ready([taken]), 'a', 2);
    const { round } = agent.take('drain-all');
    agent.send({ kind: 'all-draining', round, result: { kind: 'begun', move: 4, instances: [] } });
    agent.send({ kind: 'writers-locked', round: agent.take('lock-writers').round, ok: true });
    expect(agent.take('succeed').request).toMatchObject({ kind: 'return', undoes: 2, term: 2 });
  });

  it('counts an instance that reported before its drain was known, and one that is gone, as drained', () => {
    const agent = ask(ready()).send({ kind: 'drained', move: 4, instance: 'a' });
    const { round } = agent.take('drain-all');
    agent.send({ kind: 'all-draining', round, result: { kind: 'begun', move: 4, instances: ['a', 'b'] } });
    expect(agent.has('lock-writers')).toBe(false);
    agent.wait(250);
    expect(agent.has('list-instances')).toBe(true);
    agent.send({ kind: 'instances', alive: ['a'] });
    expect(agent.has('lock-writers')).toBe(true);
  });

  it.each([
    [
      'the drain fails',
      () => {
        const agent = ask(ready());
        return agent.send({ kind: 'all-draining', round: agent.take('drain-all').round, result: { kind: 'failed' } });
      },
      'database-failed',
    ],
    ['requests do not finish', () => draining(['a']).wait(5000), 'not-drained'],
    [
      'a transaction does not finish',
      () => {
        const agent = draining();
        return agent.send({ kind: 'writers-locked', round: agent.take('lock-writers').round, ok: false });
      },
      'busy',
    ],
    [
      'the store refuses',
      () => {
        const agent = claiming();
        const result = { kind: 'refused', reason: 'stale-term', view: agent.view([{}]) } as const;
        return agent.send({ kind: 'succeeded', round: agent.take('succeed').round, result });
      },
      'busy',
    ],
    [
      'the gate closed while writers were waited for',
      () => {
        const agent = draining().send({ kind: 'gate', peer: 'la', reasons: [{ code: 'lagging' }] });
        return agent.send({ kind: 'writers-locked', round: agent.take('lock-writers').round, ok: true });
      },
      'lagging',
    ],
  ] as const)('is called off when %s, and answered once writers go on', (_, make, code) => {
    const agent = make();
    expect(answers(agent)).toEqual([]);
    resumed(agent, false).wait(500);
    expect(answers(agent)).toEqual([]);
    resumed(agent);
    expect(codes(agent)).toEqual([code]);
    expect(agent.state.turnover).toBeNull();
  });

  it('is called off when the lease ran out while writers were waited for', () => {
    const agent = draining();
    const { round } = agent.take('lock-writers');
    // A slow answer, and no tick in between.
    agent.nowMs += 6100;
    agent.send({ kind: 'writers-locked', round, ok: true });
    expect(agent.has('succeed')).toBe(false);
  });

  it.each([
    ['is lost', (agent: Driver) => agent.send({ kind: 'succeeded', round: agent.take('succeed').round, result: null })],
    ['does not come', (agent: Driver) => agent.wait(5000)],
  ])(
    'is pending when the answer of the store %s: writers go on until it is known, then it is carried out',
    (_, lose) => {
      const agent = lose(claiming());
      resumed(agent);
      expect(codes(agent)).toEqual(['pending']);
      agent.watch(peer, [switched]).tick(50);
      const lock = agent.take('lock-writers');
      agent.send({ kind: 'writers-locked', round: lock.round, ok: true });
      expect(agent.has('succeed') && agent.state.turnover?.phase === 'claiming').toBe(false);
      const give = agent.take('give-all');
      expect(give.succession).toEqual(switched);
      agent.send({ kind: 'all-given', round: give.round, ok: true }).wait(1000);
      expect(agent.has('lock-writers')).toBe(false);
    },
  );

  it('that could not be written down is tried again until it is', () => {
    const agent = succeed(claiming());
    agent.send({ kind: 'all-given', round: agent.take('give-all').round, ok: false });
    resumed(agent).tick(50);
    expect(codes(agent)).toEqual(['pending']);
    agent.send({ kind: 'writers-locked', round: agent.take('lock-writers').round, ok: false });
    resumed(agent).tick(50);
    expect(agent.has('lock-writers')).toBe(true);
  });

  it('that an agent before this one left undone is carried out, but not by one that was taken over', () => {
    const agent = new Driver(null, { peers: ['la'] }).lead().send({ kind: 'successions-read', terms: [] });
    agent.watch(peer, [switched], { takenOver: 3 }).tick(50);
    expect(agent.has('lock-writers')).toBe(false);
    agent.watch(peer, [switched], { revision: 9 }).tick(50);
    expect(agent.has('lock-writers')).toBe(true);
  });

  it('of somebody else is not carried out here', () => {
    const agent = new Driver(null, { peers: ['la'], automaticFailover: false }).lead();
    agent
      .send({ kind: 'successions-read', terms: [] })
      .watch(peer, [{ ...switched, from: 'la', to: 'ny' }])
      .wait(500);
    expect(agent.has('lock-writers')).toBe(false);
  });

  it('answers everybody who asked for the same, and nobody who asked for something else', () => {
    const agent = ask(ready(), 'a');
    ask(agent, 'b');
    ask(agent, 'c', 2);
    expect(codes(agent)).toEqual(['busy']);
    agent.send({ kind: 'all-draining', round: agent.take('drain-all').round, result: { kind: 'failed' } });
    ask(agent, 'd');
    expect(codes(agent)).toEqual(['busy', 'busy']);
    resumed(agent);
    expect(codes(agent).slice(2)).toEqual(['database-failed', 'database-failed']);
  });

  it('hears each answer once and only to its present question', () => {
    const agent = ask(ready());
    const drain = agent.take('drain-all');
    const begun = {
      kind: 'all-draining',
      round: drain.round,
      result: { kind: 'begun', move: 4, instances: [] },
    } as const;
    agent.send({ ...begun, round: begun.round + 1 });
    expect(agent.has('lock-writers')).toBe(false);
    const lock = agent.send(begun).send(begun).take('lock-writers');
    expect(agent.has('lock-writers')).toBe(false);
    agent.send({ kind: 'writers-locked', round: lock.round - 1, ok: false });
    expect(agent.state.turnover?.phase).toBe('locking');
    agent.send({ kind: 'writers-locked', round: lock.round, ok: true });
    agent.send({ kind: 'writers-locked', round: lock.round, ok: false });
    expect(agent.state.turnover?.phase).toBe('claiming');
    succeed(agent);
    agent.send({ kind: 'all-given', round: 1, ok: true });
    expect(agent.state.turnover?.phase).toBe('recording');
  });

  it('keeps an agent that leaves until it is finished', () => {
    const agent = succeed(claiming()).send({ kind: 'leave', successor: true }).wait(200);
    expect(agent.has('left')).toBe(false);
    agent.send({ kind: 'all-given', round: agent.take('give-all').round, ok: true });
    expect(agent.has('left')).toBe(true);
  });
});

it('asks the store again, for the term that there is now, when it had not heard of the one before', () => {
  const agent = claiming();
  const first = agent.take('succeed');
  const { term, revision } = first.request;
  const succession = { term: term + 1, kind: 'switch', from: 'la', to: 'ny', undoes: null } as const;
  const view = {
    ...agent.view([{ revision }, { ...peer, dataCenter: 'la', holder: 'la-1' }]),
    term: term + 1,
    successions: [succession],
  };
  agent.send({ kind: 'successions-read', terms: [term + 1] });
  const refused = { kind: 'refused', reason: 'stale-term', view } as const;
  agent.send({ kind: 'succeeded', round: first.round, result: refused });
  expect(agent.take('succeed').request).toMatchObject({ term: term + 1, revision });
});

it('asks the store again when the lease was renewed in between, by the revision that there is now', () => {
  const agent = claiming();
  const first = agent.take('succeed');
  const { revision } = first.request;
  const refusal = (newest: number) => {
    const view = agent.view([{ revision: newest }, { ...peer, dataCenter: 'la', holder: 'la-1' }]);
    return { kind: 'refused', reason: 'no-lease', view } as const;
  };
  agent.send({ kind: 'succeeded', round: first.round, result: refusal(revision + 1) });
  const again = agent.take('succeed');
  expect(again.request.revision).toBe(revision + 1);
  // The same answer to the same question is one.
  agent.send({ kind: 'succeeded', round: again.round, result: refusal(revision + 1) });
  expect(agent.has('succeed')).toBe(false);
  expect(agent.state.turnover?.phase).toBe('closing');
});
