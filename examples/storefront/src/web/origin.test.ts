import { expect, test } from 'vitest';
import { isOurOrigin } from './origin.ts';

const ours = ['https://ny.two-kilns.example', 'https://la.two-kilns.example'];
const post = (given: { origin?: string; secFetchSite?: string; host?: string }) =>
  isOurOrigin({
    method: 'POST',
    origin: given.origin,
    secFetchSite: given.secFetchSite,
    host: given.host ?? 'ny.two-kilns.example',
    ours,
  });

test('our pages may send forms, from either coast, and by whatever name they were reached', () => {
  expect(post({ origin: ours[0]! })).toBe(true);
  expect(post({ origin: ours[1]!, secFetchSite: 'same-site' })).toBe(true);
  expect(post({ origin: 'http://127.0.0.1:8080', host: '127.0.0.1:8080' })).toBe(true);
  expect(post({ secFetchSite: 'same-origin' })).toBe(true);
  expect(post({ secFetchSite: 'none' })).toBe(true);
});

test('programs say nothing of where they come from', () => {
  expect(post({})).toBe(true);
});

test('other pages may not, also not those next door', () => {
  for (const origin of ['https://evil.example', 'https://x.two-kilns.example', 'null', 'ny.two-kilns.example', '']) {
    expect(post({ origin }), origin).toBe(false);
  }
  expect(post({ secFetchSite: 'cross-site' })).toBe(false);
  expect(post({ secFetchSite: 'same-site' })).toBe(false);
});

test('looking is free', () => {
  expect(
    isOurOrigin({ method: 'GET', origin: 'https://evil.example', secFetchSite: 'cross-site', host: 'a', ours }),
  ).toBe(true);
});
