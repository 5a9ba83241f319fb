import { describe, expect, test } from 'vitest';
import { type Admitted, admit } from './admit.ts';
import { forApplication, forEdge, type Origin } from './request-headers.ts';
import { readResponse, readTrailers } from './response-headers.ts';
import type { Sender } from './route.ts';

const origin: Origin = { address: '9.9.9.9', encrypted: false, trusted: false };
const client: Sender = { kind: 'client' };
const edge: Sender = { kind: 'edge', dataCenter: 'la', hops: 2 };

function admitted(...headers: string[]): Admitted {
  const rawHeaders = ['Host', 'shop.example', ...headers];
  const result = admit({ method: 'GET', target: '/', httpVersion: '1.1', rawHeaders });
  if (result.kind !== 'admitted') throw new Error(result.why);
  return result;
}

function record(pairs: readonly string[]): Record<string, string> {
  const found: Record<string, string> = {};
  for (let i = 0; i < pairs.length; i += 2) {
    const name = pairs[i] as string;
    if (name in found) throw new Error(`${name} is there twice`);
    found[name] = pairs[i + 1] as string;
  }
  return found;
}

describe('to an application', () => {
  test('from a client: what he says about proxies and under our names counts for nothing', () => {
    const lies = [
      'X-Forwarded-For',
      '1.1.1.1',
      'Forwarded',
      'for=x',
      'Lanekeeper-Hops',
      '2',
      'Lanekeeper-Place',
      'mars',
    ];
    expect(record(forApplication(admitted(...lies, 'Accept', '*/*'), client, origin, 'ny'))).toEqual({
      host: 'shop.example',
      Accept: '*/*',
      'x-forwarded-for': '9.9.9.9',
      'x-forwarded-proto': 'http',
      'lanekeeper-via': 'ny',
    });
  });

  test('from a proxy of ours: it names the customer, but not what we name', () => {
    const said = [
      'X-Forwarded-For',
      '1.1.1.1',
      'X-Forwarded-Proto',
      'https',
      'X-Forwarded-Host',
      'www',
      'Lanekeeper-Hops',
      '2',
    ];
    expect(record(forApplication(admitted(...said), client, { ...origin, trusted: true }, 'ny'))).toEqual({
      host: 'shop.example',
      'x-forwarded-host': 'www',
      'x-forwarded-for': '1.1.1.1, 9.9.9.9',
      'x-forwarded-proto': 'https',
      'lanekeeper-via': 'ny',
    });
  });

  test('a scheme is http or https, and by TLS when nobody says', () => {
    const proto = (value: string, from: Partial<Origin>) =>
      record(forApplication(admitted('X-Forwarded-Proto', value), client, { ...origin, ...from }, 'ny'))[
        'x-forwarded-proto'
      ];
    expect(proto('gopher', { trusted: true })).toBe('http');
    expect(proto('http', { encrypted: true })).toBe('https');
  });

  test('from another edge: the host and address that it vouches for', () => {
    const said = [
      'X-Forwarded-For',
      '1.1.1.1',
      'X-Forwarded-Proto',
      'https',
      'Lanekeeper-Edge',
      'token',
      'Lanekeeper-Hops',
      '2',
    ];
    const more = ['Lanekeeper-Host', 'ny.shop.example', 'Lanekeeper-Via', 'la', 'Lanekeeper-Place', 'mars'];
    expect(record(forApplication(admitted(...said, ...more), edge, origin, 'ny'))).toEqual({
      host: 'ny.shop.example',
      'x-forwarded-for': '1.1.1.1',
      'x-forwarded-proto': 'https',
      'lanekeeper-via': 'ny',
      'lanekeeper-place': 'mars',
      'lanekeeper-hops': '2',
    });
  });
});

test('to another edge', () => {
  const passed = { peerHost: '10.0.0.2:8080', token: 'token', hops: 1 };
  expect(record(forEdge(admitted('Cookie', 'a=b', 'TE', 'trailers'), client, origin, 'ny', passed))).toEqual({
    host: '10.0.0.2:8080',
    cookie: 'a=b',
    'x-forwarded-for': '9.9.9.9',
    'x-forwarded-proto': 'http',
    'lanekeeper-via': 'ny',
    te: 'trailers',
    'lanekeeper-edge': 'token',
    'lanekeeper-hops': '1',
    'lanekeeper-host': 'shop.example',
  });
});

describe('back to the client', () => {
  const raw = (...pairs: string[]) => pairs.map((text) => Buffer.from(text, 'latin1'));
  const known = new Set(['ny', 'la']);

  test('not what was for the edge, nor for the connection, nor what Connection names', () => {
    const read = readResponse(
      raw(
        'Connection',
        'keep-alive, X-Inner, Content-Length',
        'Keep-Alive',
        'timeout=5',
        'X-Inner',
        'secret',
        'Content-Length',
        '5',
        'Lanekeeper-Replay',
        'dc=la',
        'LANEKEEPER-HOPS',
        '1',
        'Lanekeeper_Replay',
        'dc=la',
        'Proxy-Authenticate',
        'Basic',
        'Upgrade',
        'h2c',
        'Set-Cookie',
        'a=b',
        'Set-Cookie',
        'c=d',
        'X-Name',
        '\xe9',
      ),
      'ny',
      null,
      false,
    );
    expect(read).toEqual({
      headers: [
        'Content-Length',
        '5',
        'Set-Cookie',
        'a=b',
        'Set-Cookie',
        'c=d',
        'X-Name',
        '\xe9',
        'lanekeeper-data-center',
        'ny',
      ],
      hasLength: true,
      replay: 'dc=la',
      cookies: ['a=b', 'c=d'],
    });
  });

  test('one framing: a chunked answer has no length', () => {
    const read = readResponse(raw('Content-Length', '5', 'Transfer-Encoding', 'chunked'), 'ny', null, false);
    expect([read.headers, read.hasLength]).toEqual([['lanekeeper-data-center', 'ny'], false]);
  });

  test('who served it: an application does not decide that, an edge of ours does, if it makes sense', () => {
    const servedBy = (said: string, by: string, names: ReadonlySet<string> | null) =>
      record(readResponse(raw('Lanekeeper-Data-Center', said), by, names, false).headers)['lanekeeper-data-center'];
    expect(servedBy('la', 'ny', null)).toBe('ny');
    expect(servedBy('ny', 'la', known)).toBe('ny');
    expect(servedBy('mars', 'la', known)).toBe('la');
  });

  test('two orders to replay are none that can be followed', () => {
    expect(
      readResponse(raw('Lanekeeper-Replay', 'dc=la', 'lanekeeper-replay', 'dc=ny'), 'ny', null, false).replay,
    ).toBe('dc=la,dc=ny');
  });

  test('trailers: announced to those who asked, without what decides', () => {
    expect(readResponse(raw('Trailer', 'X-Sum'), 'ny', null, true).headers).toContain('Trailer');
    expect(readResponse(raw('Trailer', 'X-Sum'), 'ny', null, false).headers).not.toContain('Trailer');
    const forbidden = [
      'Content-Length',
      '5',
      'Set-Cookie',
      'a=b',
      'Lanekeeper-Replay',
      'dc=la',
      'Host',
      'x',
      'Location',
      '/',
    ];
    expect(readTrailers(raw('X-Sum', 'abc', ...forbidden))).toEqual([['X-Sum', 'abc']]);
  });
});
