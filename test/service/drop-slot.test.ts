/** A slot is dropped while it is being read, by one who comes back at once, as a data center does that only lost its lease. */
import { Client } from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { dropSlot } from '../../packages/server/src/postgres/streams/drop.ts';
import { runSql, type TestCluster, type TestDatabase, testCluster } from '../support/clusters.ts';

const rounds = 3;
/** How often one comes back, and as soon as a worker could that is started at once. */
const comesBack = 10;
const afterMs = 20;

let cluster: TestCluster;
let database: TestDatabase;
let client: Client;

beforeAll(async () => {
  cluster = await testCluster({ settings: { max_wal_senders: rounds * comesBack + 2 } });
  database = await cluster.database();
  await runSql(database.urls.superuser, 'CREATE PUBLICATION p');
  client = await opened({});
});
afterAll(async () => {
  await client?.end();
  await cluster?.stop();
});

async function opened(more: { readonly replication?: 'database' }): Promise<Client> {
  const one = new Client({ connectionString: database.urls.replication, ...more } as ConstructorParameters<
    typeof Client
  >[0]);
  one.on('error', () => {});
  await one.connect();
  return one;
}

/** Each of them reads after the one before was ended. How many were, until the slot was gone. */
async function readInTurn(readers: readonly Client[]): Promise<number> {
  for (const [ended, reader] of readers.entries()) {
    for (let code: unknown = '55006'; code === '55006'; ) {
      code = await reader
        .query(`START_REPLICATION SLOT s LOGICAL 0/0 (proto_version '1', publication_names 'p')`)
        .then(() => null)
        .catch((error: { code?: unknown }) => error.code);
      if (code === '42704') return ended;
    }
    await new Promise((resolve) => setTimeout(resolve, afterMs));
  }
  return readers.length;
}

test('a slot is dropped before its reader is back, not when that has given up', async () => {
  const readers = await Promise.all(
    Array.from({ length: rounds * comesBack }, () => opened({ replication: 'database' })),
  );
  try {
    for (let round = 0; round < rounds; round += 1) {
      await client.query("SELECT pg_create_logical_replication_slot('s', 'pgoutput')");
      const reading = readInTurn(readers.slice(round * comesBack, (round + 1) * comesBack));
      await expect
        .poll(() => runSql(database.urls.superuser, 'SELECT active FROM pg_replication_slots'))
        .toEqual([{ active: true }]);
      await dropSlot(client, 's');
      expect(await reading).toBeLessThan(comesBack);
      expect(await runSql(database.urls.superuser, 'SELECT FROM pg_replication_slots')).toEqual([]);
    }
  } finally {
    await Promise.all(readers.map((reader) => reader.end().catch(() => {})));
  }
});

test('one that nobody reads is dropped as well, and one that is not there is no failure', async () => {
  await client.query("SELECT pg_create_logical_replication_slot('idle', 'pgoutput')");
  for (let time = 0; time < 2; time += 1) await dropSlot(client, 'idle');
  expect(await runSql(database.urls.superuser, 'SELECT FROM pg_replication_slots')).toEqual([]);
});
