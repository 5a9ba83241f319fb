/** A new configuration goes to one data center at a time: what agents show of it, what holds the next one back, what does not. */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Agent } from '@lanekeeper/server/agent';
import { configurationDigest, createConfiguration } from 'lanekeeper/config';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { productVersion } from '../../packages/server/src/cli/version.ts';
import { type TestAgents, testAgents } from '../support/agents.ts';
import { applyPair } from '../support/applied.ts';
import { runSql } from '../support/clusters.ts';
import { type TestPair, testPair } from '../support/pair.ts';

const schema = 'CREATE TABLE accounts (id text PRIMARY KEY)';
const tables = { accounts: { class: 'system-of-record', account: 'id', root: true } } as const;

let pair: TestPair;
let agents: TestAgents;
const running = new Map<string, Agent>();
/** The new configuration of la. */
let file = '';

beforeAll(async () => {
  pair = await testPair({ schema, configuration: { tables } });
  await applyPair(pair);
  agents = await testAgents(pair);
  for (const dc of pair.names) running.set(dc, await agents.start(dc));
  await agents.untilReady('ny', 'la');
});
afterAll(async () => {
  await agents?.stop();
  await pair?.stop();
});

const until = { timeout: 20_000, interval: 100 };
const status = async (dc: string) => (await agents.status(dc)).configuration;
const health = async (dc: string) => (await fetch(`${running.get(dc)?.url}/health`)).json();
const apply = (...more: string[]) => agents.command('la', 'apply', '--config', file, ...more);

test('agents say which configuration and version they have, and since when they are well with it', async () => {
  for (const dc of pair.names) {
    await expect
      .poll(() => status(dc), until)
      .toMatchObject({
        digest: configurationDigest(agents.configuration(dc)),
        since: expect.stringMatching(/^2/),
        healthySince: expect.stringMatching(/^2/),
      });
  }
  const { digest } = await status('ny');
  expect((await status('la')).digest).toBe(digest);
  expect(await health('la')).toMatchObject({ configuration: digest, version: productVersion() });
  const metrics = await (await fetch(`${running.get('la')?.url}/metrics`)).text();
  expect(metrics).toContain(`lanekeeper_build_info{version="${productVersion()}",configuration="${digest}"} 1`);
  const same = await agents.command('la', 'config', 'diff');
  expect(same).toMatchObject({ exitCode: 0, stdout: '✓ ny: the same\n✓ la: the same\n' });
  expect((await agents.command('la', 'config', 'rollout')).stdout).toMatch(
    /✓ ny: .*healthy for[\s\S]*every data center has it/,
  );
});

test('what is not new does not wait', async () => {
  expect(await agents.command('la', 'apply')).toMatchObject({ exitCode: 0 });
});

test('a new one is refused where it is not next, with what differs and who has what', async () => {
  const { env, cluster } = pair.dc('la');
  const written = JSON.parse(await readFile(join(cluster.dir, 'agent-la.json'), 'utf8'));
  file = join(cluster.dir, 'new.json');
  await writeFile(
    file,
    JSON.stringify({ ...written, moves: { dwell: '45s' }, hooks: { onTakeover: 'https://a.example/secret' } }),
  );
  const diff = await agents.command('la', 'config', 'diff', '--config', file, '--against', 'ny');
  expect(diff.exitCode).toBe(1);
  expect(diff.stdout).toContain('moves.dwellMs: 30000 → 45000  [restart]');
  expect(diff.stdout).toContain('hooks.onTakeover: false → true  [restart]');
  expect(diff.stdout).not.toContain('secret');
  const files = await agents.command('la', 'config', 'diff', '--against', file);
  expect(files.stdout).toContain('moves.dwellMs: 45000 → 30000  [restart]');

  const early = await apply();
  expect(early.exitCode).toBe(1);
  expect(early.stderr).toMatch(
    /Too early for this configuration in la: ny comes before la and has \w{16} with version/,
  );
  expect(early.stderr).toContain('--now does not wait');
  const agent = await agents.command('la', 'agent', '--config', file, '--listen', '127.0.0.1:0');
  expect(agent).toMatchObject({ exitCode: 1, stderr: expect.stringContaining('Too early') });
  expect((await agents.command('la', 'config', 'rollout', '--config', file)).stdout).toMatch(/ny is first\n$/);
  expect(env.LANEKEEPER_DC).toBe('la');
});

test('it goes on when the one before has been well with it for long enough', async () => {
  const digest = configurationDigest(createConfiguration(JSON.parse(await readFile(file, 'utf8')), { here: 'la' }));
  const ny = (sql: string, values: unknown[] = []) => runSql(pair.dc('ny').urls.agent, sql, values);
  await running.get('ny')?.close();
  await ny('SELECT lanekeeper.note_rollout($1, $2, true)', [digest, productVersion()]);
  expect((await apply()).stderr).toMatch(/ny has been healthy with it for \w+ of 10m/);
  await ny('SELECT lanekeeper.note_rollout($1, $2, false)', [digest, productVersion()]);
  expect((await apply()).stderr).toContain('ny has it, and is not healthy with it');
  await ny('SELECT lanekeeper.note_rollout($1, $2, true)', [digest, productVersion()]);
  await ny("UPDATE lanekeeper.rollout SET healthy_since = now() - interval '11 minutes' WHERE digest = $1", [digest]);
  expect(await apply()).toMatchObject({ exitCode: 0 });
});

test('one that is down is not waited for by those who say so', async () => {
  const other = join(pair.dc('la').cluster.dir, 'newer.json');
  await writeFile(other, JSON.stringify({ ...JSON.parse(await readFile(file, 'utf8')), moves: { dwell: '50s' } }));
  file = other;
  await pair.dc('ny').cluster.kill();
  const refused = await apply();
  expect(refused).toMatchObject({ exitCode: 1 });
  expect(refused.stderr).toMatch(
    /the database of ny, which comes before la, cannot be asked[\s\S]*If ny is down and this cannot wait for it: --now/,
  );
  expect((await apply('--now')).stderr).not.toContain('cannot be asked');
});
