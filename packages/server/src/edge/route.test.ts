import { maxHops } from 'lanekeeper/model';
import { describe, expect, test } from 'vitest';
import { newInstance } from './instances.ts';
import { afterFailure, afterReplay, type Peer, type RequestFacts, type RoutingTable, route } from './route.ts';

const nowMs = 1_000_000;

function table(over: Partial<RoutingTable> = {}): RoutingTable {
  const peer: Peer = {
    name: 'la',
    edge: 'http://127.0.1.2:1',
    url: 'https://la.shop.example',
    host: 'la.shop.example',
    reachable: true,
  };
  return {
    here: 'ny',
    routing: 'customer',
    instances: [newInstance('http://127.0.0.1:1'), newInstance('http://127.0.0.1:2')],
    peers: new Map([['la', peer]]),
    maxBusy: 100,
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
  return { sender: { kind: 'client' }, home: null, safe: true, upgrade: false, host: 'ny.shop.example', ...over };
}

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
    expect(route(facts({ home: 'ny' }), table(), nowMs).kind).toBe('application');
    for (const safe of [true, false]) {
      expect(route(facts({ home: 'la', safe }), table(), nowMs)).toMatchObject({
        kind: 'edge',
        peer: { name: 'la' },
        hops: 1,
      });
    }
  });

  test.each(['connection', 'call'] as const)('with routing: %s the customer stays where he is', (routing) => {
    expect(route(facts({ home: 'la', safe: false }), table({ routing }), nowMs).kind).toBe('application');
  });

  test('a home that the configuration does not know is left to the application', () => {
    expect(route(facts({ home: 'fra' }), table(), nowMs).kind).toBe('application');
  });

  test('what another edge passed on is served here, whatever the cookie says; so is what only claims to be', () => {
    expect(route(facts({ home: 'la', sender: fromEdge(1) }), table(), nowMs).kind).toBe('application');
    expect(route(facts({ home: 'la', sender: { kind: 'unproven-edge' } }), table(), nowMs).kind).toBe('application');
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
    expect(route(facts({ home: 'la', safe: false }), cutOff(), nowMs)).toMatchObject({ kind: 'redirect' });
    const refused = { kind: 'refuse', code: 'LK_HOME_UNREACHABLE', home: 'la' };
    expect(route(facts({ home: 'la', host: 'la.shop.example' }), cutOff(), nowMs)).toEqual(refused);
    expect(route(facts({ home: 'la', upgrade: true }), cutOff(), nowMs)).toEqual(refused);
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
    expect(afterReplay(facts({ safe: false }), table(), 'dc=la', 'kept')).toMatchObject({ kind: 'edge', hops: 1 });
    expect(afterReplay(facts({ safe: false }), table(), 'dc=la', 'none')).toMatchObject({ kind: 'edge', hops: 1 });
    expect(afterReplay(facts({ safe: false }), table(), 'dc=la', 'gone')).toMatchObject({ kind: 'redirect' });
    expect(afterReplay(facts(), cutOff(), 'dc=la', 'kept')).toMatchObject({ kind: 'redirect' });
  });

  test('a body that is gone, and a customer who is at that address already: told to try again', () => {
    expect(afterReplay(facts({ host: 'la.shop.example' }), table(), 'dc=la', 'gone')).toEqual({
      kind: 'refuse',
      code: 'LK_WRONG_HOME',
      home: 'la',
    });
  });

  test('never to itself, never to nowhere', () => {
    expect(afterReplay(facts(), table(), 'dc=ny', 'none')).toMatchObject({ kind: 'refuse', code: 'LK_LOOP' });
    for (const asked of ['dc=fra', '', 'dc=', 'la', 'dc=la, dc=ny', 'dc=../la', 'dc=LA', `dc=${'a'.repeat(16)}`]) {
      expect(afterReplay(facts(), table(), asked, 'none')).toMatchObject({
        kind: 'refuse',
        code: 'LK_HOME_UNREACHABLE',
      });
    }
  });

  test(`a circle ends after ${maxHops} edges`, () => {
    let hops = 0;
    for (let edges = 0; edges < 10; edges += 1) {
      const sender = hops === 0 ? ({ kind: 'client' } as const) : fromEdge(hops);
      const decision = afterReplay(facts({ sender }), table(), 'dc=la', 'none');
      if (decision.kind !== 'edge') {
        expect(decision).toMatchObject({ kind: 'refuse', code: 'LK_LOOP' });
        break;
      }
      hops = decision.hops;
    }
    expect(hops).toBe(maxHops);
  });

  test('whoever cannot prove to be an edge gets the answer itself', () => {
    expect(afterReplay(facts({ sender: { kind: 'unproven-edge' } }), table(), 'dc=la', 'none')).toEqual({
      kind: 'leave',
    });
  });
});

describe('after a failure', () => {
  const two = table();
  const [first, second] = two.instances as [(typeof two.instances)[0], (typeof two.instances)[0]];
  const here = { kind: 'application', instance: first } as const;
  const peer = two.peers.get('la') as Peer;
  const there = { kind: 'edge', peer, hops: 1 } as const;
  const unsafe = facts({ safe: false });

  test('nothing was sent: the next instance takes it, each once', () => {
    const failure = { destination: here, kind: 'unreachable', tried: [first], body: 'kept' } as const;
    expect(afterFailure(unsafe, two, failure, nowMs)).toEqual({ kind: 'application', instance: second });
    expect(afterFailure(unsafe, two, { ...failure, tried: [first, second] }, nowMs)).toMatchObject({
      kind: 'refuse',
      code: 'LK_NO_APPLICATION',
    });
  });

  test('it was sent and changes something: its fate is unknown, here and there', () => {
    for (const destination of [here, there]) {
      const failure = { destination, kind: 'broken', tried: [first], body: 'kept' } as const;
      expect(afterFailure(unsafe, two, failure, nowMs)).toMatchObject({ kind: 'refuse', code: 'LK_NO_ANSWER' });
    }
  });

  test('it was sent and is safe: once more, on the same instance if there is no other', () => {
    const failure = { destination: here, kind: 'broken', tried: [first], body: 'none' } as const;
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
      const failure = { destination, kind: 'late', tried: [], body: 'none' } as const;
      expect(afterFailure(facts(), two, failure, nowMs)).toMatchObject({ code: 'LK_LATE_ANSWER' });
    }
  });

  test('the other edge cannot be reached: the customer tries himself', () => {
    const failure = { destination: there, kind: 'unreachable', tried: [], body: 'kept' } as const;
    expect(afterFailure(unsafe, two, failure, nowMs)).toMatchObject({ kind: 'redirect' });
    expect(afterFailure(facts(), two, { ...failure, kind: 'broken' }, nowMs)).toMatchObject({ kind: 'redirect' });
  });
});
