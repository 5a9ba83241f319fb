/** packages/server/sql/schema.sql shows what the numbered files make. When this fails: run it with -u and look at the diff. */
import { fileURLToPath } from 'node:url';
import { Client } from 'pg';
import { expect, test } from 'vitest';
import { applyMigration, readMigrations } from '../../packages/server/src/postgres/migrate/index.ts';
import { testDatabase } from '../support/clusters.ts';
import { dumpSchema } from '../support/dump-schema.ts';

test('schema.sql is what the migrations make', async () => {
  const database = await testDatabase();
  const client = new Client({ connectionString: database.urls.owner });
  try {
    await client.connect();
    for (const migration of await readMigrations()) await applyMigration(client, migration);
    const file = fileURLToPath(new URL('../../packages/server/sql/schema.sql', import.meta.url));
    await expect(await dumpSchema(client)).toMatchFileSnapshot(file);
  } finally {
    await client.end();
    await database.stop();
  }
});
