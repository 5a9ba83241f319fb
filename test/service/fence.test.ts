/**
 * The fence against raw SQL by the application's own role, which owns nothing. `ny` is here; accounts of `la` are made by
 * setting their deed. What a second data center and a moving deed add is in rehome.test.ts.
 */
import { Client, type DatabaseError } from 'pg';
import { from as copyFrom } from 'pg-copy-streams';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { runSql } from '../support/clusters.ts';
import { type FencedDatabase, fencedDatabase, twoDataCenters } from '../support/fenced.ts';

const schema = `
CREATE TABLE accounts (id text PRIMARY KEY, email text UNIQUE);
CREATE TABLE orders (id text PRIMARY KEY, account_id text REFERENCES accounts, note text);
CREATE TABLE order_lines (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  order_id text NOT NULL REFERENCES orders ON DELETE CASCADE ON UPDATE CASCADE, sku text NOT NULL, quantity integer NOT NULL);
CREATE TABLE line_notes (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  line_id bigint NOT NULL REFERENCES order_lines ON DELETE CASCADE, note text);
CREATE TABLE visits (account_id text NOT NULL, at date NOT NULL, page text NOT NULL, PRIMARY KEY (account_id, at, page)) PARTITION BY RANGE (at);
CREATE TABLE visits_2026 PARTITION OF visits FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
CREATE TABLE letters (id integer PRIMARY KEY, account_id text);
CREATE TABLE products (sku text PRIMARY KEY, name text);
CREATE TABLE scratch (x integer);
GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON ALL TABLES IN SCHEMA public TO lanekeeper_application;
`;

const configuration = twoDataCenters({
  tables: {
    accounts: { class: 'system-of-record', account: 'id', root: true },
    orders: { class: 'system-of-record', account: 'account_id' },
    order_lines: { class: 'system-of-record', account: 'order_id.account_id' },
    line_notes: { class: 'system-of-record', account: 'line_id.order_id.account_id' },
    visits: { class: 'system-of-record', account: 'account_id' },
    letters: { class: 'system-of-record', account: 'account_id', nullAccount: 'a1' },
    products: { class: 'read-only', feeder: 'la' },
    scratch: { class: 'session-state' },
  },
});

let database: FencedDatabase;
let app: Client;

beforeAll(async () => {
  database = await fencedDatabase(schema, configuration);
});
afterAll(() => database?.stop());

/** `a1`, `a2` live here, `b1` in la; each has an order with two lines. */
beforeEach(async () => {
  await database.lease(60_000);
  await app?.end();
  app = new Client({ connectionString: database.urls.application });
  await app.connect();
  await runSql(
    database.urls.superuser,
    `SET session_replication_role = replica;
     DELETE FROM line_notes; DELETE FROM order_lines; DELETE FROM orders; DELETE FROM accounts; DELETE FROM visits; DELETE FROM letters;
     DELETE FROM lanekeeper.deed; DELETE FROM lanekeeper.acceptance; DELETE FROM lanekeeper.drain; DELETE FROM lanekeeper.succession; SELECT setval('lanekeeper.view', 1);
     INSERT INTO accounts SELECT unnest(ARRAY['a1', 'a2', 'b1']);
     INSERT INTO orders SELECT 'o-' || id, id FROM accounts;
     INSERT INTO order_lines (order_id, sku, quantity) SELECT o.id, s, 1 FROM orders o, unnest(ARRAY['cup', 'pot']) s;
     INSERT INTO visits SELECT id, '2026-11-22', '/' FROM accounts;
     INSERT INTO lanekeeper.deed (account, home, term, counter) VALUES ('a1', 'ny', 1, 0), ('a2', 'ny', 1, 0), ('b1', 'la', 1, 3);`,
  );
});
afterAll(() => app?.end());

async function refusal(work: Promise<unknown>): Promise<DatabaseError> {
  const outcome = await work.then(
    () => null,
    (error: DatabaseError) => error,
  );
  if (outcome === null) throw new Error('the write went through');
  return outcome;
}

async function refusedWith(sqlstate: string, sql: string, values: unknown[] = []): Promise<DatabaseError> {
  const error = await refusal(app.query(sql, values));
  expect(`${error.code} ${error.message}`).toMatch(new RegExp(`^${sqlstate} `));
  return error;
}

async function rows(sql: string): Promise<unknown[]> {
  return (await app.query({ text: sql, rowMode: 'array' })).rows.map((row: unknown[]) => row[0]);
}

describe('who may write', () => {
  test('an account at home is written, in every table', async () => {
    await app.query("UPDATE orders SET note = 'x' WHERE id = 'o-a1'");
    await app.query("INSERT INTO order_lines (order_id, sku, quantity) VALUES ('o-a1', 'dish', 2)");
    await app.query("INSERT INTO line_notes (line_id, note) SELECT id, 'n' FROM order_lines WHERE order_id = 'o-a1'");
    await app.query("INSERT INTO visits VALUES ('a1', '2026-05-05', '/x')");
    await app.query("DELETE FROM orders WHERE id = 'o-a1'");
    expect(await rows("SELECT count(*)::int FROM order_lines WHERE order_id = 'o-a1'")).toEqual([0]);
  });

  test('an account of another data center is refused, and the error says where it is written', async () => {
    const error = await refusedWith('LK001', "UPDATE orders SET note = 'x' WHERE id = 'o-b1'");
    expect(error.dataType).toBe('la');
    expect(error.hint).toBe('Send the request to la.');
    expect(JSON.parse(error.detail ?? '')).toEqual({
      account: 'b1',
      home: 'la',
      term: 1,
      counter: 3,
      dc: 'ny',
      table: 'public.orders',
    });
    for (const sql of [
      "INSERT INTO orders VALUES ('o9', 'b1')",
      "DELETE FROM orders WHERE id = 'o-b1'",
      "INSERT INTO order_lines (order_id, sku, quantity) VALUES ('o-b1', 'cup', 1)",
      "UPDATE order_lines SET quantity = 9 WHERE order_id = 'o-b1'",
      "DELETE FROM order_lines WHERE order_id = 'o-b1'",
      "INSERT INTO visits VALUES ('b1', '2026-05-05', '/x')",
      "INSERT INTO visits_2026 VALUES ('b1', '2026-05-05', '/x')",
      "INSERT INTO orders VALUES ('o-b1', 'b1') ON CONFLICT (id) DO UPDATE SET note = 'x'",
      "MERGE INTO orders o USING (VALUES ('o-b1')) v (id) ON o.id = v.id WHEN MATCHED THEN UPDATE SET note = 'm'",
      "WITH gone AS (DELETE FROM order_lines WHERE order_id = 'o-b1' RETURNING *) SELECT count(*) FROM gone",
    ]) {
      await refusedWith('LK001', sql);
    }
  });

  test('one foreign row in a statement refuses the whole statement', async () => {
    await refusedWith('LK001', 'UPDATE order_lines SET quantity = quantity + 1');
    expect(await rows('SELECT DISTINCT quantity FROM order_lines')).toEqual([1]);
  });

  test('a statement that touches no row needs nothing', async () => {
    await app.query("UPDATE orders SET note = 'x' WHERE id = 'none'");
  });

  test('a deed is born with the row of the root table, before triggers of the user write for it', async () => {
    await runSql(
      database.urls.owner,
      `CREATE OR REPLACE FUNCTION public.first_order() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.orders VALUES ('first-' || NEW.id, NEW.id); RETURN NULL; END $$;
       CREATE TRIGGER a_first AFTER INSERT ON accounts FOR EACH ROW EXECUTE FUNCTION public.first_order();`,
    );
    try {
      await app.query("INSERT INTO accounts VALUES ('new1')");
      expect(
        await runSql(database.urls.agent, "SELECT home, counter::int FROM lanekeeper.deed WHERE account = 'new1'"),
      ).toEqual([{ home: 'ny', counter: 0 }]);
      expect(await rows("SELECT account_id FROM orders WHERE id = 'first-new1'")).toEqual(['new1']);
    } finally {
      await runSql(database.urls.owner, 'DROP TRIGGER a_first ON accounts');
    }
  });

  test('no deed: refused, possibly stranded elsewhere', async () => {
    await runSql(database.urls.superuser, "SET session_replication_role = replica; INSERT INTO accounts VALUES ('c1')");
    const error = await refusedWith('LK002', "INSERT INTO orders VALUES ('o-c1', 'c1')");
    expect(error.message).toContain('possibly stranded');
  });

  test('a row without an account is refused, or belongs to the declared one', async () => {
    await refusedWith('LK005', "INSERT INTO orders VALUES ('o-null', NULL)");
    await refusedWith('LK005', "UPDATE orders SET account_id = NULL WHERE id = 'o-a1'");
    await app.query('INSERT INTO letters VALUES (1, NULL), (2, NULL), (3, $1)', ['a1']);
    await refusedWith('LK001', "INSERT INTO letters VALUES (4, NULL), (5, 'b1')");
  });

  test('a given account is not written before it was accepted', async () => {
    await runSql(
      database.urls.superuser,
      "SET session_replication_role = replica; UPDATE lanekeeper.deed SET home = 'ny', counter = 4, giver = 'la' WHERE account = 'b1'",
    );
    await refusedWith('LK004', "UPDATE orders SET note = 'x' WHERE id = 'o-b1'");
    await runSql(
      database.urls.superuser,
      "INSERT INTO lanekeeper.acceptance (account, term, counter, dc) VALUES ('b1', 1, 3, 'ny')",
    );
    await refusedWith('LK004', "UPDATE orders SET note = 'x' WHERE id = 'o-b1'");
    await runSql(
      database.urls.superuser,
      "INSERT INTO lanekeeper.acceptance (account, term, counter, dc) VALUES ('b1', 1, 4, 'ny')",
    );
    await app.query("UPDATE orders SET note = 'x' WHERE id = 'o-b1'");
  });

  test('read-only tables are written by their feeder only; tables that never leave are free', async () => {
    const error = await refusedWith('LK007', "INSERT INTO products VALUES ('p', 'P')");
    expect(error.dataType).toBe('la');
    await refusedWith('LK006', 'TRUNCATE products');
    await app.query('INSERT INTO scratch VALUES (1)');
  });
});

describe('ways round', () => {
  test('TRUNCATE is refused on every homed table and every partition', async () => {
    for (const table of ['order_lines CASCADE', 'visits', 'visits_2026', 'accounts CASCADE'])
      await refusedWith('LK006', `TRUNCATE ${table}`);
  });

  test('COPY is fenced', async () => {
    const copy = (text: string) =>
      new Promise<void>((resolve, reject) => {
        const stream = app.query(copyFrom('COPY visits FROM STDIN'));
        stream.on('finish', resolve).on('error', reject);
        stream.end(text);
      });
    await copy('a1\t2026-03-01\t/a\na2\t2026-03-01\t/a\n');
    const error = await refusal(copy('a1\t2026-03-02\t/a\nb1\t2026-03-02\t/a\n'));
    expect(error.code).toBe('LK001');
    expect(await rows("SELECT count(*)::int FROM visits WHERE at = '2026-03-02'")).toEqual([0]);
  });

  test("a user's trigger that sorts last and changes the account is seen", async () => {
    await runSql(
      database.urls.owner,
      `CREATE OR REPLACE FUNCTION public.steal() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.account_id := 'b1'; RETURN NEW; END $$;
       CREATE TRIGGER zzz_steal BEFORE INSERT OR UPDATE ON orders FOR EACH ROW EXECUTE FUNCTION public.steal();`,
    );
    try {
      await refusedWith('LK001', "INSERT INTO orders VALUES ('o-steal', 'a1')");
      await refusedWith('LK001', "UPDATE orders SET note = 'x' WHERE id = 'o-a1'");
    } finally {
      await runSql(database.urls.owner, 'DROP TRIGGER zzz_steal ON orders');
    }
  });

  test('an AFTER trigger that writes for another account is fenced by itself', async () => {
    await runSql(
      database.urls.owner,
      `CREATE OR REPLACE FUNCTION public.spill() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN UPDATE public.orders SET note = 'spilt' WHERE account_id = 'b1'; RETURN NULL; END $$;
       CREATE TRIGGER zzz_spill AFTER INSERT ON order_lines FOR EACH STATEMENT EXECUTE FUNCTION public.spill();`,
    );
    try {
      await refusedWith('LK001', "INSERT INTO order_lines (order_id, sku, quantity) VALUES ('o-a1', 'cup', 1)");
    } finally {
      await runSql(database.urls.owner, 'DROP TRIGGER zzz_spill ON order_lines');
    }
  });

  test('giving a row to an account elsewhere, or taking one from there, is refused', async () => {
    await refusedWith('LK001', "UPDATE orders SET account_id = 'b1' WHERE id = 'o-a1'");
    await refusedWith('LK001', "UPDATE orders SET account_id = 'a1' WHERE id = 'o-b1'");
    await refusedWith('LK001', "UPDATE order_lines SET order_id = 'o-b1' WHERE order_id = 'o-a1'");
    await refusedWith('LK001', "UPDATE order_lines SET order_id = 'o-a1' WHERE order_id = 'o-b1'");
    await app.query("UPDATE orders SET account_id = 'a2' WHERE id = 'o-a1'");
    await app.query("UPDATE order_lines SET order_id = 'o-a2' WHERE order_id = 'o-a1'");
  });

  test('cascades: children follow their parent, at home and nowhere else', async () => {
    await app.query("INSERT INTO line_notes (line_id, note) SELECT id, 'n' FROM order_lines WHERE order_id = 'o-a1'");
    await app.query("UPDATE orders SET id = 'renamed' WHERE id = 'o-a1'");
    expect(await rows("SELECT count(*)::int FROM order_lines WHERE order_id = 'renamed'")).toEqual([2]);
    await app.query("DELETE FROM orders WHERE id = 'renamed'");
    expect(await rows('SELECT count(*)::int FROM line_notes')).toEqual([0]);
    await refusedWith('LK001', "DELETE FROM orders WHERE id = 'o-b1'");
    await refusedWith('LK001', "UPDATE orders SET id = 'renamed' WHERE id = 'o-b1'");
  });

  test('savepoints: what a rolled back part had locked does not count afterwards, nor is it missed', async () => {
    await app.query('BEGIN');
    await app.query("UPDATE orders SET note = '1' WHERE id = 'o-a1'");
    await app.query('SAVEPOINT s');
    await refusedWith('LK001', "UPDATE orders SET note = '2' WHERE id = 'o-b1'");
    await app.query('ROLLBACK TO s');
    await app.query("UPDATE orders SET note = '3' WHERE id = 'o-a2'");
    await app.query('ROLLBACK TO s');
    await app.query("UPDATE orders SET note = '4' WHERE id = 'o-a2'");
    await app.query('COMMIT');
    expect(await rows("SELECT note FROM orders WHERE id IN ('o-a1', 'o-a2') ORDER BY id")).toEqual(['1', '4']);
  });

  test('a partition attached after apply is fenced from its first row', async () => {
    await runSql(
      database.urls.owner,
      "CREATE TABLE visits_2027 PARTITION OF visits FOR VALUES FROM ('2027-01-01') TO ('2028-01-01'); GRANT ALL ON visits_2027 TO lanekeeper_application",
    );
    await app.query("INSERT INTO visits_2027 VALUES ('a1', '2027-05-05', '/x')");
    await refusedWith('LK001', "INSERT INTO visits_2027 VALUES ('b1', '2027-05-05', '/x')");
    await refusedWith('LK001', "INSERT INTO visits VALUES ('b1', '2027-05-06', '/x')");
    await refusedWith('LK001', "UPDATE visits_2027 SET account_id = 'b1'");
    await app.query('DELETE FROM visits_2027');
    await database.install();
    await refusedWith('LK001', "INSERT INTO visits_2027 VALUES ('b1', '2027-05-05', '/x')");
    await app.query("INSERT INTO visits VALUES ('a1', '2027-05-05', '/x')");
    await refusedWith('LK006', 'TRUNCATE visits_2027');
  });

  test('the application cannot disable triggers, change the replication role, or touch the private tables', async () => {
    for (const sql of [
      'ALTER TABLE orders DISABLE TRIGGER ALL',
      'SET session_replication_role = replica',
      "UPDATE lanekeeper.deed SET home = 'ny'",
      'SELECT lanekeeper.set_lease(9999999999999)',
      "SELECT setval('lanekeeper.lease', 9999999999999)",
      "SELECT lanekeeper.give('a1', 'la', 1, 0)",
      "SELECT lanekeeper.bear('b1')",
      "INSERT INTO lanekeeper.tick VALUES ('1')",
      "SELECT lanekeeper.claim_value('email', 'x', 'a1')",
      "SELECT lanekeeper.digest('a1')",
      'SELECT * FROM lanekeeper.fence_proof()',
    ]) {
      await refusedWith('42501', sql);
    }
  });

  test('a search_path of the attacker changes nothing', async () => {
    await app.query('CREATE TEMP TABLE deed (account text, home text)');
    await app.query('SET search_path = pg_temp, lanekeeper, public, pg_catalog');
    await refusedWith('LK001', "UPDATE public.orders SET note = 'x' WHERE id = 'o-b1'");
  });
});

describe('the lease', () => {
  test('no lease, no write; reads go on', async () => {
    await database.lease(-1);
    await refusedWith('LK003', "UPDATE orders SET note = 'x' WHERE id = 'o-a1'");
    expect(await rows('SELECT count(*)::int FROM orders')).toEqual([3]);
  });

  test.each(['READ COMMITTED', 'REPEATABLE READ', 'SERIALIZABLE'])(
    'a lease that ends inside a transaction stops its next statement and its commit: %s',
    async (level) => {
      await app.query(`BEGIN ISOLATION LEVEL ${level}`);
      await app.query("UPDATE orders SET note = 'late' WHERE id = 'o-a1'");
      await database.lease(-1);
      await app.query('SAVEPOINT s');
      await refusedWith('LK003', "UPDATE orders SET note = 'x' WHERE id = 'o-a2'");
      await app.query('ROLLBACK TO s');
      await refusedWith('LK003', 'COMMIT');
      await app.query('ROLLBACK');
      expect(await rows("SELECT note FROM orders WHERE id = 'o-a1'")).toEqual([null]);
    },
  );

  test('a crash leaves no lease', async () => {
    await app.end();
    await database.cluster.kill();
    await database.cluster.start();
    app = new Client({ connectionString: database.urls.application });
    await app.connect();
    await refusedWith('LK003', "UPDATE orders SET note = 'x' WHERE id = 'o-a1'");
    await database.lease(60_000);
    await app.query("UPDATE orders SET note = 'x' WHERE id = 'o-a1'");
  });

  test('a clock that was set back does not bring it back to life, even where nobody looks', async () => {
    const grant = 'SELECT lanekeeper.set_lease(wall_ms + 60000) FROM lanekeeper.clock()';
    await runSql(database.urls.agent, grant);
    await app.query("UPDATE orders SET note = 'x' WHERE id = 'o-a1'");
    // An hour back, as the fence sees it: what was a minute away is an hour and a minute away.
    await runSql(database.urls.agent, "SELECT setval('lanekeeper.lease', wall_ms + 3660000) FROM lanekeeper.clock()");
    await refusedWith('LK003', "UPDATE orders SET note = 'x' WHERE id = 'o-a1'");
    await runSql(database.urls.agent, grant);
    await app.query("UPDATE orders SET note = 'x' WHERE id = 'o-a1'");
  });

  test('by uptime as well, where the owner may read it: a clock set back does not lengthen the lease', async () => {
    await runSql(
      database.urls.superuser,
      'GRANT pg_read_server_files TO lanekeeper_owner; GRANT EXECUTE ON FUNCTION pg_read_file(text) TO lanekeeper_owner',
    );
    await runSql(
      database.urls.agent,
      'SELECT lanekeeper.set_lease(wall_ms + 60000, uptime_ms - 1) FROM lanekeeper.clock()',
    );
    await refusedWith('LK003', "UPDATE orders SET note = 'x' WHERE id = 'o-a1'");
    await runSql(
      database.urls.agent,
      'SELECT lanekeeper.set_lease(wall_ms + 60000, uptime_ms + 60000) FROM lanekeeper.clock()',
    );
    await app.query("UPDATE orders SET note = 'x' WHERE id = 'o-a1'");
  });
});

describe('across a rehome', () => {
  const give = "SELECT kind, counter::int, digest FROM lanekeeper.give('a1', 'la', 1, 0)";

  test.each([
    ['READ COMMITTED', 'LK001'],
    ['REPEATABLE READ', '40001'],
    ['SERIALIZABLE', '40001'],
  ])('%s: a snapshot from before the move does not write after it', async (level, sqlstate) => {
    await app.query(`BEGIN ISOLATION LEVEL ${level}`);
    await app.query('SELECT count(*) FROM orders');
    expect(await runSql(database.urls.agent, give)).toMatchObject([{ kind: 'given', counter: 1 }]);
    await refusedWith(sqlstate, "UPDATE orders SET note = 'x' WHERE id = 'o-a1'");
    await app.query('ROLLBACK');
  });

  test.each(['READ COMMITTED', 'REPEATABLE READ', 'SERIALIZABLE'])(
    '%s: the move waits for a writer, and its digest has the row',
    async (level) => {
      const before = await runSql<{ digest: string }>(database.urls.agent, "SELECT lanekeeper.digest('a1') AS digest");
      await app.query(`BEGIN ISOLATION LEVEL ${level}`);
      await app.query("INSERT INTO order_lines (order_id, sku, quantity) VALUES ('o-a1', 'late', 1)");
      let given = false;
      const move = runSql<{ kind: string; digest: string }>(database.urls.agent, give).then((result) => {
        given = true;
        return result[0];
      });
      await app.query("INSERT INTO order_lines (order_id, sku, quantity) VALUES ('o-a1', 'later', 1)");
      await app.query('SELECT pg_sleep(0.2)');
      expect(given).toBe(false);
      await app.query('COMMIT');
      const result = await move;
      expect(result?.kind).toBe('given');
      expect(result?.digest).not.toBe(before[0]?.digest);
      expect(await runSql(database.urls.agent, "SELECT lanekeeper.digest('a1') AS digest")).toEqual([
        { digest: result?.digest },
      ]);
    },
  );

  test('a hard drain stops transactions that begin to write, not those that have', async () => {
    const move = await runSql<{ move: string }>(
      database.urls.agent,
      "SELECT lanekeeper.begin_drain('a1', 'la', $1) AS move",
      [Date.now() + 60_000],
    );
    await app.query("UPDATE orders SET note = 'soft' WHERE id = 'o-a1'");
    await app.query('BEGIN');
    await app.query("UPDATE orders SET note = 'in flight' WHERE id = 'o-a1'");
    await runSql(database.urls.agent, 'SELECT lanekeeper.harden_drain($1)', [move[0]?.move]);
    await app.query("UPDATE orders SET note = 'still in flight' WHERE id = 'o-a1'");
    const other = new Client({ connectionString: database.urls.application });
    await other.connect();
    const error = await refusal(
      other.query("INSERT INTO order_lines (order_id, sku, quantity) VALUES ('o-a1', 'x', 1)"),
    );
    expect(error.code).toBe('LK009');
    await app.query('COMMIT');
    expect(((await refusal(app.query("UPDATE orders SET note = 'x' WHERE id = 'o-a1'"))) as DatabaseError).code).toBe(
      'LK009',
    );
    await runSql(database.urls.agent, 'SELECT lanekeeper.end_drain($1)', [move[0]?.move]);
    await other.query("INSERT INTO order_lines (order_id, sku, quantity) VALUES ('o-a1', 'x', 1)");
    await other.end();
  });

  test('two writers in flight under a hard drain both finish', async () => {
    const other = new Client({ connectionString: database.urls.application });
    await other.connect();
    for (const client of [app, other]) {
      await client.query('BEGIN');
      await client.query("INSERT INTO order_lines (order_id, sku, quantity) VALUES ('o-a1', 'both', 1)");
    }
    const move = await runSql<{ move: string }>(
      database.urls.agent,
      "SELECT lanekeeper.begin_drain('a1', 'la', $1) AS move",
      [Date.now() + 60_000],
    );
    await runSql(database.urls.agent, 'SELECT lanekeeper.harden_drain($1)', [move[0]?.move]);
    for (const client of [app, other])
      await client.query("INSERT INTO order_lines (order_id, sku, quantity) VALUES ('o-a1', 'both', 1)");
    for (const client of [app, other]) await client.query('COMMIT');
    await other.end();
    expect(await rows("SELECT count(*)::int FROM order_lines WHERE sku = 'both'")).toEqual([4]);
  });

  test('a child written while its parent changes hands is judged by the new owner', async () => {
    for (const level of ['READ COMMITTED', 'REPEATABLE READ']) {
      const other = new Client({ connectionString: database.urls.application });
      await other.connect();
      await other.query(`BEGIN ISOLATION LEVEL ${level}`);
      await other.query('SELECT 1 FROM orders');
      await app.query('BEGIN');
      await app.query(
        "UPDATE orders SET account_id = CASE account_id WHEN 'a1' THEN 'a2' ELSE 'a1' END WHERE id = 'o-a1'",
      );
      const write = other.query("INSERT INTO order_lines (order_id, sku, quantity) VALUES ('o-a1', 'x', 1)").then(
        () => 'written',
        (error: DatabaseError) => error.code,
      );
      await app.query('SELECT pg_sleep(0.1)');
      await app.query('COMMIT');
      expect(await write).toBe(level === 'READ COMMITTED' ? 'written' : '40001');
      if (level === 'READ COMMITTED') {
        // The deed of the new owner is locked: giving that account away has to wait.
        const impatient = await refusal(
          runSql(database.urls.agent, "SET lock_timeout = '100ms'; SELECT lanekeeper.give('a2', 'la', 1, 0)"),
        );
        expect(impatient.code).toBe('55P03');
      }
      await other.query('ROLLBACK');
      await other.end();
    }
  });

  test('a new view of the cluster fails transactions that have not seen it', async () => {
    await app.query('BEGIN ISOLATION LEVEL REPEATABLE READ');
    await app.query('SELECT count(*) FROM orders');
    await runSql(
      database.urls.superuser,
      "INSERT INTO lanekeeper.succession (term, kind, from_dc, to_dc) VALUES (2, 'take', 'xx', 'ny'); SELECT setval('lanekeeper.view', 2)",
    );
    await refusedWith('40001', "UPDATE orders SET note = 'x' WHERE id = 'o-a1'");
    await app.query('ROLLBACK');
    await app.query("UPDATE orders SET note = 'x' WHERE id = 'o-a1'");
  });

  test('an epoch never falls, and only the home gives', async () => {
    const arrive = (sql: string) => runSql(database.urls.superuser, `SET session_replication_role = replica; ${sql}`);
    const deed = () =>
      runSql(database.urls.agent, "SELECT home, counter::int FROM lanekeeper.deed WHERE account = 'b1'");
    await arrive("UPDATE lanekeeper.deed SET home = 'ny', counter = 2, giver = 'la' WHERE account = 'b1'");
    await arrive("UPDATE lanekeeper.deed SET home = 'ny', counter = 3, giver = 'la' WHERE account = 'b1'");
    await arrive("INSERT INTO lanekeeper.deed (account, home, term, counter) VALUES ('b1', 'ny', 1, 1)");
    await arrive("UPDATE lanekeeper.deed SET home = 'ny', counter = 4, giver = 'ny' WHERE account = 'b1'");
    expect(await deed()).toEqual([{ home: 'la', counter: 3 }]);
    const incidents = await runSql<{ kind: string }>(
      database.urls.agent,
      'SELECT kind FROM lanekeeper.incident ORDER BY id',
    );
    expect(incidents.map((i) => i.kind)).toEqual(expect.arrayContaining(['deed-regress', 'deed-not-entitled']));
    await arrive("UPDATE lanekeeper.deed SET home = 'ny', counter = 4, giver = 'la' WHERE account = 'b1'");
    expect(await deed()).toEqual([{ home: 'ny', counter: 4 }]);
  });
});

describe('observe and proof', () => {
  test('observe logs and counts what would have been refused', async () => {
    const observing = { ...configuration, enforce: 'observe' as const };
    const watched = await fencedDatabase(schema, observing);
    try {
      await runSql(
        watched.urls.application,
        "INSERT INTO accounts VALUES ('a1'); INSERT INTO orders VALUES ('o1', 'a1'), ('o2', NULL)",
      );
      await runSql(watched.urls.superuser, "UPDATE lanekeeper.deed SET home = 'la', counter = 1 WHERE account = 'a1'");
      await runSql(watched.urls.application, "UPDATE orders SET note = 'x'");
      expect(
        await runSql(
          watched.urls.agent,
          'SELECT sqlstate, count(*)::int FROM lanekeeper.observation GROUP BY 1 ORDER BY 1',
        ),
      ).toEqual([
        { sqlstate: 'LK001', count: 1 },
        { sqlstate: 'LK005', count: 2 },
      ]);
    } finally {
      await watched.stop();
    }
  });

  test('the proof names a trigger that is missing or disabled', async () => {
    const proof = () => runSql(database.urls.agent, 'SELECT * FROM lanekeeper.fence_proof()');
    expect(await proof()).toEqual([]);
    await runSql(
      database.urls.owner,
      'ALTER TABLE orders DISABLE TRIGGER lanekeeper_fence_update; DROP TRIGGER lanekeeper_fence_delete ON order_lines',
    );
    expect(await proof()).toEqual([
      { relation: 'public.order_lines', trigger_name: 'lanekeeper_fence_delete', problem: 'missing' },
      { relation: 'public.orders', trigger_name: 'lanekeeper_fence_update', problem: 'disabled' },
    ]);
    await runSql(database.urls.owner, 'ALTER TABLE orders ENABLE TRIGGER lanekeeper_fence_update');
    await database.install();
    expect(await proof()).toEqual([]);
  });
});
