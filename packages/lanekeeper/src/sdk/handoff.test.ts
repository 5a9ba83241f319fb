import fc from 'fast-check';
import { expect, test } from 'vitest';
import { reachesHost } from '../session/index.ts';
import { findHandoff, handoffAddress } from './handoff.ts';

test('the token is taken out and the rest left as it was', () => {
  expect(findHandoff('/cart?lanekeeper-handoff=abc.def')).toEqual({ token: 'abc.def', clean: '/cart' });
  expect(findHandoff('/cart?a=%20&lanekeeper-handoff=t&b=1+2')).toEqual({ token: 't', clean: '/cart?a=%20&b=1+2' });
  expect(findHandoff('/cart?lanekeeper-handoffs=t')).toBeNull();
  expect(findHandoff('/cart')).toBeNull();
});

test('the way on is always on this host', () => {
  for (const path of ['//evil.example', '/\\evil.example', '/\t/evil.example', '/\n\\evil.example'])
    expect(findHandoff(`${path}?lanekeeper-handoff=t`)?.clean).toBe('/');
  expect(findHandoff('http://evil.example/?lanekeeper-handoff=t')).toBeNull();
  fc.assert(
    fc.property(
      fc.string({ unit: fc.constantFrom('/', '\\', '.', '?', '&', '\t', 'a', ':', '@', '%', '\u0000') }),
      (text) => {
        const found = findHandoff(`/${text}?lanekeeper-handoff=t`);
        if (found === null) return;
        expect(new URL(found.clean, 'http://shop.example').origin).toBe('http://shop.example');
      },
    ),
    { numRuns: 2_000 },
  );
});

test('an address in another data center is always of that data center', () => {
  const base = 'http://la.shop.example:8080';
  expect(handoffAddress(base, '/cart?a=1', 'tok.en')).toBe(`${base}/cart?a=1&lanekeeper-handoff=tok.en`);
  expect(handoffAddress(base, '/cart', null)).toBe(`${base}/cart`);
  fc.assert(
    fc.property(fc.string({ unit: fc.constantFrom('/', '\\', '.', '?', '#', '\t', 'a', ':', '@', '%') }), (path) => {
      expect(new URL(handoffAddress(base, path, 't')).origin).toBe(base);
    }),
  );
});

test('a cookie of the domain reaches the domain and what is below it', () => {
  for (const host of ['shop.example', 'ny.shop.example', 'NY.shop.example:8080'])
    expect(reachesHost('shop.example', host)).toBe(true);
  for (const host of ['notshop.example', 'example', '127.0.1.1:80', ''])
    expect(reachesHost('shop.example', host)).toBe(false);
  expect(reachesHost(null, 'shop.example')).toBe(false);
});
