import { expect, test } from 'vitest';
import { hashConnection, isSameConnection, subscriptionConnection } from './connection.ts';

const url = 'postgres://replication:p%40ss@ny.example:5432/shop?sslmode=verify-full';

test('what a person wrote stays, and who reads is said', () => {
  const connection = new URL(subscriptionConnection(url, 'lanekeeper_la_homed'));
  expect(Object.fromEntries(connection.searchParams)).toEqual({
    sslmode: 'verify-full',
    application_name: 'lanekeeper_la_homed',
    connect_timeout: '5',
  });
  expect(connection.password).toBe('p%40ss');
  expect(subscriptionConnection(`${url}&connect_timeout=30`, 'x')).toContain('connect_timeout=30');
});

test('the stored hash knows the same string again, and shows nothing of it', () => {
  const stored = hashConnection(url);
  expect(isSameConnection(url, stored)).toBe(true);
  expect(isSameConnection(url.replace('p%40ss', 'other'), stored)).toBe(false);
  expect(hashConnection(url)).not.toBe(stored);
  expect(stored).not.toContain('p%40ss');
  expect(isSameConnection(url, 'nonsense')).toBe(false);
});
