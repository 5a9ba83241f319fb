/**
 * A standby of a data center's own is promoted: the others go on reading from it where they were, nothing that was
 * acknowledged is missing, and the primary before is written no more. One that lags is found out. From PostgreSQL 17 on; what
 * becomes of one that keeps no copies of slots: standby-without-slots.test.ts.
 */
import { join } from 'node:path';
import { type Standby, startStandby } from '@lanekeeper/lab';
import { Client } from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { TestAgents } from '../support/agents.ts';
import { runSql } from '../support/clusters.ts';
import type { Address, Front } from '../support/front.ts';
import { type FrontedPair, frontedPair } from '../support/fronted.ts';
import type { TestPair } from '../support/pair.ts';
import { postgresMajor } from '../support/version.ts';

const schema = `
CREATE TABLE accounts (id text PRIMARY KEY, name text);
GRANT SELECT, INSERT, UPDATE, DELETE ON accounts TO lanekeeper_application;`;
const slots = ['lanekeeper_la_homed', 'lanekeeper_la_rest'];
const until = { timeout: 60_000, interval: 50 };
/** Two crashes, a promotion and the length of a lease. */
const longTest = { timeout: 180_000 };

let shop: FrontedPair;
let pair: TestPair;
let front: Front;
let agents: TestAgents;
const standbys: Standby[] = [];

beforeAll(async () => {
  shop = await frontedPair({ schema, standbys: [{ name: 'ny_b', sync: true }, { name: 'ny_c' }] });
  ({ pair, front, agents } = shop);
});
afterAll(async () => {
  await agents?.stop();
  await Promise.all(standbys.map((one) => one.stop('immediate')));
  await shop?.stop();
});

/** The database of ny, wherever it is, as this role. */
const at = (address: Address, role: 'application' | 'agent' | 'superuser', superuser = ''): string => {
  const url = new URL(role === 'superuser' ? superuser : pair.dc('ny').urls[role]);
  url.port = String(address.port);
  url.pathname = pair.dc('ny').database.name;
  return url.href;
};
const ids = async (url: string) =>
  (await runSql<{ id: string }>(url, 'SELECT id FROM accounts ORDER BY id')).map(({ id }) => id);
const write = (url: string, id: string) => runSql(url, 'INSERT INTO accounts (id) VALUES ($1)', [id]);
const problems = async (dc: string) => (await agents.status(dc).catch(() => null))?.problems.join('\n') ?? '';
const holds = async (dc: string) => (await agents.status(dc).catch(() => null))?.lease.kind;
const laUrl = () => pair.dc('la').urls.application;

async function makeStandby(name: string, primary: Parameters<typeof startStandby>[0]['primary']): Promise<Standby> {
  const ny = pair.dc('ny');
  const dir = join(ny.cluster.dir, name);
  const standby = await startStandby({ primary, dir, name, database: ny.database.name });
  standbys.push(standby);
  return standby;
}

/** Writes until the database is gone; the names of what was acknowledged. */
function keepWriting(url: string, prefix: string) {
  const acknowledged: string[] = [];
  const done = (async () => {
    const client = new Client({ connectionString: url });
    client.on('error', () => {});
    await client.connect();
    try {
      for (let number = 100; number < 10_000; number++) {
        await client.query('INSERT INTO accounts (id) VALUES ($1)', [`${prefix}_${number}`]);
        acknowledged.push(`${prefix}_${number}`);
      }
    } catch {
      // The server was killed.
    } finally {
      await client.end().catch(() => {});
    }
  })();
  return { acknowledged, done };
}

const withCopiesOfSlots = test.runIf(postgresMajor >= 17);

withCopiesOfSlots(
  'the others go on reading from a promoted standby, nothing acknowledged is missing, and the primary before writes nothing',
  longTest,
  async () => {
    const ny = pair.dc('ny');
    const standby = await makeStandby('ny_b', ny.cluster);
    const found = async () => {
      const { stdout } = await agents.command('ny', 'doctor', '--json');
      const { findings } = JSON.parse(stdout) as { findings: { code: string; subject: string }[] };
      return findings.filter(({ code }) => code.includes('standby')).map(({ code, subject }) => `${code} ${subject}`);
    };
    // ny_c is not there yet; ny_b copies slots, and peers may be ahead of it.
    await standby.untilCaughtUp(slots);
    await expect
      .poll(async () => (await found()).sort(), until)
      .toEqual(['standby-may-be-behind ny_b', 'standby-without-slot ny_c']);
    // Nobody else is sent what this standby does not have yet; while it is away, nothing at all.
    await runSql(ny.cluster.superuserUrl(), `ALTER SYSTEM SET synchronized_standby_slots = 'ny_b'`);
    await runSql(ny.cluster.superuserUrl(), 'SELECT pg_reload_conf()');
    await Promise.all([agents.start('ny'), agents.start('la')]);
    await agents.untilReady('ny', 'la');
    await expect.poll(async () => (await agents.status('ny')).sync.recorded, until).toEqual(['la']);
    const waitedFor = async () =>
      (
        await runSql<{ names: string }>(
          at(ny.cluster, 'agent'),
          `SELECT current_setting('synchronous_standby_names') AS names`,
        )
      )[0]?.names;
    await expect.poll(waitedFor, until).toMatch(/^FIRST 2 \(.*"lanekeeper_la_homed", lanekeeper_own, "ny_b"\)$/);
    // One that is lost holds nobody up: it is let go of, and taken back.
    await standby.stop();
    await runSql(ny.cluster.superuserUrl(), 'ALTER SYSTEM RESET synchronized_standby_slots');
    await runSql(ny.cluster.superuserUrl(), 'SELECT pg_reload_conf()');
    await write(at(front, 'application'), 'without_standby');
    await expect.poll(waitedFor, until).toMatch(/^FIRST 1 \(.*"lanekeeper_la_homed"\)$/);
    await standby.start();
    await expect.poll(waitedFor, until).toMatch(/^FIRST 2 \(/);
    await runSql(ny.cluster.superuserUrl(), `ALTER SYSTEM SET synchronized_standby_slots = 'ny_b'`);
    await runSql(ny.cluster.superuserUrl(), 'SELECT pg_reload_conf()');
    await write(laUrl(), 'la_1');
    await expect.poll(() => ids(at(front, 'application')), until).toContain('la_1');
    await standby.untilCaughtUp(slots);
    const written = keepWriting(at(front, 'application'), 'before');
    await expect.poll(() => written.acknowledged.length, until).toBeGreaterThan(50);

    await ny.cluster.kill();
    await written.done;
    await standby.promote();
    const promoted = at(standby, 'superuser', standby.superuserUrl());
    // UNLOGGED is what must not outlive the primary.
    expect(await runSql(promoted, 'SELECT coalesce(lanekeeper.lease_left_ms(), 0)::int AS left')).toEqual([
      { left: 0 },
    ]);
    await expect(write(at(standby, 'application'), 'without_lease')).rejects.toMatchObject({ code: 'LK003' });
    // What was applied of la, and up to where, is in the log.
    const progress = await runSql<{ far: boolean }>(
      promoted,
      `SELECT remote_lsn > '0/0' AS far FROM pg_replication_origin_status s JOIN pg_replication_origin o ON o.roident = s.local_id
      WHERE o.roname = (SELECT 'pg_' || oid FROM pg_subscription WHERE subname = 'lanekeeper_la_homed')`,
    );
    expect(progress).toEqual([{ far: true }]);
    front.lead(standby);

    await expect.poll(() => holds('ny'), until).toBe('held');
    const recorded = `SELECT timeline, generation FROM lanekeeper_lease.lease WHERE dc = 'ny'`;
    expect(await runSql(pair.witness.url, recorded)).toEqual([{ timeline: 2, generation: 1 }]);
    expect(await ids(promoted)).toEqual(expect.arrayContaining([...written.acknowledged, 'la_1']));
    await write(at(front, 'application'), 'after_promotion');
    await write(laUrl(), 'la_2');
    await expect.poll(() => ids(at(front, 'application')), until).toContain('la_2');
    await expect.poll(() => ids(laUrl()), until).toContain('after_promotion');

    // Whether all that la had been told was applied has come with it is for `verify` to say; until then it is nobody's successor.
    expect(await problems('ny')).toContain('promoted');
    expect((await agents.status('ny')).peers.la?.incomplete).not.toEqual([]);
    expect(await agents.command('ny', 'verify')).toMatchObject({ exitCode: 0 });
    await agents.untilReady('ny', 'la');
    await expect.poll(async () => (await agents.status('la')).sync.recorded, until).toEqual(['ny']);

    await agents.stop();
    await ny.cluster.start();
    front.lead(ny.cluster);
    await agents.start('ny');
    await expect.poll(() => problems('ny'), until).toContain('a standby of this database was promoted');
    await expect(write(at(front, 'application'), 'by_the_old_one')).rejects.toMatchObject({ code: 'LK003' });
    // Nor does it take from others what the promoted one is to have.
    const enabled = `SELECT count(*)::int AS n FROM pg_subscription WHERE subenabled`;
    await expect.poll(() => runSql(ny.cluster.superuserUrl(), enabled), until).toEqual([{ n: 0 }]);
    await agents.stop();
    await ny.cluster.stop('immediate');
    front.lead(standby);
  },
);

withCopiesOfSlots(
  'a standby that lags is promoted: it gets no lease, says what it lacks, and another data center takes over',
  longTest,
  async () => {
    const primary = standbys[0] as Standby;
    const standby = await makeStandby('ny_c', primary);
    await Promise.all([agents.start('ny'), agents.start('la')]);
    await agents.untilReady('ny', 'la');
    // Who was not in its sync set does not take over without force.
    await expect.poll(async () => (await agents.status('ny')).sync.recorded, until).toEqual(['la']);
    await standby.untilCaughtUp(slots);
    const had = await standby.replayed();
    await standby.stop();
    await write(at(front, 'application'), 'not_in_the_standby');
    await expect.poll(() => ids(laUrl()), until).toContain('not_in_the_standby');
    // la tells the lease store how far it has come whenever it renews its lease.
    const known = `SELECT (positions->'homed'->>'ny')::pg_lsn > $1 AS known FROM lanekeeper_lease.lease WHERE dc = 'la'`;
    await expect.poll(() => runSql(pair.witness.url, known, [had]), until).toEqual([{ known: true }]);
    await primary.kill();
    await standby.start();
    await standby.promote();
    front.lead(standby);
    await expect.poll(() => problems('ny'), until).toContain('lacks what is known to have been there');
    expect(await problems('ny')).toMatch(/the promoted log ends at/);
    await expect(write(at(front, 'application'), 'by_one_that_lags')).rejects.toMatchObject({ code: 'LK003' });
    const recorded = `SELECT timeline FROM lanekeeper_lease.lease WHERE dc = 'ny'`;
    expect(await runSql(pair.witness.url, recorded)).toEqual([{ timeline: 2 }]);

    // As soon as nobody can hold its lease any more.
    const failover = ['failover', '--from', 'ny', '--confirm', 'ny'];
    await expect.poll(async () => (await agents.command('la', ...failover)).exitCode, until).toBe(0);
    await expect
      .poll(() => runSql(laUrl(), `SELECT home FROM lanekeeper.where_is('not_in_the_standby')`), until)
      .toEqual([{ home: 'la' }]);
  },
);
