/** The SDK's own connections, to a database that is away for a while. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Databases } from '../../packages/lanekeeper/src/sdk/databases.ts';
import { testDatabase } from '../support/clusters.ts';

let database: Awaited<ReturnType<typeof testDatabase>>;
let databases: Databases;

beforeAll(async () => {
  database = await testDatabase();
  const urls = new Map([['ny', database.urls.application]]);
  databases = new Databases({ here: 'ny', urls, applicationName: 'test' });
});
afterAll(async () => {
  await databases?.close();
  await database?.stop();
});

test('one that could not be reached is left alone for a moment, and no longer than until it answers', async () => {
  await database.cluster.kill();
  expect(await databases.ask('ny', 'SELECT 1', [])).toMatchObject({ kind: 'unavailable' });
  expect(databases.rests('ny')).toBe(true);
  await database.cluster.start();
  await expect.poll(() => databases.askAnyway('ny', 'SELECT 1 AS one', [])).toMatchObject({ kind: 'answered' });
  expect(databases.rests('ny')).toBe(false);
});
