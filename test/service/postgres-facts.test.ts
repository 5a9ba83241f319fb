/**
 * What PostgreSQL does, as far as Lanekeeper rests on it and as the simulation's model of a database has it: one test for
 * each fact, named by it. Here: one database; `postgres-facts-replication.test.ts`: rows that are applied elsewhere;
 * `postgres-facts-synchronous.test.ts`: commits that wait.
 *
 * Facts that the product's own tests show by the way are not repeated:
 * - a commit is governed by what a deferred trigger sets, and a crash during its wait leaves the row: `durability.test.ts`
 * - what a check has to see (the final row, all partitions), and a clock that is set back: `fence.test.ts`
 * - a newer epoch beats an older one that arrives late: `fence.test.ts`, "an epoch never falls, and only the home gives"
 * - a stream that was diverted leaves the data centers different: `claims.test.ts`, "… two accounts for one value are an
 *   incident, not a stop"
 * - rows that are sent again become equal under concurrent writes: `stranded.test.ts`
 * - positions, origins and what is not in the log: `decode.test.ts`
 * Not here, as nothing rests on it yet: what needs a third data center, and the merge log.
 */
import type { Client } from 'pg';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { runSql, type TestCluster, type TestDatabase, testCluster } from '../support/clusters.ts';
import { begun, type Sessions, sessions } from '../support/sessions.ts';

const schema = `
  CREATE TABLE deed (account text PRIMARY KEY, home text);
  CREATE TABLE note (id text PRIMARY KEY, account text REFERENCES deed ON DELETE CASCADE);
  CREATE TABLE succession (term int PRIMARY KEY);
  CREATE SEQUENCE view MINVALUE 0;
  CREATE UNLOGGED SEQUENCE lease MINVALUE 0 START 0;
  INSERT INTO deed VALUES ('a', 'ny'), ('b', 'ny');
  GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO lanekeeper_application;
`;
const levels = ['READ COMMITTED', 'REPEATABLE READ', 'SERIALIZABLE'] as const;

let cluster: TestCluster;
let database: TestDatabase;
let open: Sessions;
/** Two who meet. */
let writer: Client;
let other: Client;

beforeAll(async () => {
  cluster = await testCluster({ settings: { max_prepared_transactions: 2 } });
});
afterAll(() => cluster?.stop());
beforeEach(async () => {
  database = await cluster.database({ schema });
  open = sessions();
  writer = await open.open(database.urls.owner);
  other = await open.open(database.urls.owner);
});
afterEach(() => open.end());

const run = <Row = Record<string, unknown>>(sql: string, values?: readonly unknown[]) =>
  runSql<Row>(database.urls.superuser, sql, values);

async function one<T = unknown>(client: Client, sql: string): Promise<T> {
  const { rows } = await client.query({ text: sql, rowMode: 'array' });
  return rows[0]?.[0] as T;
}

/** Begins, with a snapshot where the level keeps one. */
async function beginOld(level: string): Promise<void> {
  await writer.query(`BEGIN ISOLATION LEVEL ${level}`);
  await writer.query('SELECT FROM note');
}

describe('the deed and its lock', () => {
  test('FOR UPDATE waits for those who hold FOR SHARE, who do not wait for each other', async () => {
    const third = await open.open(database.urls.owner);
    await writer.query(`BEGIN; SELECT FROM deed WHERE account = 'a' FOR SHARE`);
    await third.query(`BEGIN; SELECT FROM deed WHERE account = 'a' FOR SHARE; COMMIT`);
    await other.query('BEGIN');
    const mover = await begun(database.urls.superuser, other, 'Lock', () =>
      other.query(`SELECT FROM deed WHERE account = 'a' FOR UPDATE`),
    );
    await writer.query('COMMIT');
    await mover.result;
  });

  test.each(levels)('a share lock taken after the deed was given away: %s', async (level) => {
    await beginOld(level);
    await other.query(`UPDATE deed SET home = 'la' WHERE account = 'a'`);
    const locked = one(writer, `SELECT home FROM deed WHERE account = 'a' FOR SHARE`);
    // Never the old home: the new one, or a failure.
    if (level === 'READ COMMITTED') expect(await locked).toBe('la');
    else await expect(locked).rejects.toMatchObject({ code: '40001' });
  });

  test.each([
    ['read plainly', `SELECT home FROM deed WHERE account = 'a'`],
    ['locked FOR KEY SHARE', `SELECT home FROM deed WHERE account = 'a' FOR KEY SHARE`],
  ])('a deed that is only %s lets its writer commit after it was given away', async (_how, read) => {
    await writer.query('BEGIN');
    expect(await one(writer, read)).toBe('ny');
    await other.query(`BEGIN; SELECT FROM deed WHERE account = 'a' FOR NO KEY UPDATE`);
    await other.query(`UPDATE deed SET home = 'la' WHERE account = 'a'; COMMIT`);
    await writer.query(`INSERT INTO note VALUES ('late', NULL); COMMIT`);
    expect(await run(`SELECT FROM note, deed WHERE deed.account = 'a' AND home = 'la'`)).toHaveLength(1);
  });

  test.each(['REPEATABLE READ', 'SERIALIZABLE'])(
    'an advisory lock lets a writer with an older snapshot through: %s',
    async (level) => {
      await beginOld(level);
      await other.query(
        `BEGIN; SELECT pg_advisory_xact_lock(1); UPDATE deed SET home = 'la' WHERE account = 'a'; COMMIT`,
      );
      await writer.query('SELECT pg_advisory_xact_lock_shared(1)');
      expect(await one(writer, `SELECT home FROM deed WHERE account = 'a'`)).toBe('ny');
      await writer.query(`INSERT INTO note VALUES ('late', 'b'); COMMIT`);
      expect(await run('SELECT FROM note')).toHaveLength(1);
    },
  );

  test('SKIP LOCKED passes over a row that somebody else holds', async () => {
    await writer.query(`BEGIN; SELECT FROM deed WHERE account = 'a' FOR UPDATE`);
    expect((await other.query('SELECT account FROM deed FOR UPDATE SKIP LOCKED')).rows).toEqual([{ account: 'b' }]);
  });

  test('LOCK IN ACCESS EXCLUSIVE MODE waits for whoever has read the table, though he wrote elsewhere', async () => {
    await writer.query(`BEGIN; SELECT max(term) FROM succession; INSERT INTO note VALUES ('n', 'a')`);
    await other.query('BEGIN');
    const locking = await begun(database.urls.superuser, other, 'Lock:relation', () =>
      other.query('LOCK TABLE succession IN ACCESS EXCLUSIVE MODE'),
    );
    const late = await open.open(database.urls.owner);
    const behind = await begun(database.urls.superuser, late, 'Lock:relation', () =>
      late.query('SELECT max(term) FROM succession'),
    );
    await writer.query('COMMIT');
    await locking.result;
    expect((await other.query('SELECT id FROM note')).rows).toEqual([{ id: 'n' }]);
    await other.query('INSERT INTO succession VALUES (2); COMMIT');
    expect((await behind.result).rows).toEqual([{ max: 2 }]);
  });

  test('with lock_timeout it gives up and nothing is left behind', async () => {
    await writer.query('BEGIN; SELECT max(term) FROM succession');
    await expect(
      other.query(`BEGIN; SET LOCAL lock_timeout = 50; LOCK TABLE succession IN ACCESS EXCLUSIVE MODE`),
    ).rejects.toMatchObject({ code: '55P03' });
    await other.query('ROLLBACK');
    expect(await one(await open.open(database.urls.owner), 'SELECT count(*)::int FROM succession')).toBe(0);
  });
});

describe('sequences', () => {
  test.each(levels)('are read as they are now, when rows are read through an older snapshot: %s', async (level) => {
    await beginOld(level);
    await other.query(`BEGIN; INSERT INTO succession VALUES (2); SELECT setval('view', 2); COMMIT`);
    expect(await one(writer, 'SELECT last_value::int FROM view')).toBe(2);
    const term = await one(writer, 'SELECT max(term) FROM succession');
    // The difference is what tells a writer that his snapshot is from before the new view.
    expect(term).toBe(level === 'READ COMMITTED' ? 2 : null);
  });

  test('are not set back by a rollback', async () => {
    await writer.query(`BEGIN; INSERT INTO succession VALUES (2); SELECT setval('view', 2); ROLLBACK`);
    expect(await one(other, 'SELECT last_value::int FROM view')).toBe(2);
    expect(await one(other, 'SELECT count(*)::int FROM succession')).toBe(0);
  });

  test('an UNLOGGED one is back to its start after a crash, and kept by an orderly restart', async () => {
    await run(`SELECT setval('lease', 1234567890123)`);
    await run('CHECKPOINT');
    await open.end();
    await cluster.cluster.stop();
    await cluster.cluster.start();
    expect(await run('SELECT last_value FROM lease')).toEqual([{ last_value: '1234567890123' }]);
    await cluster.cluster.kill();
    await cluster.cluster.start();
    expect(await run('SELECT last_value FROM lease')).toEqual([{ last_value: '0' }]);
  });

  test('in one statement, a STABLE function sees what was there when it began, a VOLATILE one what is there now', async () => {
    await run(`CREATE FUNCTION seen_stable() RETURNS int STABLE LANGUAGE plpgsql AS 'BEGIN RETURN (SELECT max(term) FROM succession); END';
      CREATE FUNCTION seen_volatile() RETURNS int VOLATILE LANGUAGE plpgsql AS 'BEGIN RETURN (SELECT max(term) FROM succession); END'`);
    await other.query('SELECT pg_advisory_lock(1)');
    const reading = await begun(database.urls.superuser, writer, 'Lock:advisory', () =>
      writer.query('SELECT pg_advisory_lock(1), seen_stable() AS stable, seen_volatile() AS volatile'),
    );
    await other.query('INSERT INTO succession VALUES (2)');
    await other.query('SELECT pg_advisory_unlock(1)');
    expect((await reading.result).rows[0]).toMatchObject({ stable: null, volatile: 2 });
  });
});

describe('the check at commit', () => {
  const slow = `
    CREATE TABLE checked (at text); CREATE TABLE late (at text);
    CREATE FUNCTION check_now() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
      INSERT INTO checked VALUES ((SELECT last_value::text FROM lease)); RETURN NULL; END $$;
    CREATE FUNCTION take_time() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
      PERFORM setval('lease', 99); INSERT INTO late SELECT at FROM checked; RETURN NULL; END $$;
    CREATE CONSTRAINT TRIGGER a_check AFTER INSERT ON note DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION check_now();
  `;
  const checked = () => run('SELECT at FROM checked').then((rows) => rows.map((row) => row.at));

  test('a deferred trigger runs when the transaction commits, and sees the sequence as it is then', async () => {
    await run(slow);
    await run(`SELECT setval('lease', 1)`);
    const superuser = await open.open(database.urls.superuser);
    await superuser.query(`BEGIN; INSERT INTO note VALUES ('n', 'a')`);
    await run(`SELECT setval('lease', 2)`);
    await superuser.query('COMMIT');
    expect(await checked()).toEqual(['2']);
  });

  test('SET CONSTRAINTS ALL IMMEDIATE runs it early, and not again', async () => {
    await run(slow);
    await run(`BEGIN; SELECT setval('lease', 1); INSERT INTO note VALUES ('n', 'a'); SET CONSTRAINTS ALL IMMEDIATE;
      SELECT setval('lease', 2); COMMIT`);
    expect(await checked()).toEqual(['1']);
  });

  test('another deferred trigger may run after it, and take as long as it likes', async () => {
    await run(slow);
    await run(
      `CREATE CONSTRAINT TRIGGER z_late AFTER INSERT ON note DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION take_time()`,
    );
    await run(`SELECT setval('lease', 1)`);
    await run(`INSERT INTO note VALUES ('n', 'a')`);
    expect(await run('SELECT at FROM late')).toEqual([{ at: '1' }]);
    expect(await run('SELECT last_value FROM lease')).toEqual([{ last_value: '99' }]);
  });

  test('a prepared transaction is checked when it is prepared, and commits whenever it likes', async () => {
    await run(slow);
    await run(`SELECT setval('lease', 1)`);
    const superuser = await open.open(database.urls.superuser);
    await superuser.query(`BEGIN; INSERT INTO note VALUES ('n', 'a'); PREPARE TRANSACTION 'p'`);
    await run(`SELECT setval('lease', 2)`);
    await superuser.query(`COMMIT PREPARED 'p'`);
    expect(await checked()).toEqual(['1']);
  });

  test('now() stands still in a transaction, clock_timestamp() does not', async () => {
    const sql = 'SELECT now()::text AS now, clock_timestamp()::text AS clock';
    await writer.query('BEGIN');
    const before = (await writer.query(sql)).rows[0];
    await writer.query('SELECT pg_sleep(0.01)');
    const after = (await writer.query(sql)).rows[0];
    expect(after.now).toBe(before.now);
    expect(after.clock > before.clock).toBe(true);
  });
});

describe('triggers', () => {
  const remember = `
    CREATE TABLE seen (n serial, what text);
    CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
      INSERT INTO seen (what) VALUES (TG_OP || ' ' || TG_LEVEL || coalesce(' ' || to_jsonb(NEW)::text, '')); RETURN NEW; END $$;
  `;
  const seen = () => run('SELECT what FROM seen ORDER BY n').then((rows) => rows.map((row) => row.what));

  test('a BEFORE trigger whose name sorts later changes the row after an earlier one has judged it', async () => {
    await run(`${remember}
      CREATE FUNCTION change() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.account := 'b'; RETURN NEW; END $$;
      CREATE TRIGGER a_see BEFORE INSERT ON note FOR EACH ROW EXECUTE FUNCTION see();
      CREATE TRIGGER b_change BEFORE INSERT ON note FOR EACH ROW EXECUTE FUNCTION change()`);
    await run(`INSERT INTO note VALUES ('n', 'a')`);
    expect(await seen()).toEqual(['INSERT ROW {"id": "n", "account": "a"}']);
    expect(await run('SELECT account FROM note')).toEqual([{ account: 'b' }]);
  });

  test('TRUNCATE passes by the triggers of rows; one of its own sees it', async () => {
    await run(`${remember}
      CREATE TRIGGER rows AFTER DELETE ON note FOR EACH ROW EXECUTE FUNCTION see();
      CREATE TRIGGER all_of_it BEFORE TRUNCATE ON note EXECUTE FUNCTION see()`);
    await run(`INSERT INTO note VALUES ('n', 'a')`);
    await run('TRUNCATE note');
    expect(await seen()).toEqual(['TRUNCATE STATEMENT']);
    expect(await run('SELECT FROM note')).toEqual([]);
  });

  test('a statement trigger of a partitioned table is silent when a partition is written directly', async () => {
    await run(`${remember}
      CREATE TABLE log (at int) PARTITION BY LIST (at); CREATE TABLE log1 PARTITION OF log FOR VALUES IN (1);
      CREATE TRIGGER of_statement AFTER INSERT ON log EXECUTE FUNCTION see();
      CREATE TRIGGER of_row AFTER INSERT ON log FOR EACH ROW EXECUTE FUNCTION see();
      CREATE TABLE log2 (at int); ALTER TABLE log ATTACH PARTITION log2 FOR VALUES IN (2)`);
    await run('INSERT INTO log VALUES (2)');
    expect(await seen()).toEqual(['INSERT ROW {"at": 2}', 'INSERT STATEMENT']);
    await run('INSERT INTO log2 VALUES (2)');
    expect((await seen()).slice(2)).toEqual(['INSERT ROW {"at": 2}']);
  });

  test('a child that a cascade deletes no longer finds its parent', async () => {
    await runSql(
      database.urls.owner,
      `CREATE TABLE found (parents int);
      CREATE FUNCTION look() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        INSERT INTO found SELECT count(*) FROM deed WHERE account = OLD.account; RETURN OLD; END $$;
      CREATE TRIGGER look BEFORE DELETE ON note FOR EACH ROW EXECUTE FUNCTION look();
      INSERT INTO note VALUES ('n', 'a')`,
    );
    await run(`DELETE FROM deed WHERE account = 'a'`);
    expect(await run('SELECT parents FROM found')).toEqual([{ parents: 0 }]);
  });

  test('they are silent in replica mode, except for those that are ENABLE REPLICA or ALWAYS', async () => {
    await run(`${remember}
      CREATE TRIGGER ordinary AFTER INSERT ON note FOR EACH ROW EXECUTE FUNCTION see();
      CREATE TRIGGER of_replica AFTER INSERT ON note EXECUTE FUNCTION see(); ALTER TABLE note ENABLE REPLICA TRIGGER of_replica;
      CREATE TRIGGER of_both AFTER INSERT ON succession EXECUTE FUNCTION see(); ALTER TABLE succession ENABLE ALWAYS TRIGGER of_both`);
    await run(`INSERT INTO note VALUES ('1', 'a'); INSERT INTO succession VALUES (2)`);
    expect(await seen()).toEqual(['INSERT ROW {"id": "1", "account": "a"}', 'INSERT STATEMENT']);
    await run(
      `SET session_replication_role = replica; INSERT INTO note VALUES ('2', 'gone'); INSERT INTO succession VALUES (3)`,
    );
    expect((await seen()).slice(2)).toEqual(['INSERT STATEMENT', 'INSERT STATEMENT']);
    expect(await run(`SELECT account FROM note WHERE id = '2'`)).toEqual([{ account: 'gone' }]);
  });
});

describe('who may', () => {
  test('an ordinary role cannot change the replication role, disable triggers or set an origin; a superuser can', async () => {
    await run(`SELECT pg_replication_origin_create('o')`);
    const bypasses = [
      'SET session_replication_role = replica',
      'ALTER TABLE note DISABLE TRIGGER ALL',
      `SELECT pg_replication_origin_session_setup('o')`,
    ];
    for (const sql of bypasses) {
      await expect(runSql(database.urls.application, sql), sql).rejects.toMatchObject({ code: '42501' });
      await run(sql);
    }
    await run(`SELECT pg_replication_origin_drop('o')`);
  });

  test('any role can set a setting of our own, so that nothing may be believed for it', async () => {
    const application = await open.open(database.urls.application);
    await application.query(`BEGIN; SET LOCAL lanekeeper.checked = 'a'`);
    expect(await one(application, `SELECT current_setting('lanekeeper.checked')`)).toBe('a');
  });
});

describe('rows and their images', () => {
  test('a snapshot tells of a row whether its transaction had committed when it was taken, not when it began', async () => {
    await run(`INSERT INTO note VALUES ('before', 'a')`);
    await writer.query(`BEGIN; INSERT INTO note VALUES ('began before', 'a')`);
    const [taken] = await run<{ snapshot: string }>('SELECT pg_current_snapshot()::text AS snapshot');
    await writer.query('COMMIT');
    await run(`INSERT INTO note VALUES ('after', 'a')`);
    const rows = await run(
      // The full id of a row's transaction: xmin has its lower half.
      `SELECT id, pg_visible_in_snapshot((pg_current_xact_id()::text::numeric - age(xmin))::text::xid8, $1::pg_snapshot) AS visible
        FROM note ORDER BY id`,
      [taken?.snapshot],
    );
    expect(rows).toEqual([
      { id: 'after', visible: false },
      { id: 'before', visible: true },
      { id: 'began before', visible: false },
    ]);
  });

  test('to_jsonb loses JSON null, the sign of zero and the bounds of arrays; text does not', async () => {
    const images = `to_jsonb(t) AS image, t.j::text AS j, t.f::text AS f, t.a::text AS a`;
    const [kept, plain] = await run(
      `SELECT ${images} FROM (VALUES ('null'::jsonb, '-0'::float8, '[0:1]={1,2}'::int[]), (NULL, 0, '{1,2}')) t (j, f, a)`,
    );
    expect(kept).toMatchObject({ j: 'null', f: '-0', a: '[0:1]={1,2}' });
    expect(plain).toMatchObject({ j: null, f: '0', a: '{1,2}' });
    expect(kept?.image).toEqual(plain?.image);
  });

  test('a date written under one DateStyle is another date, or none, under another', async () => {
    const [row] = await run<{ text: string }>(`SET DateStyle = 'SQL, DMY'; SELECT '2024-02-03'::date::text AS text`);
    expect(row?.text).toBe('03/02/2024');
    expect(await run(`SET DateStyle = 'SQL, MDY'; SELECT '${row?.text}'::date = '2024-03-02' AS other`)).toEqual([
      { other: true },
    ]);
  });
});
