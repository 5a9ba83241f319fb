import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type Admitted, admit, type RawRequest } from './admit.ts';
import { headerKind } from './header-kinds.ts';

function request(over: Partial<RawRequest> = {}, ...headers: string[]): RawRequest {
  return {
    method: 'GET',
    target: '/',
    httpVersion: '1.1',
    rawHeaders: ['Host', 'ny.shop.example', ...headers],
    ...over,
  };
}

function admitted(...headers: string[]): Admitted {
  const result = admit(request({}, ...headers));
  if (result.kind !== 'admitted') throw new Error(result.why);
  return result;
}

const refused = (over: Partial<RawRequest>, ...headers: string[]) => {
  const result = admit(request(over, ...headers));
  return result.kind === 'refused' ? result.code : result;
};

describe('the target', () => {
  test.each(['/', '/cart', '/a//b', '/a?q=\\', '/?next=//evil', '/%2F/evil', '/*'])('%s is taken', (target) => {
    expect(admit(request({ target }))).toMatchObject({ kind: 'admitted', path: target });
  });

  test.each([
    '//evil',
    '//evil/..',
    '/\\evil',
    '/a\\b',
    '/a#b',
    '*',
    '',
    'evil',
    'evil:443',
    'http://evil/',
    'http://ny.shop.example@evil/',
    'http://evil@ny.shop.example/',
    'http://ny.shop.example\\@evil/',
    'http://ny.shop.example:81/',
    'http:/ny.shop.example/',
    'http:////evil',
    'http://ny.shop.example//evil',
    'ftp://ny.shop.example/',
    'javascript:alert(1)',
  ])('%s is not', (target) => {
    expect(refused({ target })).toBe('LK_BAD_REQUEST');
  });

  test.each([
    ['http://ny.shop.example', '/'],
    ['http://NY.shop.example/a?b', '/a?b'],
    ['HTTPS://ny.shop.example?b', '/?b'],
  ])('absolute-form for this very host: %s', (target, path) => {
    expect(admit(request({ target }))).toMatchObject({ kind: 'admitted', path });
  });

  test.each(['CONNECT', 'TRACE'])('%s is not served', (method) => {
    expect(refused({ method })).toBe('LK_BAD_REQUEST');
  });
});

describe('the host', () => {
  test('two of them, in any spelling, or none', () => {
    expect(refused({}, 'host', 'ny.shop.example')).toBe('LK_BAD_REQUEST');
    expect(refused({}, 'HOST', 'evil')).toBe('LK_BAD_REQUEST');
    expect(refused({ rawHeaders: [] })).toBe('LK_BAD_REQUEST');
  });

  test.each(['', ' ', 'a b', 'a/b', 'a@b', 'a,b', 'a:b', 'a:123456', '[::1', 'a"', "a'", 'a\\b', '-a', '[zz]', 'ä'])(
    'not a host: %j',
    (host) => {
      expect(refused({ rawHeaders: ['Host', host] })).toBe('LK_BAD_REQUEST');
    },
  );

  test.each(['LOCALHOST', '127.0.0.1:8080', '[::1]', '[::1]:80', 'a-b.c_d.example', 'shop.example.'])('%s', (host) => {
    expect(admit(request({ rawHeaders: ['Host', host] }))).toMatchObject({ host: host.toLowerCase() });
  });
});

describe('the body', () => {
  test('one way to say its length, or none', () => {
    expect(admitted().body).toBe(0);
    expect(admitted('Content-Length', '30000000').body).toBe(30_000_000);
    expect(admitted('transfer-encoding', 'Chunked').body).toBe('chunked');
  });

  test.each([
    [['Transfer-Encoding', 'chunked', 'Content-Length', '5']],
    [['Content-Length', '5', 'Transfer-Encoding', 'chunked']],
    [['Content-Length', '5', 'content-length', '5']],
    [['Content-Length', '5, 5']],
    [['Content-Length', '+5']],
    [['Content-Length', '-1']],
    [['Content-Length', '0x5']],
    [['Content-Length', '']],
    [['Content-Length', '9'.repeat(16)]],
    [['Transfer-Encoding', 'chunked', 'transfer-encoding', 'chunked']],
    [['Transfer-Encoding', 'gzip, chunked']],
    [['Transfer-Encoding', 'identity']],
    [['Transfer-Encoding', 'xchunked']],
    [['Transfer-Encoding', 'chunked,']],
    [['Connection', 'Content-Length', 'Content-Length', '5']],
    [['Connection', 'close, Transfer-Encoding', 'Transfer-Encoding', 'chunked']],
    [['Connection', 'host']],
  ])('%j', (headers) => {
    expect(refused({}, ...headers)).toBe('LK_BAD_REQUEST');
  });

  test('Transfer-Encoding on HTTP/1.0', () => {
    expect(refused({ httpVersion: '1.0' }, 'Transfer-Encoding', 'chunked')).toBe('LK_BAD_REQUEST');
    expect(admit(request({ httpVersion: '1.0' }, 'Content-Length', '3'))).toMatchObject({ body: 3 });
  });
});

describe('the headers', () => {
  test('those for the next hop only, and those that Connection names, go no further', () => {
    const result = admitted(
      'Connection',
      'close, X-Secret',
      'connection',
      ' X-FORWARDED-FOR ,, lanekeeper-hops',
      'X-Secret',
      's',
      'Keep-Alive',
      'timeout=5',
      'Proxy-Authorization',
      'Basic x',
      'Expect',
      '100-continue',
      'Trailer',
      'X-After',
      'TE',
      'trailers',
      'X-Forwarded-For',
      '1.2.3.4',
      'Lanekeeper-Hops',
      '1',
      'Accept',
      '*/*',
    );
    expect(result.endToEnd).toEqual(['Accept', '*/*']);
    expect(result.forwarded).toEqual([]);
    expect(result.ours).toEqual([]);
    expect(result.wantsTrailers).toBe(true);
  });

  test('several Cookie lines are one; named by Connection they are none', () => {
    expect(admitted('Cookie', 'a=1', 'cookie', 'b=2').cookie).toBe('a=1; b=2');
    expect(admitted('Cookie', 'a=1', 'Connection', 'Cookie').cookie).toBeNull();
  });

  test('an upgrade needs both headers', () => {
    expect(admitted('Connection', 'keep-alive, Upgrade', 'Upgrade', 'websocket').upgrade).toBe('websocket');
    expect(admitted('Upgrade', 'websocket').upgrade).toBeNull();
    expect(admitted('Connection', 'Upgrade').upgrade).toBeNull();
  });

  test('at most a hundred', () => {
    const many = Array.from({ length: 99 }, (_, i) => [`x-${i}`, '']).flat();
    expect(admit(request({}, ...many)).kind).toBe('admitted');
    expect(refused({}, ...many, 'x', '')).toBe('LK_HEADERS_TOO_LARGE');
  });

  test('ours, in any spelling and disguise', () => {
    for (const name of ['Lanekeeper-Home', 'lanekeeper-', 'LANEKEEPER-EDGE', 'lanekeeper']) {
      expect(headerKind(name), name).toBe('ours');
    }
    for (const name of [
      'Lanekeeper_Home',
      'lanekeeper.edge',
      'LANEKEEPER~hops',
      'Transfer_Encoding',
      'X-Forwarded_For',
    ]) {
      expect(headerKind(name), name).toBe('twin');
    }
    for (const name of ['Lanekeepers', 'x-lanekeeper-home', 'x_custom', 'constructor', '__proto__']) {
      expect(headerKind(name), name).toBe('end-to-end');
    }
  });

  test('whatever the headers, nothing of ours and no second framing is among those passed on', () => {
    const name = fc.oneof(
      fc.constantFrom('Host', 'Content-Length', 'content_length', 'Transfer-Encoding', 'Connection', 'Cookie', 'TE'),
      fc.constantFrom('Lanekeeper-Home', 'lanekeeper_home', 'X-Forwarded-For', 'Upgrade', 'Expect', 'Accept', 'x-a'),
      fc.stringMatching(/^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,20}$/),
    );
    const value = fc.oneof(
      fc.constantFrom('chunked', '5', 'x-a, accept', 'upgrade', ''),
      fc.stringMatching(/^[ -~]{0,20}$/),
    );
    fc.assert(
      fc.property(fc.array(fc.tuple(name, value), { maxLength: 12 }), (pairs) => {
        const result = admit(request({}, ...pairs.flat()));
        if (result.kind === 'refused') return;
        for (let i = 0; i < result.endToEnd.length; i += 2) {
          const plain = (result.endToEnd[i] as string).toLowerCase().replace(/[^a-z0-9]/g, '-');
          expect(plain).not.toMatch(
            /^(lanekeeper(-|$)|x-forwarded-|forwarded$|host$|content-length$|transfer-encoding$)/,
          );
          expect(plain).not.toMatch(/^(connection|upgrade|te|expect|keep-alive|trailer|cookie)$/);
        }
      }),
      { seed: 20, numRuns: 2_000 },
    );
  });
});
