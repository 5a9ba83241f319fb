/**
 * Three real data centers, without agents: `ny` fails while `fra` has heard less of it than `la`. What `fra` lacks comes from
 * the relay slot that `la` keeps for it; then both have the same, row for row.
 */
import {
  advanceRelaySlot,
  beginSample,
  coveredSample,
  doctor,
  ensureRelaySlots,
  finishSample,
  freezeStreams,
  noteHeard,
  type PeerTails,
  type RelaySample,
  type ReplayResult,
  readTails,
  recordSuccessions,
  replayTail,
  type TailPlace,
  withSample,
} from '@lanekeeper/server/postgres';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { connectAs } from '../support/applied.ts';
import { runSql } from '../support/clusters.ts';
import { using } from '../support/taken-over.ts';
import { type Trio, testTrio } from '../support/trio.ts';

let trio: Trio;
const term = 2;

const schema = `
  CREATE TABLE accounts (id text PRIMARY KEY, name text, note text);
  ALTER TABLE accounts ALTER note SET STORAGE EXTERNAL;
  CREATE TABLE orders (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, account text NOT NULL REFERENCES accounts ON DELETE CASCADE,
    amount numeric NOT NULL, doubled numeric GENERATED ALWAYS AS (amount * 2) STORED, at timestamptz NOT NULL DEFAULT clock_timestamp(), tags text[]);
  CREATE TABLE visits (id bigint PRIMARY KEY, account text NOT NULL, "when" date NOT NULL, length interval, rate float8);
  ALTER TABLE visits REPLICA IDENTITY FULL;
  CREATE TABLE parts (account text NOT NULL, n int NOT NULL, body text, PRIMARY KEY (n, account)) PARTITION BY HASH (n);
  CREATE TABLE parts_0 PARTITION OF parts FOR VALUES WITH (MODULUS 2, REMAINDER 0);
  CREATE TABLE parts_1 PARTITION OF parts FOR VALUES WITH (MODULUS 2, REMAINDER 1);
  CREATE TABLE products (id int PRIMARY KEY, title text);
  CREATE TABLE reviews (id int PRIMARY KEY, body text);
`;

async function begin(): Promise<void> {
  trio = await testTrio({
    schema,
    approach: 'full-active-active',
    tables: {
      accounts: { class: 'system-of-record', account: 'id', root: true },
      orders: { class: 'system-of-record', account: 'account' },
      visits: { class: 'system-of-record', account: 'account' },
      parts: { class: 'system-of-record', account: 'account' },
      products: { class: 'read-only', feeder: 'ny' },
      reviews: { class: 'system-of-reference', policy: 'timestamp-weight' },
    },
  });
  for (const name of trio.names) {
    await runSql(urls(name).agent, 'SELECT lanekeeper.set_lease(wall_ms + 600000) FROM lanekeeper.clock()');
  }
}

const urls = (name: string) => trio.dc(name).urls;
const write = (name: string, sql: string) => runSql(urls(name).application, sql);
const feed = (sql: string) => runSql(urls('ny').owner, `BEGIN; SELECT lanekeeper.publishing(); ${sql}; COMMIT`);

/** Of one stream out of `from`: until `reader` has confirmed what was written so far. */
async function arrived(from: string, reader: string): Promise<void> {
  const [row] = await runSql<{ lsn: string }>(
    urls(from).superuser,
    "SELECT pg_logical_emit_message(true, 'test', 'arrived')::text AS lsn",
  );
  for (let attempt = 0; attempt < 600; attempt += 1) {
    const rows = await runSql(
      urls(from).superuser,
      'SELECT FROM pg_replication_slots WHERE slot_name = ANY ($1) AND confirmed_flush_lsn > $2::pg_lsn',
      [[`lanekeeper_${reader}_homed`, `lanekeeper_${reader}_rest`], row?.lsn],
    );
    if (rows.length === 2) return;
    await pause();
  }
  throw new Error(`what ${from} wrote did not arrive in ${reader}`);
}

async function everywhere(): Promise<void> {
  for (const from of trio.names) for (const reader of trio.names) if (from !== reader) await arrived(from, reader);
}

const pause = (ms = 50) => new Promise((resolve) => setTimeout(resolve, ms));

/** `fra` hears nothing more of `ny`. */
async function cutOff(streams = ['homed', 'rest']): Promise<void> {
  for (const stream of streams) await runSql(urls('fra').agent, `ALTER SUBSCRIPTION lanekeeper_ny_${stream} DISABLE`);
}

/** The sessions of `name`'s agent, as it has them. */
async function sessionsOf<T>(
  name: string,
  work: (sessions: Parameters<typeof advanceRelaySlot>[0]) => Promise<T>,
): Promise<T> {
  return using(urls(name).agent, (agent) =>
    using(urls(name).replication, (replication) => work({ agent, replication })),
  );
}

async function ensureSlots(name = 'la'): Promise<readonly string[]> {
  const outcomes = await sessionsOf(name, (sessions) => ensureRelaySlots(sessions, trio.dc(name).configuration));
  return outcomes.map(({ peer, kind, message }) => (kind === 'failed' ? message : `${peer} ${kind}`));
}

async function tailsOf(name: string): Promise<PeerTails> {
  const others = trio.names.filter((one) => one !== name);
  return using(urls(name).agent, async (client) => {
    await noteHeard(client, others);
    const tails: Record<string, Record<string, string>> = {};
    for (const { publisher, stream, tail } of await readTails(client, others)) {
      tails[publisher] = { ...tails[publisher], [stream]: tail };
    }
    return tails;
  });
}

async function sampleOf(name: string): Promise<RelaySample> {
  const others = trio.names.filter((one) => one !== name);
  return using(urls(name).agent, async (client) => {
    const begun = await beginSample(client);
    for (;;) {
      const sample = await finishSample(client, begun, others);
      if (sample !== null) return sample;
      await pause(10);
    }
  });
}

async function advance(samples: readonly RelaySample[]): Promise<RelaySample | null> {
  const covered = coveredSample(samples, 'fra', await tailsOf('fra'));
  if (covered !== null) await sessionsOf('la', (sessions) => advanceRelaySlot(sessions, 'fra', covered));
  return covered;
}

async function fail(): Promise<Readonly<Record<string, TailPlace>>> {
  await trio.dc('ny').database.cluster.kill();
  const tails: Record<string, TailPlace> = {};
  for (const name of ['la', 'fra']) {
    tails[name] = await using(urls(name).agent, (client) => freezeStreams(client, 'ny', term, 10_000));
  }
  return tails;
}

function replay(upTo: TailPlace, withinMs?: number): Promise<ReplayResult> {
  return replayTail({
    here: { name: 'fra', agent: connectAs(trio.dc('fra'), 'agent') },
    there: {
      name: 'la',
      agent: connectAs(trio.dc('la'), 'agent'),
      replication: connectAs(trio.dc('la'), 'replication'),
    },
    of: 'ny',
    term,
    upTo,
    ...(withinMs === undefined ? {} : { withinMs }),
  });
}

const compared = [
  ...['accounts', 'orders', 'visits', 'parts', 'products', 'reviews'].map((name) => `public.${name}`),
  ...['deed', 'acceptance', 'outcome', 'claim', 'adoption'].map((name) => `lanekeeper.${name}`),
];

async function rowsOf(name: string): Promise<Record<string, unknown>> {
  const rows: Record<string, unknown> = {};
  for (const table of compared) {
    const found = await runSql<{ row: string }>(
      urls(name).superuser,
      `SELECT CASE WHEN length(t::text) < 200 THEN t::text ELSE left(t::text, 60) || md5(t::text) END AS row
        FROM ${table} t ORDER BY t::text COLLATE "C"`,
    );
    rows[table] = found.map(({ row }) => row);
  }
  const versions = await runSql<{ row: string }>(
    urls(name).superuser,
    'SELECT ROW(relation, key, stamp, root, deleted)::text AS row FROM lanekeeper.version ORDER BY 1',
  );
  rows.versions = versions.map(({ row }) => row);
  return rows;
}

async function same(): Promise<void> {
  const [la, fra] = [await rowsOf('la'), await rowsOf('fra')];
  for (const table of Object.keys(la)) expect(fra[table], table).toEqual(la[table]);
}

/** What there was before anything failed. */
async function stock(): Promise<void> {
  await write(
    'ny',
    `INSERT INTO accounts SELECT 'a' || n, 'name ' || n, repeat(md5(n::text), 200) FROM generate_series(1, 40) n;
      INSERT INTO orders (account, amount, tags) SELECT 'a' || n, n, ARRAY['x', NULL, 'y "z"'] FROM generate_series(1, 40) n;
      INSERT INTO visits SELECT n, 'a' || n, date '2024-02-03' + n, interval '1 mon -1 day', 0.1 * n FROM generate_series(1, 40) n;
      INSERT INTO parts SELECT 'a' || n, n, 'part ' || n FROM generate_series(1, 40) n;
      INSERT INTO reviews SELECT n, 'review ' || n FROM generate_series(1, 20) n;`,
  );
  await feed(`INSERT INTO products SELECT n, 'product ' || n FROM generate_series(1, 20) n`);
  await everywhere();
}

beforeEach(begin, 120_000);
afterEach(() => trio?.stop());

describe('what one data center lacks of one that is gone', () => {
  test('comes from the other, whatever it was, and both are the same; the successor is heard only then', async () => {
    await stock();
    expect(await ensureSlots()).toEqual(['ny created', 'fra created']);
    expect(await ensureSlots()).toEqual(['ny unchanged', 'fra unchanged']);
    await write('ny', `INSERT INTO accounts VALUES ('b0', 'heard by both', NULL)`);
    await everywhere();
    expect(await advance([await sampleOf('la')])).not.toBeNull();
    await cutOff();

    await write(
      'ny',
      `INSERT INTO accounts VALUES ('b1', 'new', repeat('long ', 3000)), ('b2', '', NULL);
        INSERT INTO orders (account, amount) VALUES ('b1', 1.50), ('b1', 'NaN');
        UPDATE accounts SET name = 'the note stays where it is' WHERE id IN ('a1', 'a2');
        UPDATE accounts SET note = repeat('another ', 2000) WHERE id = 'a3';
        UPDATE orders SET amount = -amount, tags = '{}' WHERE account IN ('a1', 'a2', 'a3');
        UPDATE visits SET rate = 'NaN', "when" = 'infinity' WHERE id = 7;
        DELETE FROM visits WHERE id = 8;
        UPDATE parts SET body = NULL WHERE n = 3;
        UPDATE parts SET n = n + 100 WHERE n < 5;
        DELETE FROM accounts WHERE id = 'a40' AND NOT EXISTS (SELECT FROM orders WHERE account = 'a40');`,
    );
    await write('ny', `DELETE FROM accounts WHERE id = 'a39'`);
    await write(
      'ny',
      `INSERT INTO reviews VALUES (100, 'new'); UPDATE reviews SET body = 'changed' WHERE id < 4; DELETE FROM reviews WHERE id = 5`,
    );
    await feed(
      `INSERT INTO products VALUES (100, 'new'); UPDATE products SET title = 'changed' WHERE id = 1; DELETE FROM products WHERE id = 2`,
    );
    // An account that has moved, and was written and accepted there.
    const [given] = await runSql<{ kind: string; term: string; counter: string }>(
      urls('ny').agent,
      `SELECT * FROM lanekeeper.give('a10', 'la', 1, 0)`,
    );
    expect(given).toMatchObject({ kind: 'given', counter: '1' });
    // More than is fetched at a time, and more than one INSERT holds.
    await write('ny', `INSERT INTO parts SELECT 'a11', n, repeat(md5(n::text), 30) FROM generate_series(1000, 4500) n`);
    await arrived('ny', 'la');
    expect(await runSql(urls('la').agent, `SELECT kind FROM lanekeeper.accept('a10', 1, 1)`)).toEqual([
      { kind: 'accepted' },
    ]);
    await write('la', `UPDATE accounts SET name = 'written by la' WHERE id = 'a10'`);

    const tails = await fail();
    expect(tails.la?.homed).not.toEqual(tails.fra?.homed);
    const upTo = tails.la as TailPlace;
    await using(urls('la').agent, (client) =>
      recordSuccessions(client, [{ term, kind: 'take', from: 'ny', to: 'la', undoes: null }], {
        ny: { generation: 1, ...upTo },
      }),
    );
    await write('la', `UPDATE accounts SET name = 'by the successor' WHERE id = 'b1'`);
    expect(await runSql(urls('fra').agent, `SELECT FROM accounts WHERE id = 'b1'`)).toEqual([]);
    await pause(1_000);
    expect(
      await runSql(urls('fra').agent, `SELECT FROM accounts WHERE name LIKE '%by %la' OR name LIKE 'by the%'`),
    ).toEqual([]);
    expect(await runSql(urls('fra').agent, 'SELECT FROM lanekeeper.succession')).toEqual([]);

    expect(await replay(upTo)).toEqual({ kind: 'reached', ...upTo });
    await arrived('la', 'fra');
    await same();
    expect(await runSql(urls('fra').agent, 'SELECT term::int FROM lanekeeper.succession')).toEqual([{ term }]);
    expect(await runSql(urls('fra').agent, `SELECT name FROM accounts WHERE id IN ('a10', 'b1') ORDER BY id`)).toEqual([
      { name: 'written by la' },
      { name: 'by the successor' },
    ]);
    expect(await replay(upTo)).toEqual({ kind: 'reached', ...upTo });
    expect(await runSql(urls('fra').agent, 'SELECT * FROM lanekeeper.incident')).toEqual([]);
  }, 300_000);

  test('is lost where it was not kept, is not applied in part, and goes on where an attempt was killed', async () => {
    await stock();
    await ensureSlots();
    await cutOff();
    await write('ny', `INSERT INTO accounts VALUES ('c1', 'one more', NULL)`);
    await write('ny', `UPDATE accounts SET name = 'changed' WHERE id IN ('c1', 'a1', 'a2')`);
    await using(urls('ny').application, async (client) => {
      for (let n = 1; n <= 200; n += 1) {
        await client.query('INSERT INTO orders (account, amount) VALUES ($1, $2)', [`a${(n % 40) + 1}`, n]);
      }
    });
    await write('ny', `UPDATE orders SET amount = amount + 1`);
    await arrived('ny', 'la');
    const upTo = (await fail()).la as TailPlace;
    const there = (sql: string) => runSql(urls('la').superuser, sql);
    // Of which no stream tells.
    await runSql(urls('fra').superuser, `SELECT pg_replication_origin_create('test')`);
    const aside = `SELECT pg_replication_origin_session_setup('test'); SET session_replication_role = replica`;
    const here = (sql: string) => runSql<{ n: number }>(urls('fra').superuser, `${aside}; ${sql}`);
    const orders = async () => (await here('SELECT count(*)::int AS n FROM orders'))[0]?.n ?? 0;
    const lost = (why: string) => ({ kind: 'lost', problem: expect.stringContaining(why) });

    // Nothing is known of what is kept; or it begins later than what is here ends; or the slot is another one, or none.
    await there(
      `CREATE TABLE known AS SELECT * FROM lanekeeper.relay; DELETE FROM lanekeeper.relay WHERE peer = 'fra'`,
    );
    expect(await replay(upTo)).toEqual(lost('does not know'));
    await there(`INSERT INTO lanekeeper.relay SELECT * FROM known WHERE peer = 'fra'`);
    await there(`UPDATE lanekeeper.relay SET complete_from = '${upTo.homed}' WHERE peer = 'fra' AND stream = 'homed'`);
    expect(await replay(upTo)).toEqual(lost(`has kept of ny's homed stream what is beyond ${upTo.homed}`));
    await there('TRUNCATE lanekeeper.relay; INSERT INTO lanekeeper.relay SELECT * FROM known; DROP TABLE known');
    await there(`SELECT pg_copy_logical_replication_slot('lanekeeper_fra_relay', 'kept')`);
    await there(`SELECT pg_drop_replication_slot('lanekeeper_fra_relay')`);
    expect(await replay(upTo)).toEqual(lost('there is no slot'));
    expect(await ensureSlots()).toEqual(['ny unchanged', 'fra waiting']);
    await there(`SELECT pg_create_logical_replication_slot('lanekeeper_fra_relay', 'pgoutput')`);
    expect(await replay(upTo)).toEqual(lost('beyond'));
    await there(`SELECT pg_drop_replication_slot('lanekeeper_fra_relay')`);
    await there(
      `SELECT pg_copy_logical_replication_slot('kept', 'lanekeeper_fra_relay'), pg_drop_replication_slot('kept')`,
    );
    expect(await orders()).toBe(40);

    // A right that only three data centers need is missing: doctor says which.
    const right = 'EXECUTE ON FUNCTION pg_replication_origin_xact_setup(pg_lsn, timestamptz)';
    await runSql(urls('fra').superuser, `REVOKE ${right} FROM lanekeeper_agent`);
    expect(await replay(upTo)).toEqual({ kind: 'not-yet', problem: expect.stringContaining('[42501]') });
    const { findings } = await doctor({ configuration: trio.dc('fra').configuration, env: passwordsOf('fra') });
    const missing = findings.find(({ code }) => code === 'role-replay');
    expect(missing).toMatchObject({ severity: 'error', runAs: 'superuser' });
    await runSql(urls('fra').superuser, missing?.mend ?? '');

    // Somebody has taken a row away.
    await here(`CREATE TABLE aside AS SELECT * FROM accounts WHERE id = 'a2'; DELETE FROM accounts WHERE id = 'a2'`);
    expect(await replay(upTo)).toEqual({
      kind: 'not-yet',
      problem: 'a row of public.accounts is missing here that ny had changed',
    });
    expect(await here(`SELECT name FROM accounts WHERE id IN ('c1', 'a1') ORDER BY id`)).toEqual([
      { name: 'name 1' },
      { name: 'one more' },
    ]);
    await here('INSERT INTO accounts SELECT * FROM aside; DROP TABLE aside');

    // The server that it writes to dies, then the session that it reads from.
    let replaying = replay(upTo);
    await until(async () => (await orders()) > 50);
    await trio.dc('fra').database.cluster.kill();
    expect(await replaying).toMatchObject({ kind: 'not-yet' });
    await trio.dc('fra').database.cluster.start();
    const reading = `FROM pg_stat_activity WHERE application_name = 'lanekeeper relay' AND usename = 'lanekeeper_replication'`;
    replaying = replay(upTo);
    await until(async () => (await there(`SELECT pg_terminate_backend(pid) ${reading}`)).length > 0);
    expect(await replaying).toMatchObject({ kind: 'not-yet' });
    expect(await replay(upTo, 0)).toEqual({ kind: 'not-yet', problem: 'there is more of ny to fetch from la' });
    expect(await replay(upTo)).toEqual({ kind: 'reached', ...upTo });
    await same();

    // The slot has lost its log; when nobody is taken over any more it is made anew.
    await there(`ALTER SYSTEM SET max_slot_wal_keep_size = '1MB'`);
    await there('SELECT pg_reload_conf()');
    const state = `SELECT wal_status FROM pg_replication_slots WHERE slot_name = 'lanekeeper_fra_relay'`;
    await until(async () => {
      await there(`SELECT pg_logical_emit_message(true, 'test', repeat('x', 4000000)), pg_switch_wal()`);
      await there('CHECKPOINT');
      return (await there(state))[0]?.wal_status === 'lost';
    });
    await here(`UPDATE lanekeeper.frozen SET homed = '${upTo.homed}'::pg_lsn - 1`);
    expect(await replay(upTo)).toEqual(lost('has lost the log'));
    await there(`ALTER SYSTEM RESET max_slot_wal_keep_size`);
    await there('SELECT pg_reload_conf()');
    await there('DELETE FROM lanekeeper.frozen');
    expect(await ensureSlots()).toEqual(['ny created', 'fra created']);
  }, 300_000);
});

describe('a relay slot that is moved on', () => {
  test('at random moments under load never lets go of what its reader lacks, and does not keep the rest', async () => {
    await stock();
    await ensureSlots();
    const loading = { on: true, written: 0 };
    const load = ['a', 'b', 'c'].map(async (writer) => {
      for (let n = 0; loading.on; n += 1) {
        await write(
          'ny',
          `INSERT INTO accounts VALUES ('${writer}-${n}', 'x', NULL); INSERT INTO reviews VALUES (hashtext('${writer}-${n}'), '${n}')`,
        );
        await write('ny', `UPDATE accounts SET name = 'changed' WHERE id = '${writer}-${n - 1}'`);
        loading.written += 1;
      }
    });
    const random = seeded(20_261_122);
    let samples: readonly RelaySample[] = [];
    let moved = 0;
    for (let round = 0; round < 40; round += 1) {
      const act = random();
      if (act < 0.15)
        await runSql(
          urls('fra').agent,
          `ALTER SUBSCRIPTION lanekeeper_ny_${random() < 0.5 ? 'homed' : 'rest'} DISABLE`,
        );
      else if (act < 0.35) await enableAll();
      samples = withSample(samples, await sampleOf('la'), 8);
      if (random() < 0.7 && (await advance(samples)) !== null) moved += 1;
      await pause(random() * 60);
    }
    expect(moved).toBeGreaterThan(5);
    await enableAll();
    await pause(300);
    await cutOff(random() < 0.5 ? ['homed', 'rest'] : ['homed']);
    await pause(300);
    loading.on = false;
    await Promise.all(load);
    await arrived('ny', 'la');
    await advance(withSample(samples, await sampleOf('la'), 8));
    const upTo = (await fail()).la as TailPlace;
    // Of a stream that was not cut off it may have come past more that was nothing to it.
    expect(await replay(upTo)).toMatchObject({ kind: 'reached', homed: upTo.homed });
    await same();

    // Now that both have the same, nothing has to be kept.
    const last = await sampleOf('la');
    expect((await advance([last]))?.place).toBe(last.place);
    const [slot] = await runSql<{ passed: boolean }>(
      urls('la').superuser,
      `SELECT confirmed_flush_lsn >= $1::pg_lsn AS passed FROM pg_replication_slots WHERE slot_name = 'lanekeeper_fra_relay'`,
      [last.place],
    );
    expect(slot).toEqual({ passed: true });
  }, 300_000);
});

function passwordsOf(name: string): Record<string, string> {
  const roles = ['owner', 'agent', 'application', 'replication'] as const;
  return Object.fromEntries(
    roles.map((role) => [`LANEKEEPER_${role.toUpperCase()}_PASSWORD`, new URL(urls(name)[role]).password]),
  );
}

async function enableAll(): Promise<void> {
  for (const stream of ['homed', 'rest'])
    await runSql(urls('fra').agent, `ALTER SUBSCRIPTION lanekeeper_ny_${stream} ENABLE`);
}

async function until(look: () => Promise<boolean>): Promise<void> {
  for (let attempt = 0; attempt < 2_000; attempt += 1) {
    if (await look()) return;
    await pause(5);
  }
  throw new Error('it did not come to that');
}

/** The same numbers in every run. */
function seeded(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 4_294_967_296;
  };
}
