/** A conflict as people and programs hear of it: commands, the callback of the SDK, the webhook. Two real clusters. */

import { writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { type Conflict, createLanekeeper, type Lanekeeper } from 'lanekeeper';
import { verifyHook } from 'lanekeeper/session';
import { Pool } from 'pg';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { collectConflicts } from '../../packages/server/src/agent/conflict-hook.ts';
import { Hooks } from '../../packages/server/src/agent/hooks.ts';
import { run } from '../../packages/server/src/cli/main.ts';
import { applyPair } from '../support/applied.ts';
import { runSql, testRoleNames } from '../support/clusters.ts';
import { mergedEqually, merging } from '../support/merging.ts';
import { type TestPair, testPair } from '../support/pair.ts';

const secret = 'of the shop';
const soon = { timeout: 20_000, interval: 50 };

let pair: TestPair;
let all: Record<string, string>;
let server: Server;
const told: { readonly signature: string | undefined; readonly body: string }[] = [];
const opened: Lanekeeper[] = [];

beforeAll(async () => {
  server = createServer((request, response) => {
    const parts: Buffer[] = [];
    request.on('data', (part: Buffer) => parts.push(part));
    request.on('end', () => {
      told.push({
        signature: request.headers['lanekeeper-signature'] as string,
        body: Buffer.concat(parts).toString(),
      });
      response.writeHead(204).end();
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  pair = await testPair({
    schema: `
      CREATE TABLE prices (country text, sku text, cents int, note text, PRIMARY KEY (country, sku));
      CREATE TABLE secrets (id int PRIMARY KEY, word text);
      GRANT SELECT, INSERT, UPDATE, DELETE ON prices TO ${testRoleNames.application};
      GRANT INSERT, UPDATE ON secrets TO ${testRoleNames.application};`,
    configuration: {
      approach: 'active-passive',
      tables: {
        prices: { class: 'system-of-reference', policy: 'application-weight' },
        secrets: { class: 'system-of-reference' },
      },
      merge: { applications: { shop: 100, erp: 300 } },
      hooks: { onConflict: `http://127.0.0.1:${(server.address() as AddressInfo).port}/conflict` },
    },
  });
  await applyPair(pair);
  all = { ny: pair.dc('ny').urls.superuser, la: pair.dc('la').urls.superuser };
  for (const name of pair.names)
    await writeFile(join(pair.dc(name).cluster.dir, 'lanekeeper.json'), JSON.stringify(pair.dc(name).written));
}, 120_000);
afterEach(async () => {
  for (const lanekeeper of opened.splice(0)) await lanekeeper.close();
});
afterAll(async () => {
  await pair?.stop();
  await new Promise((resolve) => server?.close(resolve));
});

async function open(dc: string, application: string): Promise<{ lanekeeper: Lanekeeper; pool: Pool }> {
  const { configuration, env } = pair.dc(dc);
  const lanekeeper = await createLanekeeper({
    config: configuration,
    env: { ...env, LANEKEEPER_APPLICATION: application },
  });
  opened.push(lanekeeper);
  return { lanekeeper, pool: lanekeeper.pool({ max: 1 }) as unknown as Pool };
}

/** ny and la write the same row, neither having seen the other. */
async function conflict(sku: string): Promise<void> {
  await runSql(all.ny ?? '', `INSERT INTO prices VALUES ('us', $1, 100, 'new')`, [sku]);
  await mergedEqually(all, 'prices');
  await merging(all, false);
  const [ny, la] = [await open('ny', 'erp'), await open('la', 'shop')];
  await ny.pool.query('UPDATE prices SET cents = 150 WHERE sku = $1', [sku]);
  await la.pool.query(`UPDATE prices SET cents = 200, note = NULL WHERE sku = $1`, [sku]);
  await Promise.all([ny.pool.end(), la.pool.end()]);
  await merging(all, true);
  const rows = await mergedEqually<{ sku: string; cents: number }>(all, 'prices');
  expect(rows.find((row) => row.sku === sku)?.cents).toBe(150);
}

async function command(dc: string, ...argv: string[]) {
  const said = { stdout: '', stderr: '' };
  const { cluster, env } = pair.dc(dc);
  const exitCode = await run(['conflicts', ...argv], {
    env: { ...env, NO_COLOR: '1', LANEKEEPER_CONFIG: join(cluster.dir, 'lanekeeper.json') },
    directory: cluster.dir,
    stdout: { write: (text: string) => (said.stdout += text) },
    stderr: { write: (text: string) => (said.stderr += text) },
  });
  return { exitCode, ...said };
}

describe('a conflict', () => {
  it('is heard by applications in both data centers, once in each process, whatever a handler does', async () => {
    const heard: Conflict[] = [];
    const warnings: string[] = [];
    const warn = (warning: Error & { code?: string }) => warnings.push(`${warning.code}: ${warning.message}`);
    process.on('warning', warn);
    const { lanekeeper } = await open('la', 'shop');
    const gone: Conflict[] = [];
    lanekeeper.onConflict((one) => void gone.push(one))();
    lanekeeper.onConflict(() => {
      throw new Error('the handler broke');
    });
    lanekeeper.onConflict(async (one) => void heard.push(one));
    await conflict('a');
    await expect.poll(() => heard.length, soon).toBe(1);
    const [first] = heard;
    // Said again, it is not heard again.
    await runSql(all.la ?? '', `SELECT pg_notify('lanekeeper_app', $1)`, [
      JSON.stringify({ kind: 'conflict', id: first?.id }),
    ]);
    await runSql(all.la ?? '', `SELECT pg_notify('lanekeeper_app', '{"kind":"conflict","id":999999}')`);
    await expect.poll(() => warnings, soon).toHaveLength(1);
    process.off('warning', warn);
    expect(warnings[0]).toMatch(/^LK_CONFLICT: .*public\.prices/);
    expect(gone).toEqual([]);
    expect(heard).toHaveLength(1);
    expect(first).toMatchObject({
      dataCenter: 'la',
      table: 'public.prices',
      key: { country: 'us', sku: 'a' },
      policy: 'application-weight',
      winner: { dataCenter: 'ny', application: 'erp', row: { country: 'us', sku: 'a', cents: '150', note: 'new' } },
      loser: { dataCenter: 'la', application: 'shop', row: { country: 'us', sku: 'a', cents: '200', note: null } },
    });
    expect(first?.at).toBeInstanceOf(Date);
    expect(first?.loser.at).toBeInstanceOf(Date);
  });

  it('shows an application nothing of a table that it may not read', async () => {
    await runSql(
      all.la ?? '',
      `INSERT INTO lanekeeper.conflict (seen_in, relation, key_columns, key, policy, era, winner_dc, winner_at, winner_stamp,
        loser_dc, loser_at, loser_stamp) VALUES ('la', 'public.secrets', '{id}', '{1}', 'timestamp-weight', 1, 'ny', now(), '{1}', 'la', now(), '{1}')`,
    );
    const rows = await runSql(pair.dc('la').urls.application, 'SELECT c.relation FROM lanekeeper.conflict c').catch(
      (error: Error) => error.message,
    );
    expect(rows).toMatch(/permission denied/);
    const [{ id } = { id: '0' }] = await runSql<{ id: string }>(
      all.la ?? '',
      `SELECT id FROM lanekeeper.conflict WHERE relation = 'public.secrets'`,
    );
    expect(await runSql(pair.dc('la').urls.application, 'SELECT * FROM lanekeeper.conflict_of($1)', [id])).toEqual([]);
    await runSql(all.la ?? '', `DELETE FROM lanekeeper.conflict WHERE relation = 'public.secrets'`);
  });

  it('is listed and shown by the commands', async () => {
    await conflict('b');
    const list = await command('ny', 'list', '--table', 'prices', '--since', '1h');
    expect([list.exitCode, list.stderr]).toEqual([0, '']);
    expect(list.stdout.split('\n')[0]).toMatch(
      /^\d+ {2}\d{4}-\d\d-\d\d \d\d:\d\d:\d\d {2}public\.prices \(country = us, sku = b\) {2}ny \(erp\) over la \(shop\) {2}application-weight$/,
    );
    const json = JSON.parse((await command('ny', 'list', '--json', '--limit', '1')).stdout) as {
      conflicts: Conflict[];
    };
    expect(json.conflicts).toHaveLength(1);
    const id = String(json.conflicts[0]?.id);
    const shown = await command('ny', 'show', id);
    expect(shown.stdout).toMatch(/stays {2}written in ny \(erp\), /);
    expect(shown.stdout).toMatch(/lost {3}written in la \(shop\), /);
    expect(shown.stdout).toMatch(/^ {4}cents {2}150 {4}200$/m);
    expect(shown.stdout).toMatch(/^ {4}note {3}new {4}NULL$/m);
    expect(shown.stdout).not.toMatch(/^ {4}sku /m);
    expect((await command('ny', 'list', '--table', 'public.secrets')).stdout).toBe('✓ no conflicts\n');
    expect((await command('ny', 'show', '999999')).exitCode).toBe(1);
    expect((await command('ny', 'show', 'last')).exitCode).toBe(2);
    expect((await command('ny', 'list', '--limit', '0')).exitCode).toBe(2);
  });

  it('is told to the webhook, once', async () => {
    const pool = new Pool({ connectionString: pair.dc('ny').urls.agent });
    const [{ n } = { n: 0 }] = await runSql<{ n: number }>(
      all.ny ?? '',
      'SELECT count(*)::int AS n FROM lanekeeper.conflict',
    );
    expect(n).toBeGreaterThan(0);
    const hooks: Hooks = new Hooks({
      configuration: pair.dc('ny').configuration,
      database: {
        run: async (work) => {
          const client = await pool.connect();
          try {
            return await work(client);
          } finally {
            client.release();
          }
        },
      },
      secret,
      log: () => {},
      leads: () => true,
      collect: (client) => collectConflicts(hooks, client),
    });
    hooks.start();
    await expect.poll(() => told.length, soon).toBe(n);
    const waiting = () => runSql(all.ny ?? '', 'SELECT key FROM lanekeeper.hook WHERE next_at IS NOT NULL');
    await expect.poll(waiting, soon).toEqual([]);
    await hooks.close();
    await collectConflicts(hooks, pool);
    expect(await waiting()).toEqual([]);
    await pool.end();
    for (const { signature, body } of told) expect(verifyHook(secret, signature, body)).toEqual({ kind: 'genuine' });
    expect(JSON.parse(told[0]?.body ?? '')).toMatchObject({
      kind: 'conflict',
      cluster: 'shop',
      dataCenter: 'ny',
      table: 'public.prices',
      key: { country: 'us', sku: 'a' },
      winner: { dataCenter: 'ny', application: 'erp', row: { cents: '150' } },
      loser: { dataCenter: 'la', application: 'shop', row: { cents: '200' } },
    });
  });
});

describe('the option application', () => {
  it('says who writes beside options of the pool; what is no name is refused', async () => {
    const { lanekeeper } = await open('ny', 'erp');
    const pool = lanekeeper.pool({ max: 1, options: '-c statement_timeout=4321' });
    const { rows } = await pool.query(
      `SELECT current_setting('lanekeeper.application') AS application, current_setting('statement_timeout') AS timeout`,
    );
    await pool.end();
    expect(rows).toEqual([{ application: 'erp', timeout: '4321ms' }]);
    await expect(open('ny', 'The Shop')).rejects.toMatchObject({ code: 'LK_CONFIG' });
  });
});
