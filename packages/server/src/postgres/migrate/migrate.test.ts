import { expect, test } from 'vitest';
import { type Migration, pendingMigrations, readMigrations } from './index.ts';

const file = (number: number, checksum = `c${number}`): Migration => ({
  number,
  file: `00000${number}.sql`,
  sql: 'SELECT 1',
  checksum,
});

test('the files of the package are numbered without a gap', async () => {
  const migrations = await readMigrations();
  expect(migrations.map(({ number }) => number)).toEqual(migrations.map((_, index) => index + 1));
  expect(migrations[0]?.sql).toContain('CREATE SCHEMA lanekeeper');
  for (const { checksum } of migrations) expect(checksum).toMatch(/^[0-9a-f]{64}$/);
});

test('what was not applied yet is pending', () => {
  const { pending, problems } = pendingMigrations([file(1), file(2)], [file(1)]);
  expect(pending.map(({ number }) => number)).toEqual([2]);
  expect(problems).toEqual([]);
});

test('a changed file and a newer database are problems', () => {
  expect(pendingMigrations([file(1)], [file(1, 'other')]).problems).toMatchObject([{ kind: 'changed-file' }]);
  expect(pendingMigrations([file(1)], [file(1), file(2)]).problems).toMatchObject([{ kind: 'newer-database' }]);
});
