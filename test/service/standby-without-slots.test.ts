/**
 * A standby that keeps no copies of logical slots, as before PostgreSQL 17 none can: `doctor` says beforehand what its promotion
 * would come to, and promoted it is known for what it is, gets no lease, and another data center takes over.
 */
import { join } from 'node:path';
import { type Standby, startStandby } from '@lanekeeper/lab';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { runSql } from '../support/clusters.ts';
import { type FrontedPair, frontedPair } from '../support/fronted.ts';
import { postgresMajor } from '../support/version.ts';

const until = { timeout: 60_000, interval: 50 };

let shop: FrontedPair;
let standby: Standby;

beforeAll(async () => {
  shop = await frontedPair({ standbys: [{ name: 'ny_b' }] });
  const { cluster } = shop.pair.dc('ny');
  standby = await startStandby({ primary: cluster, dir: join(cluster.dir, 'ny_b'), name: 'ny_b' });
});
afterAll(async () => {
  await standby?.stop('immediate');
  await shop?.stop();
});

test('doctor says that it keeps none', async () => {
  const found = async () => {
    const { stdout } = await shop.agents.command('ny', 'doctor', '--json');
    const { findings } = JSON.parse(stdout) as { findings: { code: string; severity: string; why: string }[] };
    return findings.find(({ code }) => code === (postgresMajor >= 17 ? 'standby-without-slots' : 'standbys-need-17'));
  };
  // Its feedback has to arrive first.
  await expect
    .poll(found, until)
    .toMatchObject({ severity: 'warning', why: expect.stringContaining('have to be seeded again') });
});

test('promoted, it gets no lease and says why; another data center takes over', { timeout: 120_000 }, async () => {
  const { pair, front, agents } = shop;
  const ny = pair.dc('ny');
  const laUrl = pair.dc('la').urls.application;
  const write = (url: string, id: string) => runSql(url, 'INSERT INTO accounts (id) VALUES ($1)', [id]);
  const problems = async () => (await agents.status('ny').catch(() => null))?.problems.join('\n') ?? '';
  const inFront = new URL(ny.urls.application);
  inFront.port = String(front.port);

  await Promise.all([agents.start('ny'), agents.start('la')]);
  await agents.untilReady('ny', 'la');
  await expect.poll(async () => (await agents.status('ny')).sync.recorded, until).toEqual(['la']);
  await write(inFront.href, 'before');
  await expect.poll(() => runSql(laUrl, `SELECT id FROM accounts`), until).toEqual([{ id: 'before' }]);
  await standby.untilCaughtUp();
  await ny.cluster.kill();
  await standby.promote();
  front.lead(standby);

  await expect.poll(problems, until).toContain('promoted without the slots that another data center reads');
  await expect(write(inFront.href, 'by_the_promoted_one')).rejects.toMatchObject({ code: 'LK003' });
  // The lease store goes on knowing the one before.
  const recorded = `SELECT timeline FROM lanekeeper_lease.lease WHERE dc = 'ny'`;
  expect(await runSql(pair.witness.url, recorded)).toEqual([{ timeline: 1 }]);

  const failover = ['failover', '--from', 'ny', '--confirm', 'ny'];
  // As soon as nobody can hold its lease any more.
  const asked = async () => (await agents.command('la', ...failover)).stdout;
  await expect.poll(asked, until).toContain('la writes what ny held');
  const home = () => runSql(laUrl, `SELECT home FROM lanekeeper.where_is('before')`);
  await expect.poll(home, until).toEqual([{ home: 'la' }]);
  await runSql(laUrl, `UPDATE accounts SET name = 'by la' WHERE id = 'before'`);
});
