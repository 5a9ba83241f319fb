import { expect, test } from 'vitest';
import { judgeSettings } from './settings.ts';

const setting = (name: string, value: string) => [name, { name, value, unit: null, context: 'sighup' }] as const;
const codes = (version: number, ...settings: ReturnType<typeof setting>[]) =>
  judgeSettings({ version, settings: new Map(settings), roles: { application: 'shop' } }, 1).map(
    ({ code, severity }) => `${severity} ${code}`,
  );

test.each([
  [150_012, ['error server-version']],
  [160_014, ['advice conflicts-uncounted']],
  [170_010, ['advice conflicts-uncounted']],
  [180_004, []],
])('what PostgreSQL %i lacks is said, and no setting that it does not have', (version, expected) => {
  expect(codes(version)).toEqual(expected);
});

test('until 18 there is one limit for slots and origins', () => {
  expect(codes(170_010, setting('max_replication_slots', '2'))).toContain('error setting-max_replication_slots');
  expect(codes(180_004, setting('max_active_replication_origins', '1'))).toEqual([
    'error setting-max_active_replication_origins',
  ]);
});
