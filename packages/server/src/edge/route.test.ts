import { maxHops } from 'lanekeeper/model';
import { describe, expect, test } from 'vitest';
import { newInstance } from './instances.ts';
import { afterFailure, afterReplay, bringTo, type Peer, type RequestFacts, type RoutingTable, route } from './route.ts';
import { learn, newSuccessions } from './successions.ts';

const nowMs = 1_000_000;

function table(over: Partial<RoutingTable> = {}): RoutingTable {
  const peer: Peer = {
    name: 'la',
    edge: 'http://127.0.1.2:1',
    url: 'https://la.shop.example',
    host: 'la.shop.example',
    reachable: true,
    lostAtMs: Number.NEGATIVE_INFINITY,
  };
  return {
    here: 'ny',
    routing: 'customer',
    instances: [newInstance('http://127.0.0.1:1'), newInstance('http://127.0.0.1:2')],
    peers: new Map([['la', peer]]),
    maxBusy: 100,
    successions: newSuccessions(),
    holdMs: 0,
    turn: 0,
    ...over,
  };
}

const cutOff = (): RoutingTable => {
  const cut = table();
  for (const peer of cut.peers.values()) peer.reachable = false;
  return cut;
};

function facts(over: Partial<RequestFacts> = {}): RequestFacts {
  return { sender: { kind: 'client' }, session: null, safe: true, upgrade: false, host: 'ny.shop.example', ...over };
}

/** As a session of the first term names it. */
const at = (home: string) => ({ home, term: 1 });

const fromEdge = (hops: number) => ({ kind: 'edge', dataCenter: 'la', hops }) as const;

describe('route', () => {
  test('nobody in particular is served here, by the instances in turn', () => {
    const turns = table();
    const urls = [1, 2, 3, 4].map(() => {
      const decision = route(facts(), turns, nowMs);
      return decision.kind === 'application' ? decision.instance.url : decision;
    });
    expect(new Set(urls).size).toBe(2);
    expect(urls[0]).toBe(urls[2]);
  });

  test('a customer is served at his home, reads and writes alike', () => {
    expect(route(facts({ session: at('ny') }), table(), nowMs).kind).toBe('application');
    for (const safe of [true, false]) {
      expect(route(facts({ session: at('la'), safe }), table(), nowMs)).toMatchObject({
        kind: 'edge',
        peer: { name: 'la' },
        hops: 1,
      });
    }
  });

  test.each(['connection', 'call'] as const)('with routing: %s the customer stays where he is', (routing) => {
    expect(route(facts({ session: at('la'), safe: false }), table({ routing }), nowMs).kind).toBe('application');
  });

  describe.each(['connection', 'call'] as const)(
    'with routing: %s, when no application takes requests here',
    (routing) => {
      const empty = (over: Partial<RoutingTable> = {}) => {
        const out = table({ routing, ...over });
        for (const instance of out.instances) instance.ejectedUntilMs = nowMs + 1;
        return out;
      };

      test('another data center serves, whoever it is for', () => {
        for (const session of [null, at('ny'), at('la')]) {
          expect(route(facts({ session, safe: false }), empty(), nowMs)).toMatchObject({
            kind: 'edge',
            peer: { name: 'la' },
            hops: 1,
          });
        }
        expect(route(facts(), empty({ instances: [] }), nowMs).kind).toBe('edge');
      });

      test('not for another edge, nor when that one is lost, nor when somebody is only busy', () => {
        const lost = empty();
        for (const peer of lost.peers.values()) peer.reachable = false;
        const busy = table({ routing });
        for (const instance of busy.instances) instance.busy = busy.maxBusy;
        expect(route(facts({ sender: fromEdge(1) }), empty(), nowMs).kind).toBe('application');
        expect(route(facts({ sender: fromEdge(1) }), empty({ instances: [] }), nowMs)).toMatchObject({
          kind: 'refuse',
          code: 'LK_NO_APPLICATION',
        });
        expect(route(facts(), lost, nowMs).kind).toBe('application');
        expect(route(facts(), busy, nowMs)).toMatchObject({ kind: 'refuse', code: 'LK_NO_APPLICATION' });
      });

      test('also when the last one turns out to be gone, and the request can be sent again', () => {
        const [instance] = table().instances;
        if (instance === undefined) throw new Error('no instance');
        const failure = {
          destination: { kind: 'application', instance } as const,
          kind: 'unreachable' as const,
          again: false,
        };
        const after = (body: 'kept' | 'gone', over: Partial<RequestFacts> = {}) =>
          afterFailure(
            facts({ safe: false, ...over }),
            table({ routing, instances: [instance] }),
            { ...failure, tried: [instance], body },
            nowMs,
          );
        expect(after('kept')).toMatchObject({ kind: 'edge', peer: { name: 'la' } });
        expect(after('gone')).toMatchObject({ kind: 'refuse', code: 'LK_NO_APPLICATION' });
        expect(after('kept', { sender: fromEdge(1) })).toMatchObject({ kind: 'refuse', code: 'LK_NO_APPLICATION' });
      });
    },
  );

  test('a home that the configuration does not know is left to the application', () => {
    expect(route(facts({ session: at('fra') }), table(), nowMs).kind).toBe('application');
  });

  test('what another edge passed on is served here, whatever the cookie says; so is what only claims to be', () => {
    expect(route(facts({ session: at('la'), sender: fromEdge(1) }), table(), nowMs).kind).toBe('application');
    expect(route(facts({ session: at('la'), sender: { kind: 'unproven-edge' } }), table(), nowMs).kind).toBe(
      'application',
    );
  });

  test('what this data center passed on and got back, or what has come too far, is a circle', () => {
    const refused = { kind: 'refuse', code: 'LK_LOOP' };
    expect(route(facts({ sender: { kind: 'edge', dataCenter: 'ny', hops: 1 } }), table(), nowMs)).toMatchObject(
      refused,
    );
    expect(route(facts({ sender: fromEdge(maxHops) }), table(), nowMs).kind).toBe('application');
    expect(route(facts({ sender: fromEdge(maxHops + 1) }), table(), nowMs)).toMatchObject(refused);
  });

  test('a home out of reach: the customer is sent there himself, unless he would only come back here', () => {
    expect(route(facts({ session: at('la'), safe: false }), cutOff(), nowMs)).toMatchObject({ kind: 'redirect' });
    const refused = { kind: 'refuse', code: 'LK_HOME_UNREACHABLE', home: 'la' };
    expect(route(facts({ session: at('la'), host: 'la.shop.example' }), cutOff(), nowMs)).toEqual(refused);
    expect(route(facts({ session: at('la'), upgrade: true }), cutOff(), nowMs)).toEqual(refused);
  });

  test('no instance at all, or all full', () => {
    const refused = { kind: 'refuse', code: 'LK_NO_APPLICATION', home: null };
    expect(route(facts(), table({ instances: [] }), nowMs)).toEqual(refused);
    const full = table({ maxBusy: 1 });
    for (const instance of full.instances) instance.busy = 1;
    expect(route(facts(), full, nowMs)).toEqual(refused);
  });
});

describe('after the application said replay', () => {
  test('the request is repeated there while its body is kept; else the customer is redirected', () => {
    expect(afterReplay(facts({ safe: false }), table(), 'dc=la', 'kept', nowMs)).toMatchObject({
      kind: 'edge',
      hops: 1,
    });
    expect(afterReplay(facts({ safe: false }), table(), 'dc=la', 'none', nowMs)).toMatchObject({
      kind: 'edge',
      hops: 1,
    });
    expect(afterReplay(facts({ safe: false }), table(), 'dc=la', 'gone', nowMs)).toMatchObject({ kind: 'redirect' });
    expect(afterReplay(facts(), cutOff(), 'dc=la', 'kept', nowMs)).toMatchObject({ kind: 'redirect' });
  });

  test('a body that is gone, and a customer who is at that address already: told to try again', () => {
    expect(afterReplay(facts({ host: 'la.shop.example' }), table(), 'dc=la', 'gone', nowMs)).toEqual({
      kind: 'refuse',
      code: 'LK_WRONG_HOME',
      home: 'la',
    });
  });

  test('never to itself, never to nowhere', () => {
    expect(afterReplay(facts(), table(), 'dc=ny', 'none', nowMs)).toMatchObject({ kind: 'refuse', code: 'LK_LOOP' });
    for (const asked of ['dc=fra', '', 'dc=', 'la', 'dc=la, dc=ny', 'dc=../la', 'dc=LA', `dc=${'a'.repeat(16)}`]) {
      expect(afterReplay(facts(), table(), asked, 'none', nowMs)).toMatchObject({
        kind: 'refuse',
        code: 'LK_HOME_UNREACHABLE',
      });
    }
  });

  test(`a circle ends after ${maxHops} edges`, () => {
    let hops = 0;
    for (let edges = 0; edges < 10; edges += 1) {
      const sender = hops === 0 ? ({ kind: 'client' } as const) : fromEdge(hops);
      const decision = afterReplay(facts({ sender }), table(), 'dc=la', 'none', nowMs);
      if (decision.kind !== 'edge') {
        expect(decision).toMatchObject({ kind: 'refuse', code: 'LK_LOOP' });
        break;
      }
      hops = decision.hops;
    }
    expect(hops).toBe(maxHops);
  });

  test('whoever cannot prove to be an edge gets the answer itself', () => {
    expect(afterReplay(facts({ sender: { kind: 'unproven-edge' } }), table(), 'dc=la', 'none', nowMs)).toEqual({
      kind: 'leave',
    });
  });
});

describe('after a failure', () => {
  const two = table();
  const [first, second] = two.instances as [(typeof two.instances)[0], (typeof two.instances)[0]];
  const here = { kind: 'application', instance: first } as const;
  const peer = two.peers.get('la') as Peer;
  const there = { kind: 'edge', peer, hops: 1, place: at('la') } as const;
  const unsafe = facts({ safe: false });

  test('nothing was sent: the next instance takes it, each once', () => {
    const failure = { destination: here, kind: 'unreachable', tried: [first], body: 'kept', again: false } as const;
    expect(afterFailure(unsafe, two, failure, nowMs)).toEqual({ kind: 'application', instance: second });
    expect(afterFailure(unsafe, two, { ...failure, tried: [first, second] }, nowMs)).toMatchObject({
      kind: 'refuse',
      code: 'LK_NO_APPLICATION',
    });
  });

  test('it was sent and changes something: its fate is unknown, here and there', () => {
    for (const destination of [here, there]) {
      const failure = { destination, kind: 'broken', tried: [first], body: 'kept', again: false } as const;
      expect(afterFailure(unsafe, two, failure, nowMs)).toMatchObject({ kind: 'refuse', code: 'LK_NO_ANSWER' });
    }
  });

  test('it was sent and is safe: once more, on the same instance if there is no other', () => {
    const failure = { destination: here, kind: 'broken', tried: [first], body: 'none', again: false } as const;
    expect(afterFailure(facts(), two, failure, nowMs)).toEqual({ kind: 'application', instance: second });
    const lonely = table({ instances: [first] });
    expect(afterFailure(facts(), lonely, failure, nowMs)).toEqual({ kind: 'application', instance: first });
    expect(afterFailure(facts(), two, { ...failure, tried: [first, second] }, nowMs)).toMatchObject({
      code: 'LK_NO_ANSWER',
    });
    expect(afterFailure(facts(), two, { ...failure, body: 'gone' }, nowMs)).toMatchObject({ code: 'LK_NO_ANSWER' });
  });

  test('late is late: never again', () => {
    for (const destination of [here, there]) {
      const failure = { destination, kind: 'late', tried: [], body: 'none', again: false } as const;
      expect(afterFailure(facts(), two, failure, nowMs)).toMatchObject({ code: 'LK_LATE_ANSWER' });
    }
  });

  test('the other edge cannot be reached: the customer tries himself', () => {
    const failure = { destination: there, kind: 'unreachable', tried: [], body: 'kept', again: false } as const;
    expect(afterFailure(unsafe, two, failure, nowMs)).toMatchObject({ kind: 'redirect' });
    expect(afterFailure(facts(), two, { ...failure, kind: 'broken' }, nowMs)).toMatchObject({ kind: 'redirect' });
  });

  test('a read that it broke off is tried once more after a moment, where requests are held at all', () => {
    const held = table({ holdMs: 9_000 });
    const failure = { destination: there, kind: 'broken', tried: [], body: 'none', again: false } as const;
    expect(afterFailure(facts(), held, failure, nowMs)).toMatchObject({ kind: 'hold', place: at('la') });
    expect(afterFailure(facts(), held, { ...failure, again: true }, nowMs)).toMatchObject({ kind: 'redirect' });
    expect(afterFailure(unsafe, held, failure, nowMs)).toMatchObject({ kind: 'refuse', code: 'LK_NO_ANSWER' });
  });
});

describe('successions', () => {
  const take = { term: 2, kind: 'take', from: 'la', to: 'ny', undoes: null } as const;
  const back = { term: 3, kind: 'return', from: 'ny', to: 'la', undoes: 2 } as const;
  const away = { term: 2, kind: 'switch', from: 'ny', to: 'la', undoes: null } as const;

  function after(...history: (typeof take | typeof back | typeof away)[]): RoutingTable {
    const taken = table({ holdMs: 9_000 });
    learn(taken.successions, history, nowMs);
    return taken;
  }

  test('a customer is served where his home was moved to; a session from later on is taken as it is', () => {
    expect(route(facts({ session: at('la') }), after(take), nowMs).kind).toBe('application');
    expect(route(facts({ session: at('ny') }), after(away), nowMs)).toMatchObject({
      kind: 'edge',
      peer: { name: 'la' },
    });
    expect(route(facts({ session: { home: 'la', term: 2 } }), after(take), nowMs).kind).toBe('edge');
    expect(route(facts({ session: at('la') }), after(take, back), nowMs).kind).toBe('edge');
  });

  test('a replay to where it was goes to where it is', () => {
    const onward = after(take, back);
    expect(afterReplay(facts(), onward, 'dc=la; term=1', 'none', nowMs)).toMatchObject({ kind: 'edge', hops: 1 });
    expect(afterReplay(facts(), after(away), 'dc=la; term=2', 'none', nowMs)).toMatchObject({ kind: 'edge' });
  });

  test('an application that has not heard of it is asked again, for a moment; then the customer is told to try again', () => {
    const taken = after(take);
    const asked = afterReplay(facts(), taken, 'dc=la; term=1', 'kept', nowMs);
    expect(asked).toMatchObject({ kind: 'hold', place: at('la') });
    if (asked.kind !== 'hold') return;
    expect(asked.untilMs - nowMs).toBeLessThan(1_000);
    expect(bringTo(facts(), taken, asked.place, 'kept', asked.untilMs).kind).toBe('application');
    const refused = { kind: 'refuse', code: 'LK_ARRIVING', home: 'ny' };
    expect(afterReplay(facts(), taken, 'dc=la; term=1', 'gone', nowMs)).toEqual(refused);
    expect(afterReplay(facts(), taken, 'dc=la; term=1', 'none', nowMs + 60_000)).toEqual(refused);
    // One that has moved there since is there, and one that says nothing of terms is believed.
    for (const there of ['dc=la; term=2', 'dc=la']) {
      expect(afterReplay(facts(), taken, there, 'none', nowMs)).toMatchObject({ kind: 'edge', peer: { name: 'la' } });
    }
  });

  test('a home that was lost just now is waited for, and so is its successor; after that it is as ever', () => {
    const lost = table({ holdMs: 9_000 });
    for (const peer of lost.peers.values()) Object.assign(peer, { reachable: false, lostAtMs: nowMs });
    const customer = facts({ session: at('la'), safe: false });
    const decision = route(customer, lost, nowMs + 1_000);
    expect(decision).toEqual({ kind: 'hold', place: at('la'), untilMs: nowMs + 9_000 });
    expect(bringTo(customer, lost, at('la'), 'gone', nowMs + 1_000)).toMatchObject({ kind: 'redirect' });
    expect(bringTo(customer, lost, at('la'), 'kept', nowMs + 9_000)).toMatchObject({ kind: 'redirect' });
    expect(route({ ...customer, host: 'la.shop.example' }, lost, nowMs + 9_000)).toEqual({
      kind: 'refuse',
      code: 'LK_HOME_UNREACHABLE',
      home: 'la',
    });
    learn(lost.successions, [take], nowMs + 2_000);
    expect(bringTo(customer, lost, at('la'), 'kept', nowMs + 2_000).kind).toBe('application');
    const peer = lost.peers.get('la') as Peer;
    const failure = { destination: { kind: 'edge', peer, hops: 1, place: at('la') }, tried: [], again: false } as const;
    const unsent = { ...failure, kind: 'unreachable', body: 'kept' } as const;
    expect(afterFailure(customer, table(), unsent, nowMs).kind).toBe('redirect');
    expect(afterFailure(customer, { ...lost, successions: newSuccessions() }, unsent, nowMs).kind).toBe('hold');
  });
});
