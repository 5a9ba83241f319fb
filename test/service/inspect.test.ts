/** `readCatalog` on a database with everything that makes catalogs hard to read. */
import {
  type Catalog,
  constraintHashes,
  readCatalog,
  schemaHash,
  type TableInfo,
  tableHashes,
} from '@lanekeeper/server/postgres';
import { Client } from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { runSql, type TestCluster, type TestDatabase, testCluster } from '../support/clusters.ts';
import { twoDataCenters } from '../support/fenced.ts';
import { postgresMajor } from '../support/version.ts';

const schema = `
  CREATE SCHEMA "Other Schema";
  CREATE TYPE "Other Schema"."Mood" AS ENUM ('ok');
  CREATE DOMAIN positive AS int CHECK (VALUE > 0);
  CREATE TABLE "Wörter ""mit"" Zeichen" (
    "Das Ding" int GENERATED ALWAYS AS IDENTITY, b varchar(20) NOT NULL, gone int, mood "Other Schema"."Mood"[], p positive,
    doubled int GENERATED ALWAYS AS (2) STORED, PRIMARY KEY (b, "Das Ding"));
  ALTER TABLE "Wörter ""mit"" Zeichen" DROP COLUMN gone;
  CREATE TABLE "Other Schema".child (id serial PRIMARY KEY, ding int, b varchar(20), n numeric(10, 2),
    CONSTRAINT "The Key" FOREIGN KEY (b, ding) REFERENCES "Wörter ""mit"" Zeichen" (b, "Das Ding") ON DELETE CASCADE);
  CREATE UNIQUE INDEX child_lower ON "Other Schema".child (lower(b), n) INCLUDE (ding);
  CREATE UNIQUE INDEX child_partial ON "Other Schema".child (n) WHERE n > 0;
  CREATE INDEX child_plain ON "Other Schema".child (n, ding);
  CREATE TABLE events (at date NOT NULL, id bigint NOT NULL, child int REFERENCES "Other Schema".child, PRIMARY KEY (at, id)) PARTITION BY RANGE (at);
  CREATE TABLE events_old PARTITION OF events FOR VALUES FROM (MINVALUE) TO ('2026-01-01') PARTITION BY HASH (id);
  CREATE TABLE events_old_0 PARTITION OF events_old FOR VALUES WITH (MODULUS 1, REMAINDER 0);
  CREATE TABLE notes (event_at date, event_id bigint, FOREIGN KEY (event_at, event_id) REFERENCES events);
  CREATE TABLE parent (a int); CREATE TABLE heir (b int) INHERITS (parent);
  CREATE UNLOGGED TABLE fast (id int); ALTER TABLE fast REPLICA IDENTITY FULL;
  CREATE SEQUENCE numbers INCREMENT 5 MAXVALUE 1000 CYCLE; CREATE TABLE numbered (n bigint DEFAULT nextval('numbers'));
  SELECT nextval('numbers'); SELECT nextval('numbers');
  CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
  CREATE TRIGGER "Z" AFTER INSERT ON parent EXECUTE FUNCTION nothing(); ALTER TABLE parent DISABLE TRIGGER "Z";
  CREATE VIEW looks AS SELECT 1 AS one; CREATE MATERIALIZED VIEW stored AS SELECT 1 AS one;
`;

let cluster: TestCluster;
let database: TestDatabase;
let catalog: Catalog;
beforeAll(async () => {
  cluster = await testCluster();
  database = await cluster.database({ schema });
  catalog = await read(database);
});
afterAll(() => cluster?.stop());

async function read({ urls }: TestDatabase, prepare = ''): Promise<Catalog> {
  const client = new Client({ connectionString: urls.owner });
  await client.connect();
  try {
    await client.query(prepare);
    return await readCatalog(client);
  } finally {
    await client.end();
  }
}

const table = (name: string): TableInfo => catalog.tables.get(name) as TableInfo;

test('every table of the user, and nothing else', () => {
  expect([...catalog.tables.keys()].sort()).toEqual([
    'Other Schema.child',
    'public.Wörter "mit" Zeichen',
    'public.events',
    'public.events_old',
    'public.events_old_0',
    'public.fast',
    'public.heir',
    'public.notes',
    'public.numbered',
    'public.parent',
  ]);
  expect(Math.floor(catalog.serverVersion / 10_000)).toBe(postgresMajor);
});

test('odd names, dropped columns, user types, identity and generated columns, composite keys in their order', () => {
  const odd = table('public.Wörter "mit" Zeichen');
  expect(odd).toMatchObject({
    schema: 'public',
    relation: 'Wörter "mit" Zeichen',
    owner: 'lanekeeper_owner',
    kind: 'table',
    primaryKey: ['b', 'Das Ding'],
  });
  expect(odd.columns).toEqual([
    { name: 'Das Ding', type: 'integer', notNull: true, generated: false, identity: 'always' },
    { name: 'b', type: 'character varying(20)', notNull: true, generated: false, identity: null },
    { name: 'mood', type: '"Other Schema"."Mood"[]', notNull: false, generated: false, identity: null },
    { name: 'p', type: 'public.positive', base: 'integer', notNull: false, generated: false, identity: null },
    { name: 'doubled', type: 'integer', notNull: false, generated: true, identity: null },
  ]);
});

test('types are qualified alike whatever the search_path', async () => {
  const elsewhere = await read(database, `SET search_path = "Other Schema"`);
  expect(elsewhere.tables.get('public.Wörter "mit" Zeichen')?.columns).toEqual(
    table('public.Wörter "mit" Zeichen').columns,
  );
});

test('foreign keys once each, also those that point at a partitioned table; unique indexes with what they hide', () => {
  const child = table('Other Schema.child');
  expect(child.foreignKeys).toEqual([
    {
      name: 'The Key',
      columns: ['b', 'ding'],
      references: 'public.Wörter "mit" Zeichen',
      referencedColumns: ['b', 'Das Ding'],
      onDelete: 'cascade',
    },
  ]);
  expect(child.uniqueIndexes).toEqual([
    { name: 'child_lower', columns: ['n'], primary: false, partialOrExpression: true },
    { name: 'child_partial', columns: ['n'], primary: false, partialOrExpression: true },
    { name: 'child_pkey', columns: ['id'], primary: true, partialOrExpression: false },
  ]);
  expect(child.indexes).toContainEqual(['n', 'ding']);
  expect(table('public.notes').foreignKeys).toMatchObject([
    { columns: ['event_at', 'event_id'], references: 'public.events' },
  ]);
  expect(table('public.events_old_0').foreignKeys).toMatchObject([
    { columns: ['child'], references: 'Other Schema.child' },
  ]);
});

test('partitions know their parent; what merely inherits does not', () => {
  expect(table('public.events')).toMatchObject({ kind: 'partitioned', partitionOf: null });
  expect(table('public.events_old')).toMatchObject({ kind: 'partitioned', partitionOf: 'public.events' });
  expect(table('public.events_old_0')).toMatchObject({ kind: 'table', partitionOf: 'public.events_old' });
  expect(table('public.heir')).toMatchObject({ kind: 'table', partitionOf: null });
  expect(table('public.fast')).toMatchObject({ unlogged: true, replicaIdentity: 'f', primaryKey: [] });
  expect(table('public.parent').triggers).toEqual([{ name: 'Z', enabled: 'D' }]);
});

test('sequences with the column they number, owned or not', () => {
  const sequence = (name: string) => catalog.sequences.get(name);
  expect(sequence('Other Schema.child_id_seq')).toMatchObject({
    type: 'integer',
    increment: 1n,
    lastValue: null,
    table: 'Other Schema.child',
    column: 'id',
  });
  expect(sequence('public.Wörter "mit" Zeichen_Das Ding_seq')).toMatchObject({ column: 'Das Ding' });
  expect(sequence('public.numbers')).toMatchObject({
    type: 'bigint',
    increment: 5n,
    lastValue: 6n,
    startValue: 1n,
    maxValue: 1000n,
    cycle: true,
    table: 'public.numbered',
    column: 'n',
  });
});

test('the schema hash does not see the order of columns, nor partitions; it sees types and keys, and by itself what is allowed', async () => {
  const configuration = twoDataCenters({
    tables: {
      a: { class: 'system-of-record', account: 'id', root: true },
      b: { class: 'system-of-record', account: 'account' },
    },
  });
  const hashes = async (sql: string) => {
    const one = await cluster.database({ schema: sql });
    const found = await read(one);
    return {
      all: schemaHash(found, configuration),
      tables: tableHashes(found, configuration),
      constraints: constraintHashes(found, configuration),
    };
  };
  const partitioned = 'PARTITION BY LIST (account)';
  const first = await hashes(
    `CREATE TABLE a (id text PRIMARY KEY, n int); CREATE TABLE b (account text PRIMARY KEY, x int) ${partitioned}`,
  );
  const same =
    await hashes(`CREATE TABLE a (dropped int, n int, id text PRIMARY KEY); ALTER TABLE a DROP COLUMN dropped;
    CREATE TABLE b (x int, account text PRIMARY KEY) ${partitioned}; CREATE TABLE b1 PARTITION OF b DEFAULT`);
  expect(same).toEqual(first);
  const wider = await hashes(
    `CREATE TABLE a (id text PRIMARY KEY, n bigint); CREATE TABLE b (account text PRIMARY KEY, x int) ${partitioned}`,
  );
  expect(wider.tables['public.b']).toBe(first.tables['public.b']);
  expect(wider.tables['public.a']).not.toBe(first.tables['public.a']);
  expect(wider.all).not.toBe(first.all);
  const unique = await hashes(
    `CREATE TABLE a (id text PRIMARY KEY, n int UNIQUE); CREATE TABLE b (account text PRIMARY KEY, x int NOT NULL) ${partitioned}`,
  );
  expect(unique.tables).toEqual(first.tables);
  expect(unique.constraints['public.a']).not.toBe(first.constraints['public.a']);
  expect(unique.constraints['public.b']).not.toBe(first.constraints['public.b']);
  expect(unique.all).not.toBe(first.all);
});

test('a database with 300 tables is read in three questions', async () => {
  const many = await cluster.database();
  await runSql(
    many.urls.owner,
    `DO $$ BEGIN FOR n IN 1..300 LOOP EXECUTE format('CREATE TABLE t%s (id bigserial PRIMARY KEY)', n); END LOOP; END $$`,
  );
  const client = new Client({ connectionString: many.urls.owner });
  await client.connect();
  let questions = 0;
  const counting = new Proxy(client, {
    get: (target, key) => {
      if (key !== 'query') return Reflect.get(target, key);
      return (text: string) => {
        questions += 1;
        return target.query(text);
      };
    },
  });
  const found = await readCatalog(counting);
  await client.end();
  expect([found.tables.size, found.sequences.size, questions]).toEqual([300, 300, 3]);
});
