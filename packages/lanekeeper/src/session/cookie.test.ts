import { describe, expect, test } from 'vitest';
import { clearCookies, cookieFor, findSessionCookie, serializeCookie } from './cookie.ts';

const shared = { cookie: 'lanekeeper', domain: 'shop.example', maxAgeMs: 60_000 };
const apart = { ...shared, domain: null };

test.each<[string, typeof shared | typeof apart, string, boolean, string]>([
  [
    'under the parent domain',
    shared,
    'ny.shop.example',
    true,
    '__Secure-lanekeeper=T; Domain=shop.example; Path=/; Max-Age=60; HttpOnly; Secure; SameSite=Lax',
  ],
  [
    'the parent domain itself, with port',
    shared,
    'Shop.Example:8443',
    true,
    '__Secure-lanekeeper=T; Domain=shop.example; Path=/; Max-Age=60; HttpOnly; Secure; SameSite=Lax',
  ],
  [
    'a domain that only ends alike',
    shared,
    'evilshop.example',
    true,
    '__Host-lanekeeper=T; Path=/; Max-Age=60; HttpOnly; Secure; SameSite=Lax',
  ],
  [
    'another host',
    shared,
    'shop.test',
    true,
    '__Host-lanekeeper=T; Path=/; Max-Age=60; HttpOnly; Secure; SameSite=Lax',
  ],
  [
    'no parent domain',
    apart,
    'ny.shop.example',
    true,
    '__Host-lanekeeper=T; Path=/; Max-Age=60; HttpOnly; Secure; SameSite=Lax',
  ],
  [
    'localhost over http',
    apart,
    'localhost:3000',
    false,
    '__Host-lanekeeper=T; Path=/; Max-Age=60; HttpOnly; Secure; SameSite=Lax',
  ],
  [
    'a name under localhost over http',
    { ...shared, domain: 'shop.localhost' },
    'ny.shop.localhost:3000',
    false,
    '__Secure-lanekeeper=T; Domain=shop.localhost; Path=/; Max-Age=60; HttpOnly; Secure; SameSite=Lax',
  ],
  ['an address over http', shared, '127.0.1.1:3000', false, 'lanekeeper=T; Path=/; Max-Age=60; HttpOnly; SameSite=Lax'],
  [
    'an IPv6 address over http',
    shared,
    '[::1]:3000',
    false,
    'lanekeeper=T; Path=/; Max-Age=60; HttpOnly; SameSite=Lax',
  ],
  [
    'an address over https',
    shared,
    '10.0.0.1',
    true,
    '__Host-lanekeeper=T; Path=/; Max-Age=60; HttpOnly; Secure; SameSite=Lax',
  ],
  [
    'the parent domain over http',
    shared,
    'ny.shop.example',
    false,
    'lanekeeper=T; Domain=shop.example; Path=/; Max-Age=60; HttpOnly; SameSite=Lax',
  ],
])('%s', (_name, settings, host, secure, expected) => {
  expect(serializeCookie(cookieFor(settings, host, secure), 'T', settings.maxAgeMs)).toBe(expected);
});

test('signing out ends every cookie that could be there, each once', () => {
  const cleared = clearCookies(shared, 'ny.shop.example', true);
  expect(cleared).toEqual([
    '__Secure-lanekeeper=; Domain=shop.example; Path=/; Max-Age=0; HttpOnly; Secure; SameSite=Lax',
    '__Host-lanekeeper=; Path=/; Max-Age=0; HttpOnly; Secure; SameSite=Lax',
    '__Secure-lanekeeper=; Path=/; Max-Age=0; HttpOnly; Secure; SameSite=Lax',
    'lanekeeper=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax',
  ]);
  expect(clearCookies(apart, '127.0.0.1', false)).toEqual(['lanekeeper=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax']);
});

describe('finding the session in a Cookie header', () => {
  test.each<[string, string | undefined, string]>([
    ['nothing', undefined, 'none'],
    ['empty', '', 'none'],
    ['others only', 'a=b; c=d', 'none'],
    ['alone', '__Host-lanekeeper=T', 'T'],
    ['shared', 'a=b; __Secure-lanekeeper=T; c=d', 'T'],
    ['plain', 'lanekeeper=T;a=b', 'T'],
    ['without blanks, with many', ';;  lanekeeper =T ;', 'T'],
    ['a value with =', 'lanekeeper=a=b', 'a=b'],
    ['a name that ends alike', 'xlanekeeper=T; __Evil-lanekeeper=T; lanekeeper2=T', 'none'],
    ['a prefix in another spelling', '__host-lanekeeper=T; __SECURE-lanekeeper=T', 'none'],
    ['a name without value', 'lanekeeper; a=b', 'none'],
    ['the name inside a value', 'a=lanekeeper=T', 'none'],
    ['twice', 'lanekeeper=T; lanekeeper=T', 'duplicate-cookie'],
    ['twice under two names', '__Host-lanekeeper=T; a=b; __Secure-lanekeeper=U', 'duplicate-cookie'],
    ['once empty, once not', 'lanekeeper=; lanekeeper=T', 'duplicate-cookie'],
    ['at the limit', `lanekeeper=T; a=${'x'.repeat(16_384 - 16)}`, 'T'],
    ['beyond the limit', `lanekeeper=T; a=${'x'.repeat(16_384 - 15)}`, 'cookie-too-long'],
    ['a megabyte', 'lanekeeper=T;'.repeat(100_000), 'cookie-too-long'],
  ])('%s', (_name, header, expected) => {
    const result = findSessionCookie('lanekeeper', header);
    expect(result.kind === 'found' ? result.token : result.kind === 'refused' ? result.reason : result.kind).toBe(
      expected,
    );
  });
});
