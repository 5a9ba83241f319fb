/**
 * Three real data centers, without agents: `ny` fails while `fra` has heard less of it than `la`. What `fra` lacks comes from
 * the relay slot that `la` keeps for it; then both have the same, row for row.
 */
import { doctor, recordSuccessions, type TailPlace } from '@lanekeeper/server/postgres';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { runSql } from '../support/clusters.ts';
import { pause, type Relaying, relaying, takeoverTerm as term } from '../support/relaying.ts';
import { using } from '../support/taken-over.ts';

let here: Relaying;
beforeEach(async () => {
  here = await relaying();
}, 120_000);
afterEach(() => here?.trio.stop());

describe('what one data center lacks of one that is gone', () => {
  test('comes from the other, whatever it was, and both are the same; the successor is heard only then', async () => {
    const {
      advance,
      arrived,
      cutOff,
      ensureSlots,
      everywhere,
      fail,
      feed,
      replay,
      same,
      sampleOf,
      stock,
      urls,
      write,
    } = here;
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
    const { arrived, cutOff, ensureSlots, fail, replay, same, stock, trio, urls, write } = here;
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
    const fra = (sql: string) => runSql<{ n: number }>(urls('fra').superuser, `${aside}; ${sql}`);
    const orders = async () => (await fra('SELECT count(*)::int AS n FROM orders'))[0]?.n ?? 0;
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
    await fra(`CREATE TABLE aside AS SELECT * FROM accounts WHERE id = 'a2'; DELETE FROM accounts WHERE id = 'a2'`);
    expect(await replay(upTo)).toEqual({
      kind: 'not-yet',
      problem: 'a row of public.accounts is missing here that ny had changed',
    });
    expect(await fra(`SELECT name FROM accounts WHERE id IN ('c1', 'a1') ORDER BY id`)).toEqual([
      { name: 'name 1' },
      { name: 'one more' },
    ]);
    await fra('INSERT INTO accounts SELECT * FROM aside; DROP TABLE aside');

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
    await fra(`UPDATE lanekeeper.frozen SET homed = '${upTo.homed}'::pg_lsn - 1`);
    expect(await replay(upTo)).toEqual(lost('has lost the log'));
    await there(`ALTER SYSTEM RESET max_slot_wal_keep_size`);
    await there('SELECT pg_reload_conf()');
    await there('DELETE FROM lanekeeper.frozen');
    expect(await ensureSlots()).toEqual(['ny created', 'fra created']);
  }, 300_000);
});

function passwordsOf(name: string): Record<string, string> {
  const roles = ['owner', 'agent', 'application', 'replication'] as const;
  return Object.fromEntries(
    roles.map((role) => [`LANEKEEPER_${role.toUpperCase()}_PASSWORD`, new URL(here.trio.dc(name).urls[role]).password]),
  );
}

async function until(look: () => Promise<boolean>): Promise<void> {
  for (let attempt = 0; attempt < 2_000; attempt += 1) {
    if (await look()) return;
    await pause(5);
  }
  throw new Error('it did not come to that');
}
