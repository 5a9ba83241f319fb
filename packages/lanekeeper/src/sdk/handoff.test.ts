import fc from 'fast-check';
import { expect, test } from 'vitest';
import { findHandoff } from './handoff.ts';

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
