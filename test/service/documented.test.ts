/** What the documentation tells to do, done: the README's tour in a running lab, and the roles guide on a bare server. */
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { asSuperuser } from '@lanekeeper/lab';
import { doctor } from '@lanekeeper/server/postgres';
import { createConfiguration } from 'lanekeeper/config';
import { generateKeyPair } from 'lanekeeper/session';
import { expect, test } from 'vitest';
import { testCluster } from '../support/clusters.ts';
import { testLab } from '../support/lab.ts';
import { root, textOf } from '../tidy/files.ts';

/** Blocks whose opening line is exactly this, in order. */
function blocksOf(page: string, opening: string): string[] {
  return textOf(page)
    .split(`\n\`\`\`${opening}\n`)
    .slice(1)
    .map((rest) => rest.slice(0, rest.indexOf('\n```')));
}

test('the five minutes of the README', { timeout: 300_000 }, async () => {
  const blocks = blocksOf('README.md', 'sh tour');
  const lab = await testLab();
  try {
    const marked = blocks.map((block, index) => `echo "== ${index}"\n${block}`).join('\n');
    const script = marked
      .replace(/^NY=.*$/m, `NY=${lab.line.dataCenters.ny?.url}`)
      .replace(/^LA=.*$/m, `LA=${lab.line.dataCenters.la?.url}`);
    // The command of this checkout, without asking npm where it is.
    const program = `npx() { shift; node ${JSON.stringify(join(root, 'packages/server/bin/lanekeeper.js'))} "$@"; }`;
    const { stdout } = await promisify(execFile)('bash', ['-c', `${program}\n${script}`], {
      cwd: lab.directory,
      env: { ...process.env, NO_COLOR: '1', LANEKEEPER_LAB: lab.line.dir },
      timeout: 200_000,
    });
    const [bought, asked, moved, looked, cut, healed, dead, back] = stdout.split(/^== \d+$/m).slice(1);
    expect(bought).toMatch(/HTTP\/1.1 200[\s\S]*lanekeeper-data-center: ny[\s\S]*"quantity":2/);
    expect(asked).toMatch(/HTTP\/1.1 200[\s\S]*lanekeeper-data-center: ny[\s\S]*"quantity":2/);
    expect(moved).toMatch(/is written in la now/);
    expect(moved).toMatch(/HTTP\/1.1 200[\s\S]*lanekeeper-data-center: la[\s\S]*"quantity":3/);
    expect(looked).toMatch(/homed in la +1/);
    expect(looked).toMatch(/ny and la are equal/);
    expect(cut).toMatch(/HTTP\/1.1 307/);
    expect(cut).toMatch(/was not moved \(refused\)/);
    expect(healed).toMatch(/all is well[\s\S]*ny and la are equal[\s\S]*is written in ny now/);
    const cart = (text = '') => Number(/"quantity":(\d+)/.exec(text)?.[1]);
    expect(cart(cut)).toBeNaN();
    // Held until there was a successor, which had everything that was acknowledged.
    expect(dead).toMatch(/ny +postgres +off[\s\S]*HTTP\/1.1 200[\s\S]*lanekeeper-data-center: la/);
    expect(cart(dead)).toBe(cart(moved) + 1);
    expect(dead).toMatch(/take ny → la[\s\S]*✗ ny: no agent answers[\s\S]*alone: what is acknowledged now/);
    expect(back).toMatch(/ny is back and may write[\s\S]*all is well[\s\S]*ny writes what came to la/);
    expect(back).toMatch(/HTTP\/1.1 200[\s\S]*lanekeeper-data-center: ny/);
    expect(cart(back)).toBe(cart(dead) + 1);
  } finally {
    await lab.stop();
  }
});

test('the roles guide leaves nothing for doctor to find', async () => {
  const [roles = ''] = blocksOf('docs/guides/roles.md', 'sql roles');
  const [tables = ''] = blocksOf('docs/guides/roles.md', 'sql tables');
  const cluster = await testCluster();
  try {
    const server = cluster.cluster;
    await asSuperuser(server, 'postgres', (client) => client.query('CREATE DATABASE shop'));
    await asSuperuser(server, 'shop', async (client) => {
      await client.query('CREATE TABLE accounts (id text PRIMARY KEY)');
      await client.query(
        'CREATE TABLE orders (id bigserial PRIMARY KEY, account_id text NOT NULL REFERENCES accounts)',
      );
      await client.query('CREATE INDEX ON orders (account_id)');
      await client.query(roles);
      await client.query(tables);
    });
    const site = (name: string) => ({
      place: name,
      faultDomain: name,
      database: `postgres://${server.host}:${server.port}/shop`,
      url: `https://${name}.shop.example`,
    });
    const configuration = createConfiguration(
      {
        cluster: 'shop',
        approach: 'full-active-active',
        dataCenters: { ny: site('ny') },
        leases: { url: `postgres://${server.host}:${server.port}/shop` },
        tables: {
          accounts: { class: 'system-of-record', account: 'id', root: true },
          orders: { class: 'system-of-record', account: 'account_id' },
        },
        sessions: { keys: [{ ...generateKeyPair('ny').publicJwk }] },
      },
      { here: 'ny' },
    );
    const env = {
      LANEKEEPER_OWNER_PASSWORD: 'one',
      LANEKEEPER_APPLICATION_PASSWORD: 'two',
      LANEKEEPER_AGENT_PASSWORD: 'three',
      LANEKEEPER_REPLICATION_PASSWORD: 'four',
      LANEKEEPER_WITNESS_PASSWORD: 'three',
    };
    const { findings } = await doctor({ configuration, env });
    // Settings of a test's server are its own; advice is advice.
    const found = findings.filter(({ severity, code }) => severity !== 'advice' && !code.startsWith('setting-'));
    expect(found).toEqual([]);
  } finally {
    await cluster.stop();
  }
});
