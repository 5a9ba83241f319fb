import { afterAll, beforeAll, expect, test } from 'vitest';
import { runSql, type TestDatabase, testDatabase } from './clusters.ts';

let database: TestDatabase & { stop(): Promise<void> };

beforeAll(async () => {
  database = await testDatabase({
    schema: 'CREATE TABLE accounts (id text PRIMARY KEY); GRANT SELECT ON accounts TO lanekeeper_application',
  });
});
afterAll(() => database?.stop());

test('the schema belongs to the owner and the application has what it was granted', async () => {
  const { owner, application } = database.urls;
  await runSql(owner, "INSERT INTO accounts VALUES ('a1')");
  expect(await runSql(application, 'SELECT id FROM accounts')).toEqual([{ id: 'a1' }]);
  await expect(runSql(application, 'DELETE FROM accounts')).rejects.toMatchObject({ code: '42501' });
});
