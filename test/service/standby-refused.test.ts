/**
 * A standby that lags is promoted and refused, and a person puts the primary before back in its place. What the refused one would
 * have taken of other data centers meanwhile reaches the one that goes on; and what it could confirm nevertheless is answered for.
 */
import { join } from 'node:path';
import { type Standby, startStandby } from '@lanekeeper/lab';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { runSql } from '../support/clusters.ts';
import { type FrontedPair, frontedPair } from '../support/fronted.ts';
import { postgresMajor } from '../support/version.ts';

const slots = ['lanekeeper_la_homed', 'lanekeeper_la_rest'];
const until = { timeout: 60_000, interval: 50 };

let shop: FrontedPair;
let standby: Standby;

beforeAll(async () => {
  shop = await frontedPair({ standbys: [{ name: 'ny_b' }] });
});
afterAll(async () => {
  await shop?.agents.stop();
  await standby?.stop('immediate');
  await shop?.stop();
});

const idsIn = async (url: string) =>
  (await runSql<{ id: string }>(url, 'SELECT id FROM accounts ORDER BY id')).map(({ id }) => id);
const write = (url: string, id: string) => runSql(url, 'INSERT INTO accounts (id) VALUES ($1)', [id]);

test('nothing is published that would not wait', async () => {
  const uncovered = `SELECT DISTINCT p.prrelid::regclass::text AS relation FROM pg_publication_rel p
    WHERE NOT EXISTS (SELECT FROM pg_trigger t WHERE t.tgrelid = p.prrelid AND t.tgname = 'lanekeeper_arrival' AND t.tgenabled = 'R')`;
  expect(await runSql(shop.pair.dc('ny').urls.agent, uncovered)).toEqual([]);
  const covered = `SELECT count(*)::int AS n FROM pg_trigger WHERE tgname = 'lanekeeper_arrival' AND tgrelid = 'accounts'::regclass`;
  expect(await runSql(shop.pair.dc('ny').urls.agent, covered)).toEqual([{ n: 1 }]);
  // Where there is no standby it costs nothing.
  expect(await runSql(shop.pair.dc('la').urls.agent, covered)).toEqual([{ n: 0 }]);
});

test.runIf(postgresMajor >= 17)(
  'the primary before goes on in the place of a refused standby, and lacks nothing that others wrote',
  {
    timeout: 180_000,
  },
  async () => {
    const { pair, front, agents } = shop;
    const { cluster, database, urls } = pair.dc('ny');
    const la = pair.dc('la');
    const laUrl = la.urls.application;
    const inFront = new URL(urls.application);
    inFront.port = String(front.port);
    const nyUrl = inFront.href;
    const problems = async (dc: string) => (await agents.status(dc).catch(() => null))?.problems.join('\n') ?? '';
    const nameOf = async (url: string) =>
      (await runSql<{ name: string }>(url, `SELECT name FROM accounts WHERE id = 'la_before'`))[0]?.name;
    const dir = join(cluster.dir, 'ny_b');
    standby = await startStandby({ primary: cluster, dir, name: 'ny_b', database: database.name });
    await standby.untilCaughtUp(slots);
    await Promise.all([agents.start('ny'), agents.start('la')]);
    await agents.untilReady('ny', 'la');
    const had = await standby.replayed();
    await standby.stop();
    await write(laUrl, 'la_before');
    await expect.poll(() => idsIn(nyUrl), until).toContain('la_before');
    await write(nyUrl, 'not_in_the_standby');
    await expect.poll(() => idsIn(laUrl), until).toContain('not_in_the_standby');
    const known = `SELECT (positions->'homed'->>'ny')::pg_lsn > $1 AS known FROM lanekeeper_lease.lease WHERE dc = 'la'`;
    await expect.poll(() => runSql(pair.witness.url, known, [had]), until).toEqual([{ known: true }]);

    await cluster.kill();
    // Nothing stops a worker at a change of a row that is not there.
    await runSql(laUrl, `UPDATE accounts SET name = 'changed' WHERE id = 'la_before'`);
    const [place] = await runSql<{ lsn: string }>(la.urls.agent, 'SELECT pg_current_wal_lsn() AS lsn');
    await standby.start();
    await standby.promote();
    front.lead(standby);
    const confirmed = `SELECT confirmed_flush_lsn >= $1 AS confirmed FROM pg_replication_slots WHERE slot_name = 'lanekeeper_ny_homed'`;
    await expect.poll(() => runSql(la.urls.agent, confirmed, [place?.lsn]), until).toEqual([{ confirmed: true }]);
    await write(laUrl, 'la_meanwhile');
    await expect.poll(() => problems('ny'), until).toContain('lacks what is known to have been there');
    // The worker waits with it, gives up, and is started again.
    const promoted = standby.superuserUrl(database.name);
    const errors = `SELECT apply_error_count > 0 AS waited FROM pg_stat_subscription_stats WHERE subname = 'lanekeeper_la_homed'`;
    await expect.poll(() => runSql(promoted, errors), until).toEqual([{ waited: true }]);
    expect(await idsIn(promoted)).toEqual([]);

    await standby.stop('immediate');
    await cluster.start();
    front.lead(cluster);
    await expect.poll(async () => (await agents.status('ny').catch(() => null))?.lease.kind, until).toBe('held');
    await expect.poll(() => idsIn(nyUrl), until).toEqual(['la_before', 'la_meanwhile', 'not_in_the_standby']);
    expect(await nameOf(nyUrl)).toBeNull();
    await expect.poll(() => problems('ny'), until).toContain('put-back');
    await expect.poll(async () => (await agents.status('la')).peers.ny?.open, until).toBe(false);
    await expect.poll(async () => (await agents.status('la')).sync.waitsFor, until).toEqual([]);
    expect(await agents.command('ny', 'verify', '--repair')).toMatchObject({ exitCode: 0 });
    await expect.poll(() => nameOf(nyUrl), until).toBe('changed');
    expect(await agents.command('ny', 'verify')).toMatchObject({ exitCode: 0 });
    await agents.untilReady('ny', 'la');
    await expect.poll(async () => (await agents.status('la')).sync.recorded, until).toEqual(['ny']);
  },
);
