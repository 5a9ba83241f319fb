/** The shop as it is run: its programs in processes of their own. Needs a build. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { freePort, type LeashedProcess, spawnLeashed } from '@lanekeeper/lab';
import { Client } from 'pg';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { applyPair, lease } from '../../support/applied.ts';
import { split } from '../../support/approach.ts';
import { runSql } from '../../support/clusters.ts';
import { type TestPair, testPair } from '../../support/pair.ts';
import { far, sides } from '../../support/sides.ts';
import { until } from './hand-agent.ts';
import { exampleSections } from './two-coasts.ts';

// Machines are busy at times; nothing here is measured.
vi.setConfig({ testTimeout: 120_000, hookTimeout: 120_000 });

/** What answers customers, and under `stateless-frontends` what that calls. */
const [answering, ...called]: readonly Program[] = split ? ['front', 'back'] : ['main'];

let pair: TestPair;
let directory: string;
const backPorts = new Map<string, number>();
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'lanekeeper-storefront-'));
  pair = await testPair({ schema: 'SELECT', dataCenters: sides, configuration: await exampleSections() });
  for (const name of pair.names) backPorts.set(name, await freePort('127.0.0.1'));
  for (const name of pair.names) {
    const { written } = pair.dc(name);
    if (split) for (const [dc, port] of backPorts) written.dataCenters[dc]!.backends = [`http://127.0.0.1:${port}`];
    await writeFile(join(directory, `${name}.json`), JSON.stringify(written));
  }
});
afterAll(async () => {
  await pair?.stop();
  await rm(directory, { recursive: true, force: true });
});

type Program = 'main' | 'front' | 'back' | 'migrate' | 'seed';
type Ended = { readonly code: number | null; readonly out: string; readonly err: string };

async function start(
  program: Program,
  dc: string,
  env: NodeJS.ProcessEnv,
): Promise<{ readonly leashed: LeashedProcess; ended(): Promise<Ended> }> {
  const file = fileURLToPath(new URL(`../../../examples/storefront/dist/${program}.js`, import.meta.url));
  const leashed = await spawnLeashed(process.execPath, [file], {
    cwd: directory,
    env: {
      PATH: process.env.PATH,
      ...(process.env.LANEKEEPER_TEST_RUN ? { LANEKEEPER_TEST_RUN: process.env.LANEKEEPER_TEST_RUN } : {}),
      ...pair.dc(dc).env,
      LANEKEEPER_CONFIG: join(directory, `${dc}.json`),
      ...env,
    },
    stdout: 'pipe',
    stderr: 'pipe',
  });
  let out = '';
  let err = '';
  leashed.child.stdout?.on('data', (chunk) => {
    out += chunk;
  });
  leashed.child.stderr?.on('data', (chunk) => {
    err += chunk;
  });
  return { leashed, ended: async () => ({ code: (await leashed.exited).code, out, err }) };
}

async function run(program: Program, dc: string, env: NodeJS.ProcessEnv): Promise<Ended> {
  return (await start(program, dc, env)).ended();
}

test('migrations run once, also when two start at the same moment; the catalog is published from one data center', async () => {
  for (const name of pair.names) {
    const env = { DATABASE_URL: pair.dc(name).urls.owner };
    const both = await Promise.all([run('migrate', name, env), run('migrate', name, env)]);
    expect(both.map(({ code, err }) => [code, err])).toEqual([
      [0, ''],
      [0, ''],
    ]);
    expect(both.map(({ out }) => out).sort()).toEqual([
      'Migrated: 001-shop, 002-payments, 003-order-history; lanekeeper_application may use it.\n',
      'The schema is up to date; lanekeeper_application may use it.\n',
    ]);
  }
  await applyPair(pair);
  for (const name of pair.names) await lease(pair.dc(name), 600_000);
  const seed = async (dc: string) => {
    const { code, out, err } = await run('seed', dc, { DATABASE_URL: pair.dc(dc).urls.owner });
    expect([code, err]).toEqual([0, '']);
    return out;
  };
  expect(await seed(far)).toBe(`Products are published from ny; ${far} receives them from there.\n`);
  expect(await runSql(pair.dc(far).urls.superuser, 'SELECT FROM products')).toEqual([]);
  expect(await seed('ny')).toBe('26 products published.\n');
  expect(await seed('ny')).toBe('The catalog is up to date.\n');
  await until(`the catalog is in ${far}`, async () => {
    return (await runSql(pair.dc(far).urls.superuser, 'SELECT FROM products')).length === 26;
  });
});

test('SIGTERM: requests in flight are answered, then it is gone', async () => {
  const port = await freePort('127.0.0.1');
  const quiet = { LOG_LEVEL: 'silent' };
  const env = { ...quiet, DATABASE_URL: pair.dc('ny').urls.application };
  const started = [await start(answering!, 'ny', { ...(split ? quiet : env), PORT: String(port) })];
  for (const program of called) started.push(await start(program, 'ny', { ...env, PORT: String(backPorts.get('ny')) }));
  const url = `http://127.0.0.1:${port}`;
  const post = (quantity: number, cookie = '') =>
    fetch(`${url}/cart`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', cookie },
      body: JSON.stringify({ sku: 'bud-vase', quantity }),
    });
  const blocker = new Client({ connectionString: pair.dc('ny').urls.superuser });
  await blocker.connect();
  try {
    await until('it answers', () =>
      fetch(`${url}/health`)
        .then((answer) => answer.status === 200)
        .catch(() => false),
    );
    const first = await post(1);
    const cookie = first.headers.getSetCookie()[0]?.split(';')[0] ?? '';
    await blocker.query('BEGIN; SELECT FROM carts FOR UPDATE');
    const waiting = post(2, cookie);
    await until('the request waits for the cart', async () => {
      const waits =
        "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%\"carts\"%for update'";
      // On a connection of its own: within a transaction this view stands still.
      return (await runSql(pair.dc('ny').urls.superuser, waits)).length === 1;
    });
    for (const { leashed } of started) leashed.signal('SIGTERM');
    await until('it takes no new connections', () =>
      fetch(url).then(
        () => false,
        () => true,
      ),
    );
    for (const { leashed } of started) expect(leashed.running()).toBe(true);
    await blocker.query('COMMIT');
    const answer = await waiting;
    expect(answer.status).toBe(200);
    expect(await answer.json()).toMatchObject({ lines: [{ sku: 'bud-vase', quantity: 3 }] });
  } catch (error) {
    for (const { leashed } of started) leashed.signal('SIGKILL');
    throw error;
  } finally {
    await blocker.end();
  }
  for (const { ended } of started) expect(await ended()).toMatchObject({ code: 0, err: '' });
});

test('what is written wrongly is said in one line', async () => {
  const env = { DATABASE_URL: pair.dc('ny').urls.application };
  for (const program of [answering!, ...called]) {
    expect(await run(program, 'ny', { ...env, PORT: 'eighty' })).toEqual({
      code: 1,
      out: '',
      err: 'PORT is `eighty`: a whole number from 0 to 65535 is expected.\n',
    });
    const nowhere = await run(program, 'ny', { ...env, LANEKEEPER_DC: 'sf' });
    expect(nowhere).toMatchObject({ code: 1, err: expect.stringContaining('LANEKEEPER_DC is `sf`') });
    expect(nowhere.err).not.toContain('    at ');
  }
});
