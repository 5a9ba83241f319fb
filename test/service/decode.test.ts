/** What was written in a real PostgreSQL, read out of a slot: every type, key, identity and size of transaction. */
import {
  type Change,
  type DecodedTransaction,
  keyOf,
  type PeekOptions,
  peekTransactions,
  unchanged,
} from '@lanekeeper/server/postgres';
import { Client } from 'pg';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { type PgoutputMessage, parseMessage } from '../../packages/server/src/postgres/decode/index.ts';
import { awkwardTypes, awkwardValues, createAwkwardTypes } from '../support/awkward-values.ts';
import { runSql, type TestCluster, type TestDatabase, testCluster } from '../support/clusters.ts';
import { encodeMessage } from '../support/pgoutput-encoder.ts';

let cluster: TestCluster;
let database: TestDatabase;
let client: Client;

beforeAll(async () => {
  cluster = await testCluster();
});
afterAll(() => cluster?.stop());
beforeEach(async () => {
  database = await cluster.database();
  client = new Client({ connectionString: database.urls.replication });
  await client.connect();
  return async () => {
    await client.end();
    await dropSlots();
  };
});

const run = <Row = Record<string, unknown>>(sql: string, values?: readonly unknown[]) =>
  runSql<Row>(database.urls.superuser, sql, values);

async function dropSlots(): Promise<void> {
  await run(
    `SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE NOT temporary AND database = current_database()`,
  );
}

/** Tables, published, and a slot that begins now. */
async function prepare(schema: string, publish = 'FOR ALL TABLES'): Promise<void> {
  await run(schema);
  await run(`CREATE PUBLICATION p ${publish}`);
  await run(`SELECT pg_create_logical_replication_slot('s', 'pgoutput')`);
}

const defaults: PeekOptions = { slot: 's', publications: ['p'], afterEndLsn: '0/0' };

async function open(options: Partial<PeekOptions> = {}) {
  const result = await peekTransactions(client, { ...defaults, ...options });
  if (result.kind !== 'opened') throw new Error(JSON.stringify(result));
  return result;
}

type Read = Omit<DecodedTransaction, 'changes'> & { readonly changes: readonly Change[] };

async function read(options: Partial<PeekOptions> = {}): Promise<Read[]> {
  const all: Read[] = [];
  for await (const { changes, ...transaction } of (await open(options)).transactions) {
    const read: Change[] = [];
    for await (const some of changes) read.push(...some);
    all.push({ ...transaction, changes: read });
  }
  return all;
}

async function changes(options: Partial<PeekOptions> = {}): Promise<Change[]> {
  return (await read(options)).flatMap((transaction) => transaction.changes);
}

/** A change as one line, as far as a test cares. */
function shown(change: Change): string {
  const row = (values: ReadonlyMap<string, unknown> | null) =>
    values === null
      ? '-'
      : [...values].map(([name, value]) => `${name}=${value === unchanged ? '?' : value}`).join(' ');
  const parts: string[] = [change.kind, change.relation.name];
  if (change.kind === 'update' || change.kind === 'delete') parts.push(`[${row(change.old)}]`);
  if (change.kind === 'update' || change.kind === 'insert') parts.push(row(change.new));
  return parts.join(' ');
}

describe('values', () => {
  test('of every type are text that PostgreSQL reads as the same value again, to the bit', async () => {
    await run(createAwkwardTypes);
    const types = await awkwardTypes(database.urls.superuser);
    const columns = types.map((type, index) => `"c${index}" ${type}`).join(', ');
    await prepare(`CREATE TABLE t (id int PRIMARY KEY, ${columns}); CREATE TABLE copied (LIKE t)`);
    const rows = Math.max(...types.map((type) => (awkwardValues[type] as readonly string[]).length));
    for (let id = 0; id < rows; id += 1) {
      const values = types.map((type) => (awkwardValues[type] as readonly string[])[id] ?? null);
      const casts = types.map((type, index) => `$${index + 1}::${type}`).join(', ');
      await run(`INSERT INTO t VALUES (${id}, ${casts})`, values);
    }
    // The session that reads has settings of its own, which must not show.
    await client.query(`SET DateStyle = 'SQL, DMY'; SET IntervalStyle = 'sql_standard'; SET extra_float_digits = -5;
      SET bytea_output = 'escape'; SET TimeZone = 'Asia/Kathmandu'`);
    const inserted = await changes();
    expect(inserted).toHaveLength(rows);
    for (const change of inserted) {
      if (change.kind !== 'insert') throw new Error(change.kind);
      const values = [...change.new.values()];
      const casts = ['int', ...types].map((type, index) => `$${index + 1}::${type}`).join(', ');
      await run(`INSERT INTO copied VALUES (${casts})`, values);
    }
    const names = types.map(
      (type, index) =>
        `CASE WHEN NOT record_image_eq(ROW(a."c${index}"), ROW(b."c${index}")) THEN '${type.replaceAll("'", "''")}' END`,
    );
    const differing = await run<{ which: string }>(
      `SELECT a.id, concat_ws(', ', ${names.join(', ')}) AS which FROM t a JOIN copied b USING (id)
        WHERE concat_ws('', ${names.join(', ')}) <> ''`,
    );
    expect(differing).toEqual([]);
    expect(await run('SELECT FROM t JOIN copied USING (id)')).toHaveLength(rows);
  });

  test('JSON null, an empty text and NULL are three things', async () => {
    await prepare('CREATE TABLE t (id int PRIMARY KEY, j json, b jsonb, s text)');
    await run(`INSERT INTO t VALUES (1, 'null', 'null', ''), (2, NULL, NULL, NULL)`);
    const rows = (await changes()).map((change) => change.kind === 'insert' && [...change.new.values()]);
    expect(rows).toEqual([
      ['1', 'null', 'null', ''],
      ['2', null, null, null],
    ]);
  });

  test('stored out of line and not changed: marked; with identity full filled in from the old row', async () => {
    await prepare('CREATE TABLE t (id int PRIMARY KEY, n int, big text); ALTER TABLE t ALTER big SET STORAGE EXTERNAL');
    await run(`INSERT INTO t VALUES (1, 0, repeat('x', 5000))`);
    await run('UPDATE t SET n = 1');
    await run('ALTER TABLE t REPLICA IDENTITY FULL');
    await run('UPDATE t SET n = 2');
    await run(`UPDATE t SET big = 'small'`);
    const [, first, second, third] = await changes();
    expect(shown(first as Change)).toBe('update t [-] id=1 n=1 big=?');
    expect(shown(second as Change)).toBe(
      `update t [id=1 n=1 big=${'x'.repeat(5000)}] id=1 n=2 big=${'x'.repeat(5000)}`,
    );
    expect(shown(third as Change)).toBe(`update t [id=1 n=2 big=${'x'.repeat(5000)}] id=1 n=2 big=small`);
  });

  test('a generated column is not in the log', async () => {
    await prepare('CREATE TABLE t (id int PRIMARY KEY, g int GENERATED ALWAYS AS (id * 2) STORED, v text)');
    await run(`INSERT INTO t (id, v) VALUES (1, 'x')`);
    expect((await changes()).map(shown)).toEqual(['insert t id=1 v=x']);
  });

  test('columns and types are told as they were when the change was made', async () => {
    await prepare('CREATE TABLE t (id int PRIMARY KEY, v varchar(7))');
    await run(`INSERT INTO t VALUES (1, 'x')`);
    await run(`ALTER TABLE t ADD w numeric(5, 2) DEFAULT 7; ALTER TABLE t RENAME v TO renamed`);
    await run(`INSERT INTO t VALUES (2, 'y')`);
    const [before, after] = await changes();
    expect(before?.relation).toMatchObject({
      schema: 'public',
      name: 't',
      identity: 'default',
      key: ['id'],
      columns: [
        { name: 'id', typeOid: 23, typeModifier: -1 },
        { name: 'v', typeOid: 1043, typeModifier: 11 },
      ],
    });
    expect(shown(before as Change)).toBe('insert t id=1 v=x');
    expect(shown(after as Change)).toBe('insert t id=2 renamed=y w=7.00');
    await run('DROP TABLE t');
    expect((await changes()).map(shown)).toEqual(['insert t id=1 v=x', 'insert t id=2 renamed=y w=7.00']);
  });
});

describe('keys', () => {
  test('composite, in the order of the index; changed ones before and after', async () => {
    await prepare('CREATE TABLE t (b int, v text, a text, PRIMARY KEY (a, b))');
    await run(`INSERT INTO t VALUES (1, 'x', 'k')`);
    await run(`UPDATE t SET v = 'y'`);
    await run('UPDATE t SET b = 2');
    await run('DELETE FROM t');
    const all = await changes();
    expect(all.map(shown)).toEqual([
      'insert t b=1 v=x a=k',
      'update t [-] b=1 v=y a=k',
      'update t [b=1 a=k] b=2 v=y a=k',
      'delete t [b=2 a=k]',
    ]);
    const columns = ['a', 'b'];
    expect(all.map(keyOf)).toEqual([
      { columns, old: null, new: ['k', '1'] },
      { columns, old: ['k', '1'], new: ['k', '1'] },
      { columns, old: ['k', '1'], new: ['k', '2'] },
      { columns, old: ['k', '2'], new: null },
    ]);
  });

  test('by an index of the identity, with columns only included in it', async () => {
    await prepare(`CREATE TABLE t (id int PRIMARY KEY, v text, x int NOT NULL, y text NOT NULL);
      CREATE UNIQUE INDEX by_y ON t (y, x) INCLUDE (v); ALTER TABLE t REPLICA IDENTITY USING INDEX by_y`);
    await run(`INSERT INTO t VALUES (1, 'v', 2, 'w')`);
    await run('UPDATE t SET id = 5');
    await run('UPDATE t SET x = 3');
    await run('DELETE FROM t');
    const all = await changes();
    expect(all[0]?.relation).toMatchObject({ identity: 'index', key: ['y', 'x'] });
    expect(all.map(keyOf).map((key) => [key?.old, key?.new])).toEqual([
      [null, ['w', '2']],
      [
        ['w', '2'],
        ['w', '2'],
      ],
      [
        ['w', '2'],
        ['w', '3'],
      ],
      [['w', '3'], null],
    ]);
  });

  test('identity full: the whole old row, the primary key as key; without a primary key none', async () => {
    await prepare(`CREATE TABLE t (v text, id int PRIMARY KEY); ALTER TABLE t REPLICA IDENTITY FULL;
      CREATE TABLE bare (a int, b int); ALTER TABLE bare REPLICA IDENTITY FULL`);
    await run(
      `INSERT INTO t VALUES ('x', 1); UPDATE t SET id = 2; INSERT INTO bare VALUES (1, NULL); DELETE FROM bare`,
    );
    const all = await changes();
    expect(all.map(shown)).toEqual([
      'insert t v=x id=1',
      'update t [v=x id=1] v=x id=2',
      'insert bare a=1 b=null',
      'delete bare [a=1 b=null]',
    ]);
    expect(all.map(keyOf)).toEqual([
      { columns: ['id'], old: null, new: ['1'] },
      { columns: ['id'], old: ['1'], new: ['2'] },
      null,
      null,
    ]);
  });

  test('so long that they are stored out of line', async () => {
    await prepare('CREATE TABLE t (k text PRIMARY KEY, n int); ALTER TABLE t ALTER k SET STORAGE EXTERNAL');
    const key = 'k'.repeat(2200);
    await run('INSERT INTO t VALUES ($1, 0)', [key]);
    await run('UPDATE t SET n = 1');
    await run('DELETE FROM t');
    expect((await changes()).map(keyOf)).toEqual([
      { columns: ['k'], old: null, new: [key] },
      { columns: ['k'], old: [key], new: [key] },
      { columns: ['k'], old: [key], new: null },
    ]);
  });

  test('names that need quotes', async () => {
    const [schema, table, key] = ['S "x" ü', "t'.\\ä%", '__proto__'];
    const quoted = (name: string) => `"${name.replaceAll('"', '""')}"`;
    await run(
      `CREATE SCHEMA ${quoted(schema)}; CREATE TABLE ${quoted(schema)}.${quoted(table)} (${quoted(key)} text PRIMARY KEY, "A b" text)`,
    );
    await run(`CREATE PUBLICATION "P, ""p""" FOR ALL TABLES`);
    await run(`SELECT pg_create_logical_replication_slot('s', 'pgoutput')`);
    await run(`INSERT INTO ${quoted(schema)}.${quoted(table)} VALUES ('1', 'x')`);
    const [change] = await changes({ publications: ['P, "p"'] });
    expect(change?.relation).toMatchObject({ schema, name: table, key: [key] });
    expect(change?.kind === 'insert' && [...change.new]).toEqual([
      [key, '1'],
      ['A b', 'x'],
    ]);
    expect(keyOf(change as Change)?.new).toEqual(['1']);
  });

  test.each([
    [true, ['insert t id=1 at=1 v=x', 'insert t id=2 at=11 v=y', 'delete t [id=1 at=1]', 'insert t id=1 at=12 v=x']],
    [
      false,
      ['insert t0 id=1 at=1 v=x', 'insert t1 at=11 v=y id=2', 'delete t0 [id=1 at=1]', 'insert t1 at=12 v=x id=1'],
    ],
  ])('of partitions; publish_via_partition_root = %s', async (viaRoot, expected) => {
    await prepare(
      `CREATE TABLE t (id int, at int, v text, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
       CREATE TABLE t0 PARTITION OF t FOR VALUES FROM (0) TO (10);
       CREATE TABLE t1 (at int NOT NULL, v text, id int NOT NULL);
       ALTER TABLE t ATTACH PARTITION t1 FOR VALUES FROM (10) TO (20)`,
      `FOR TABLE t WITH (publish_via_partition_root = ${viaRoot})`,
    );
    await run(`INSERT INTO t VALUES (1, 1, 'x'), (2, 11, 'y')`);
    await run('UPDATE t SET at = 12 WHERE id = 1');
    const all = await changes();
    expect(all.map(shown)).toEqual(expected);
    expect(all.map((change) => change.relation.key)).toEqual(Array(4).fill(['id', 'at']));
  });

  test('TRUNCATE is told for each table', async () => {
    await prepare('CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE u (id int PRIMARY KEY REFERENCES t)');
    await run('TRUNCATE t RESTART IDENTITY CASCADE');
    const all = await changes();
    expect(all.map((change) => [change.kind, change.relation.name]).sort()).toEqual([
      ['truncate', 't'],
      ['truncate', 'u'],
    ]);
    expect(all[0]).toMatchObject({ cascade: true, restartIdentity: true });
  });
});

describe('transactions', () => {
  const kv = 'CREATE TABLE t (id int PRIMARY KEY, v text)';

  test('whole ones, in the order of their commits, without what was rolled back', async () => {
    await prepare(kv);
    const [first, second] = [database.urls.superuser, database.urls.superuser].map(
      (connectionString) => new Client({ connectionString }),
    ) as [Client, Client];
    await first.connect();
    await second.connect();
    await first.query(`BEGIN; INSERT INTO t VALUES (1); SAVEPOINT a; INSERT INTO t VALUES (2); ROLLBACK TO a`);
    await second.query(`BEGIN; INSERT INTO t VALUES (3); COMMIT; BEGIN; INSERT INTO t VALUES (4); ROLLBACK`);
    const began = Date.now();
    await first.query(`SAVEPOINT b; INSERT INTO t VALUES (5); RELEASE b; COMMIT`);
    await first.end();
    await second.end();
    const all = await read();
    expect(all.map((transaction) => transaction.changes.map(shown))).toEqual([
      ['insert t id=3 v=null'],
      ['insert t id=1 v=null', 'insert t id=5 v=null'],
    ]);
    expect(all[1]?.changes.map((change) => change.sequence)).toEqual([0, 1]);
    expect(Math.abs((all[1]?.committedAt.getTime() ?? 0) - began)).toBeLessThan(60_000);
    expect((await run<{ xmin: string }>('SELECT xmin FROM t WHERE id = 1'))[0]?.xmin).toBe(String(all[1]?.xid));
  });

  test('of 100,000 rows: in portions, its end known before its first change, the same order again', async () => {
    await prepare(kv);
    await run(`INSERT INTO t SELECT i, repeat('v', 100) FROM generate_series(0, 99999) i`);
    await run(`INSERT INTO t VALUES (-1, 'after')`);
    const seen: { endLsn: string; rows: number; portions: number; largest: number }[] = [];
    for await (const transaction of (await open({ batchBytes: 64 * 1024 })).transactions) {
      const one = { endLsn: transaction.endLsn, rows: 0, portions: 0, largest: 0 };
      for await (const some of transaction.changes) {
        for (const change of some) {
          if (change.kind !== 'insert' || change.sequence !== one.rows) throw new Error(shown(change));
          if (seen.length === 0 && change.new.get('id') !== String(one.rows)) throw new Error(shown(change));
          one.rows += 1;
        }
        one.portions += 1;
        one.largest = Math.max(one.largest, some.length);
      }
      seen.push(one);
    }
    expect(seen.map(({ rows }) => rows)).toEqual([100_000, 1]);
    // A row is about 125 bytes as a message, so about 520 of them are one batch.
    expect(seen[0]?.largest).toBeLessThan(600);
    expect(seen[0]?.portions).toBeGreaterThan(180);
    const whole = await read({ batchBytes: 1e9 });
    expect(whole.map(({ endLsn }) => endLsn)).toEqual(seen.map(({ endLsn }) => endLsn));
    expect(whole[0]?.changes).toHaveLength(100_000);
  }, 120_000);

  test('rows of a megabyte among small ones', async () => {
    await prepare(`${kv}; ALTER TABLE t ALTER v SET STORAGE EXTERNAL`);
    await run(
      `INSERT INTO t SELECT i, repeat('v', CASE WHEN i % 50 = 0 THEN 1000000 ELSE 1 END) FROM generate_series(1, 200) i`,
    );
    const [transaction] = await read({ batchBytes: 10_000 });
    const lengths = transaction?.changes.map(
      (change) => change.kind === 'insert' && (change.new.get('v') as string).length,
    );
    expect(lengths).toEqual(Array.from({ length: 200 }, (_, i) => ((i + 1) % 50 === 0 ? 1_000_000 : 1)));
  });

  test('many: more than one portion holds', async () => {
    await prepare(kv);
    await run(`DO $$ BEGIN FOR i IN 1..15000 LOOP INSERT INTO t VALUES (i); COMMIT; END LOOP; END $$`);
    const all = await read();
    expect(all).toHaveLength(15_000);
    expect(all.map((one) => (one.changes[0] as Change & { kind: 'insert' }).new.get('id'))).toEqual(
      Array.from({ length: 15_000 }, (_, i) => String(i + 1)),
    );
    const middle = all[9_999] as Read;
    const rest = await read({ afterEndLsn: middle.endLsn });
    expect(rest.map((one) => one.endLsn)).toEqual(all.slice(10_000).map((one) => one.endLsn));
    const between = await read({ afterEndLsn: (all[99] as Read).endLsn, upToLsn: middle.endLsn });
    expect(between).toHaveLength(9_900);
  }, 60_000);

  test('beyond a cut means that the end of the commit record is beyond it, to the byte', async () => {
    await prepare(kv);
    for (const id of [1, 2, 3]) await run('INSERT INTO t VALUES ($1)', [id]);
    const [, second, third] = (await read()) as [Read, Read, Read];
    const ids = async (options: Partial<PeekOptions>) => (await read(options)).flatMap((one) => one.changes.map(shown));
    expect(await ids({ afterEndLsn: second.endLsn })).toEqual(['insert t id=3 v=null']);
    // A cut inside of the commit record: the transaction is beyond it.
    expect(await ids({ afterEndLsn: second.commitLsn })).toHaveLength(2);
    expect(await ids({ afterEndLsn: third.endLsn })).toEqual([]);
    expect(await ids({ upToLsn: second.endLsn })).toHaveLength(2);
    expect(await ids({ upToLsn: second.commitLsn })).toHaveLength(1);
  });

  test('while others write: what was committed at the call, each once; the rest at the next call', async () => {
    await prepare(kv);
    await run('INSERT INTO t VALUES (0)');
    let stop = false;
    const writers = [1, 2, 3].map(async (writer) => {
      const own = new Client({ connectionString: database.urls.superuser });
      await own.connect();
      for (let i = 0; !stop && i < 5_000; i += 1) await own.query('INSERT INTO t VALUES ($1)', [writer * 10_000 + i]);
      await own.end();
    });
    const seen: string[] = [];
    let afterEndLsn = '0/0';
    const id = (change: Change) => (change as Change & { kind: 'insert' }).new.get('id') as string;
    for (let round = 0; round < 5; round += 1) {
      for (const one of await read({ afterEndLsn })) {
        seen.push(...one.changes.map(id));
        afterEndLsn = one.endLsn;
      }
    }
    stop = true;
    await Promise.all(writers);
    for (const one of await read({ afterEndLsn })) seen.push(...one.changes.map(id));
    const rows = await run<{ id: number }>('SELECT id FROM t');
    expect([...seen].sort()).toEqual(rows.map((row) => String(row.id)).sort());
  }, 60_000);

  test('only what was written here; with `any` the others too, and where they come from', async () => {
    await prepare(kv);
    await run(`SELECT pg_replication_origin_create('from_la')`);
    await run('INSERT INTO t VALUES (1)');
    await run(`SELECT pg_replication_origin_session_setup('from_la'); BEGIN;
      SELECT pg_replication_origin_xact_setup('16/B374D848', now()); INSERT INTO t VALUES (2); COMMIT`);
    expect((await changes()).map(shown)).toEqual(['insert t id=1 v=null']);
    const all = await read({ origin: 'any' });
    expect(all.map((one) => [one.origin, one.changes.map(shown)])).toEqual([
      [null, ['insert t id=1 v=null']],
      [{ name: 'from_la', endLsn: '16/B374D848' }, ['insert t id=2 v=null']],
    ]);
    await run(`SELECT pg_replication_origin_drop('from_la')`);
  });

  test('changes are read once and in their turn; what is passed over is not missed by what follows', async () => {
    await prepare(`${kv}; CREATE TABLE u (id int PRIMARY KEY)`);
    await run(`BEGIN; INSERT INTO t SELECT generate_series(1, 3000); INSERT INTO u VALUES (1); COMMIT`);
    await run('INSERT INTO u VALUES (2)');
    let left: DecodedTransaction | null = null;
    for await (const transaction of (await open({ batchBytes: 1000 })).transactions) {
      if (left === null) {
        left = transaction;
        for await (const _some of transaction.changes) break;
        continue;
      }
      const again: string[] = [];
      // Described in the transaction that was passed over.
      for await (const some of transaction.changes) again.push(...some.map(shown));
      expect(again).toEqual(['insert u id=2']);
    }
    const late = left as DecodedTransaction | null;
    expect(await late?.changes[Symbol.asyncIterator]().next()).toMatchObject({ done: true });
  });
});

describe('every kind of message that this server sends is understood', () => {
  async function messages(...options: readonly string[]): Promise<PgoutputMessage[]> {
    const rows = await run<{ data: Buffer }>(
      `SELECT data FROM pg_logical_slot_peek_binary_changes('s', NULL, NULL, 'publication_names', 'p', ${options
        .map((option) => `'${option}'`)
        .join(', ')})`,
    );
    let inStream = false;
    return rows.map(({ data }) => {
      const result = parseMessage(data, { inStream });
      if (result.kind === 'malformed')
        throw new Error(`${result.expected} at ${result.offset}: ${data.toString('hex')}`);
      if (result.message.kind === 'stream-start') inStream = true;
      if (result.message.kind === 'stream-stop') inStream = false;
      // Both ways: nothing of the message was left out.
      expect(encodeMessage(result.message).equals(data)).toBe(true);
      return result.message;
    });
  }

  test('streamed transactions with what was rolled back in them, types, messages, origins, binary values', async () => {
    await run('ALTER SYSTEM SET logical_decoding_work_mem = 64');
    await run('SELECT pg_reload_conf()');
    await run(`CREATE TYPE mood AS ENUM ('sad')`);
    await prepare('CREATE TABLE t (id int PRIMARY KEY, m mood, v text)');
    await run(`BEGIN; INSERT INTO t SELECT i, 'sad', repeat('x', 200) FROM generate_series(1, 2000) i;
      SAVEPOINT a; INSERT INTO t SELECT i, 'sad', repeat('x', 200) FROM generate_series(2001, 4000) i; ROLLBACK TO a;
      UPDATE t SET id = -id WHERE id < 10; DELETE FROM t WHERE id < 0; COMMIT`);
    await run(`BEGIN; INSERT INTO t SELECT i, 'sad', repeat('x', 200) FROM generate_series(5001, 8000) i; ROLLBACK`);
    await run(
      `SELECT pg_logical_emit_message(true, 'prefix', 'content'), pg_logical_emit_message(false, '', '\\x00ff'::bytea)`,
    );
    await run(`SELECT pg_replication_origin_create('elsewhere')`);
    await run(`SELECT pg_replication_origin_session_setup('elsewhere'); INSERT INTO t VALUES (9000)`);
    await run('TRUNCATE t');
    const streamed = await messages(
      'proto_version',
      '4',
      'streaming',
      'parallel',
      'messages',
      'true',
      'binary',
      'true',
    );
    const kinds = new Set(streamed.map((message) => message.kind));
    expect([...kinds].sort()).toEqual(
      'begin commit delete insert message origin relation stream-abort stream-commit stream-start stream-stop truncate type update'.split(
        ' ',
      ),
    );
    const xids = new Set(
      streamed.flatMap((message) => (message.kind === 'insert' && message.xid ? [message.xid] : [])),
    );
    expect(xids.size).toBeGreaterThanOrEqual(2);
    expect(streamed).toContainEqual(
      expect.objectContaining({
        kind: 'message',
        transactional: true,
        prefix: 'prefix',
        content: Buffer.from('content'),
      }),
    );
    expect(streamed).toContainEqual(expect.objectContaining({ kind: 'stream-abort', aborted: expect.anything() }));
    expect(streamed.some((message) => message.kind === 'insert' && message.new.some(Buffer.isBuffer))).toBe(true);
    const older = await messages('proto_version', '2', 'streaming', 'on');
    expect(older).toContainEqual(expect.objectContaining({ kind: 'stream-abort', aborted: null }));
    // What is asked for here has whole transactions only, and nothing of what was rolled back.
    const whole = await changes({ origin: 'any' });
    expect(whole.filter((change) => change.kind === 'insert')).toHaveLength(2001);
    await run(`SELECT pg_replication_origin_drop('elsewhere')`);
    await run('ALTER SYSTEM RESET logical_decoding_work_mem');
    await run('SELECT pg_reload_conf()');
  });
});

describe('the slot', () => {
  const kv = 'CREATE TABLE t (id int PRIMARY KEY)';
  const slots = () =>
    run(`SELECT slot_name, confirmed_flush_lsn, restart_lsn, active FROM pg_replication_slots ORDER BY slot_name`);

  test('is left as it was; the copy is gone, also when reading is left early or fails', async () => {
    await prepare(kv);
    await run('INSERT INTO t SELECT generate_series(1, 10)');
    await run('INSERT INTO t SELECT generate_series(11, 20)');
    const before = await slots();
    expect(before).toHaveLength(1);
    expect(await changes()).toHaveLength(20);
    expect(await slots()).toEqual(before);
    for await (const _transaction of (await open()).transactions) break;
    expect(await slots()).toEqual(before);
    const failing = async () => {
      for await (const _transaction of (await open()).transactions) throw new Error('no more');
    };
    await expect(failing()).rejects.toThrow('no more');
    expect(await slots()).toEqual(before);
    await (await open()).close();
    expect(await slots()).toEqual(before);
    expect(await changes()).toHaveLength(20);
  });

  test('may be read by its subscriber meanwhile', async () => {
    await prepare(kv);
    await run('INSERT INTO t VALUES (1)');
    const url = new URL(database.urls.replication);
    url.searchParams.set('replication', 'database');
    const reader = new Client({ connectionString: url.href, replication: 'database' } as ConstructorParameters<
      typeof Client
    >[0]);
    reader.on('error', () => {});
    await reader.connect();
    const streaming = reader
      .query(`START_REPLICATION SLOT s LOGICAL 0/0 (proto_version '1', publication_names 'p')`)
      .catch(() => {});
    await expect.poll(async () => (await slots())[0]?.active, { timeout: 5_000 }).toBe(true);
    expect(await changes()).toHaveLength(1);
    // A query that never ends: the server ends it.
    await run('SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE active_pid IS NOT NULL');
    await streaming;
    await reader.end().catch(() => {});
  });

  test('timeouts of the session do not end a reader who takes his time', async () => {
    await prepare(kv);
    await run('INSERT INTO t SELECT generate_series(1, 2000)');
    await client.query(`SET statement_timeout = '20s'; SET idle_in_transaction_session_timeout = 100`);
    let rows = 0;
    for await (const transaction of (await open({ batchBytes: 20_000 })).transactions) {
      await new Promise((resolve) => setTimeout(resolve, 300));
      for await (const some of transaction.changes) rows += some.length;
    }
    expect(rows).toBe(2000);
    expect((await client.query('SHOW idle_in_transaction_session_timeout')).rows[0]).toEqual({
      idle_in_transaction_session_timeout: '100ms',
    });
  });

  test('that is missing, foreign, or begins too late is lost', async () => {
    await prepare(kv);
    await run(`SELECT pg_create_logical_replication_slot('other', 'test_decoding')`);
    await run('INSERT INTO t VALUES (1)');
    expect(await peekTransactions(client, { ...defaults, slot: 'none' })).toMatchObject({
      kind: 'slot-lost',
      reason: 'missing',
    });
    expect(await peekTransactions(client, { ...defaults, slot: 'other' })).toMatchObject({
      kind: 'slot-lost',
      reason: 'foreign',
    });
    const [{ endLsn } = { endLsn: '' }] = await read();
    await run(`SELECT pg_replication_slot_advance('s', '${endLsn}')`);
    const slot = (await slots()).find((one) => one.slot_name === 's');
    expect(await peekTransactions(client, { ...defaults, beginsAtMostLsn: '0/1' })).toMatchObject({
      kind: 'slot-lost',
      reason: 'beyond-cut',
      slot: { confirmedLsn: slot?.confirmed_flush_lsn },
    });
    expect(await changes({ beginsAtMostLsn: endLsn })).toEqual([]);
  });

  test('that lost its log is lost', async () => {
    await prepare(kv);
    const before = await run<{ setting: string }>('SHOW max_slot_wal_keep_size');
    expect(before).toHaveLength(1);
    await run(`ALTER SYSTEM SET max_slot_wal_keep_size = '1MB'`);
    await run('SELECT pg_reload_conf()');
    try {
      for (let i = 0; i < 5; i += 1) await run(`INSERT INTO t VALUES (${i}); SELECT pg_switch_wal()`);
      await run('CHECKPOINT');
      await expect
        .poll(() => peekTransactions(client, defaults), { timeout: 10_000 })
        .toMatchObject({ kind: 'slot-lost', reason: 'invalidated' });
    } finally {
      await run('ALTER SYSTEM RESET max_slot_wal_keep_size');
      await run('SELECT pg_reload_conf()');
    }
  });

  test('cannot be read without the right, or without a free slot for the copy', async () => {
    await prepare(kv);
    const application = new Client({ connectionString: database.urls.application });
    await application.connect();
    expect(await peekTransactions(application, defaults)).toMatchObject({ kind: 'refused', error: { code: '42501' } });
    await application.end();
    await run(`DO $$ BEGIN LOOP
        PERFORM pg_create_physical_replication_slot('fill_' || count(*)) FROM pg_replication_slots;
      END LOOP; EXCEPTION WHEN configuration_limit_exceeded THEN NULL; END $$`);
    expect(await peekTransactions(client, defaults)).toMatchObject({ kind: 'refused', error: { code: '53400' } });
    await run(`SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name LIKE 'fill%'`);
    expect(await changes()).toEqual([]);
  });
});
