/** A data center that dies together with the member of etcd that stood in it. */
import { missingEtcd } from '@lanekeeper/lab';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type TestAgents, testAgents } from '../support/agents.ts';
import { applyPair } from '../support/applied.ts';
import { runSql } from '../support/clusters.ts';
import { type TestEtcd, testEtcd } from '../support/etcd.ts';
import { type TestPair, testPair } from '../support/pair.ts';

const schema = `
CREATE TABLE accounts (id text PRIMARY KEY, note text);
GRANT SELECT, INSERT, UPDATE, DELETE ON accounts TO lanekeeper_application;`;
const until = { timeout: 40_000, interval: 100 };

describe.skipIf(missingEtcd() !== null)('two data centers on an etcd of three members (needs etcd)', () => {
  let pair: TestPair;
  let etcd: TestEtcd;
  let agents: TestAgents;
  beforeAll(async () => {
    pair = await testPair({
      schema,
      configuration: { tables: { accounts: { class: 'system-of-record', account: 'id', root: true } } },
    });
    const password = pair.dc('ny').env.LANEKEEPER_WITNESS_PASSWORD as string;
    [etcd] = await Promise.all([testEtcd({ members: 3, secured: true, password }), applyPair(pair)]);
    agents = await testAgents(pair, {
      change: (written) => ({
        ...written,
        leases: { ...etcd.written, ttl: '3s', renewEvery: '800ms', skew: '500ms' },
      }),
    });
  });
  afterAll(async () => {
    await agents?.stop();
    await Promise.all([etcd?.stop(), pair?.stop()]);
  });

  const write = (dc: string, note: string) =>
    runSql(pair.dc(dc).urls.application, 'UPDATE accounts SET note = $1', [note]).then(
      () => 'written',
      (error: { code?: string }) => error.code ?? String(error),
    );
  const noteIn = async (dc: string) =>
    (await runSql<{ note: string }>(pair.dc(dc).urls.superuser, 'SELECT note FROM accounts'))[0]?.note;
  const recordedBy = async (dc: string) => (await agents.status(dc)).sync.recorded;

  test('the other one takes over, although etcd has to elect a leader first; and it comes back', async () => {
    const ny = await agents.spawn('ny');
    await agents.start('la');
    await agents.untilReady('ny', 'la');
    await expect.poll(() => recordedBy('ny'), until).toEqual(['la']);
    await runSql(pair.dc('ny').urls.application, `INSERT INTO accounts VALUES ('ny_1', 'born')`);
    await expect.poll(() => noteIn('la'), until).toBe('born');

    const member = await etcd.leader();
    ny.signal('SIGKILL');
    await Promise.all([pair.dc('ny').cluster.kill(), etcd.kill(member), ny.exited]);
    await expect.poll(() => write('la', 'taken'), until).toBe('written');

    await Promise.all([pair.dc('ny').cluster.start(), etcd.start(member)]);
    await agents.start('ny');
    await expect.poll(async () => (await agents.status('ny').catch(() => null))?.lease.kind, until).toBe('held');
    await expect.poll(() => noteIn('ny'), until).toBe('taken');
    expect(await write('ny', 'old')).toBe('LK001');
    await expect.poll(() => recordedBy('la'), until).toEqual(['ny']);
    const back = await agents.command('la', 'switchover', '--to', 'ny', '--hand-back');
    expect(back).toMatchObject({ exitCode: 0 });
    await expect.poll(() => write('ny', 'home again'), until).toBe('written');
    const history = await etcd.control('get', 'lanekeeper/', '--prefix', '--keys-only');
    expect(history.match(/view\/\d+/g)).toEqual(['view/000000000002', 'view/000000000003']);
  }, 120_000);
});
