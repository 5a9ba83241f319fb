import { afterAll, beforeAll, expect, test } from 'vitest';
import { runSql } from './clusters.ts';
import { type TestPair, testPair } from './pair.ts';

const schema = 'CREATE TABLE accounts (id text PRIMARY KEY); GRANT SELECT ON accounts TO lanekeeper_replication';
const configuration = {
  tables: { accounts: { class: 'system-of-record', account: 'id', root: true } },
} as const;

let pair: TestPair;
beforeAll(async () => {
  pair = await testPair({ schema, configuration, link: { delayMs: 20 } });
});
afterAll(() => pair?.stop());

test('each data center has its own view, the other one behind a link', () => {
  const [ny, la] = [pair.dc('ny'), pair.dc('la')];
  expect(ny.configuration.here).toBe('ny');
  expect(ny.configuration.dataCenters.ny?.database).toContain(`:${ny.cluster.port}/`);
  expect(ny.configuration.dataCenters.la?.database).not.toContain(`:${la.cluster.port}/`);
  expect(ny.configuration.leases.url).not.toBe(la.configuration.leases.url);
  expect(Object.keys(ny.configuration.tables)).toEqual(['public.accounts']);
});

test('rows replicate through the link, wait for a cut to heal, and survive a crash', async () => {
  const [ny, la] = [pair.dc('ny'), pair.dc('la')];
  const wait = { timeout: 15_000, interval: 50 };
  await runSql(ny.urls.superuser, 'CREATE PUBLICATION p FOR TABLE accounts');
  const { host, port, pathname } = new URL(la.configuration.dataCenters.ny?.database ?? '');
  const { name, password } = ny.database.roles.replication;
  const where = `host=${host.split(':')[0]} port=${port} dbname=${pathname.slice(1)} user=${name} password=${password}`;
  await runSql(la.urls.agent, `CREATE SUBSCRIPTION s CONNECTION '${where}' PUBLICATION p WITH (origin = none)`);
  const count = async (): Promise<number> =>
    Number((await runSql<{ n: string }>(la.urls.owner, 'SELECT count(*) AS n FROM accounts'))[0]?.n);
  await runSql(ny.urls.owner, "INSERT INTO accounts VALUES ('a1')");
  await expect.poll(count, wait).toBe(1);

  await pair.links?.cut('ny', 'la');
  await runSql(ny.urls.owner, "INSERT INTO accounts VALUES ('a2')");
  await new Promise((resolve) => setTimeout(resolve, 300));
  expect(await count()).toBe(1);
  await pair.links?.heal('ny', 'la');
  await expect.poll(count, wait).toBe(2);

  await ny.cluster.kill();
  await ny.cluster.start();
  await runSql(ny.urls.owner, "INSERT INTO accounts VALUES ('a3')");
  await expect.poll(count, wait).toBe(3);
});
