import { expect, test } from 'vitest';
import { cookieOf, DeskPass, deskPassAgeMs } from './desk-pass.ts';

const now = 1_800_000_000_000;

test('a pass opens the desk until it runs out, in every process with the same passphrase', () => {
  const pass = new DeskPass('the kiln is hot');
  const cookie = pass.issue(now);
  expect(new DeskPass('the kiln is hot').accepts(cookie, now + deskPassAgeMs - 1)).toBe(true);
  expect(pass.accepts(cookie, now + deskPassAgeMs)).toBe(false);
  expect(new DeskPass('the kiln is cold').accepts(cookie, now)).toBe(false);
});

test('nobody makes one up or makes one last', () => {
  const pass = new DeskPass('the kiln is hot');
  const [until = '', signature = ''] = pass.issue(now).split('.');
  const forged = [
    undefined,
    '',
    '.',
    until,
    `${until}.`,
    `${Number(until) + 1}.${signature}`,
    `${until}.${signature}x`,
  ];
  for (const cookie of [...forged, `1e12.${signature}`, `${signature}.${until}`]) {
    expect(pass.accepts(cookie, now), String(cookie)).toBe(false);
  }
  expect(pass.opens('the kiln is hot')).toBe(true);
  expect(pass.opens('the kiln is hot ')).toBe(false);
});

test('a cookie among others', () => {
  expect(cookieOf('a=1; desk=2=3; desk=4', 'desk')).toBe('2=3');
  expect(cookieOf('xdesk=1', 'desk')).toBeUndefined();
  expect(cookieOf(undefined, 'desk')).toBeUndefined();
});
