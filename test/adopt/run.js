/**
 * `node test/adopt/run.js --modules FOLDER [NAME=FILE.sql …] [--keep FOLDER] [--only NAME]`: `adopt`, `config check`, `plan` and `advise`
 * on schemas that others wrote. None of them is part of this repository: FOLDER is one in which you ran `npm install` (see
 * docs/guides/adopt.md); what is not installed there is skipped by name. Needs `npm run build`. Connects to nothing outside.
 */
import { execFile } from 'node:child_process';
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { parseArgs, promisify } from 'node:util';
import { startCluster } from '@lanekeeper/lab';
import { Client } from 'pg';
import { installedSchemas } from './schemas.js';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { modules: { type: 'string' }, keep: { type: 'string' }, only: { type: 'string' } },
});
const command = new URL('../../packages/server/bin/lanekeeper.js', import.meta.url).pathname;
const run = promisify(execFile);

async function main() {
  const given = positionals.map((text) => {
    const [name, ...file] = text.split('=');
    return { name, load: (client) => loadFile(client, file.join('=')) };
  });
  const all = [...(values.modules === undefined ? [] : installedSchemas(values.modules)), ...given];
  const schemas = all.filter(({ name }) => values.only === undefined || name === values.only);
  const dir = mkdtempSync(join(tmpdir(), 'lanekeeper-adopt-'));
  chmodSync(dir, 0o755);
  const cluster = await startCluster({ dir, durable: false, settings: {} });
  // What `doctor` would ask for.
  const roles = ['application', 'agent', 'replication']
    .map((role) => `CREATE ROLE lanekeeper_${role} LOGIN`)
    .join('; ');
  await ask(cluster.superuserUrl('postgres'), (client) => client.query(roles));
  let failed = 0;
  try {
    for (const { name, load, missing } of schemas) {
      if (missing !== undefined) {
        console.log(`- ${name}: skipped, ${missing} is not installed`);
        continue;
      }
      const database = `try_${name.replace(/\W/g, '_')}`;
      await ask(cluster.superuserUrl('postgres'), (client) => client.query(`CREATE DATABASE ${database}`));
      const url = cluster.superuserUrl(database);
      await ask(url, (client) => load(client, url));
      const facts = await tryOn(name, url, dir);
      if (!facts.passes) failed += 1;
      console.log(facts.text);
    }
  } finally {
    await cluster.stop('immediate');
    rmSync(dir, { recursive: true, force: true });
  }
  console.log(`${schemas.length} schemas, ${failed} of them not accepted`);
  process.exitCode = failed === 0 ? 0 : 1;
}

async function ask(url, work) {
  const client = new Client({ connectionString: url });
  await client.connect();
  try {
    return await work(client);
  } finally {
    await client.end();
  }
}

/** psql's own commands are left out. */
async function loadFile(client, file) {
  const text = readFileSync(file, 'utf8').replace(/^\\.*$/gm, '');
  await client.query(text);
}

async function tryOn(name, url, dir) {
  const file = join(dir, `${name}.yaml`);
  const env = {
    PATH: process.env.PATH,
    LANEKEEPER_OWNER_PASSWORD: new URL(url).password,
    LANEKEEPER_DC: 'main',
    NO_COLOR: '1',
  };
  const adopted = await lanekeeper(['adopt', '--database', url, '--output', file, '--json'], env);
  if (adopted.code !== 0) return { passes: false, text: `✗ ${name}: adopt: ${adopted.text}` };
  if (values.keep !== undefined) writeFileSync(join(values.keep, `${basename(file)}`), readFileSync(file));
  const check = await lanekeeper(['config', 'check', file], env);
  const plan = await lanekeeper(['plan', '--config', file, '--json'], env);
  const apply = await lanekeeper(['apply', '--config', file, '--json'], env);
  const advice = await lanekeeper(['advise', '--database', url, '--json'], env);
  const guess = JSON.parse(adopted.text);
  const { findings, tables } = JSON.parse(advice.text);
  const count = (test) => guess.tables.filter(test).length;
  const steps = plan.code === 0 ? JSON.parse(plan.text).steps.length : null;
  const lines = [
    `${check.code === 0 && plan.code === 0 && apply.code === 0 ? '✓' : '✗'} ${name}: ${guess.tables.length + guess.ignored.length} tables; accounts: ${
      guess.accounts === null ? 'none' : `${guess.accounts.table} (${guess.accounts.why})`
    }`,
    `    of accounts ${count((t) => t.account !== undefined)}, fixed home ${count((t) => t.home !== undefined)}, one home ${count(
      (t) => t.class === 'system-of-record' && t.account === undefined && t.home === undefined,
    )}, published ${count((t) => t.feeder !== undefined)}, merged ${count((t) => t.policy !== undefined)}, own ${count(
      (t) => t.class === 'session-state' || t.class === 'cache',
    )}, left alone ${guess.ignored.length}; claims ${guess.claims.length}; to decide ${count((t) => t.remark !== null)}`,
    `    config check ${check.code}, plan ${plan.code}${steps === null ? ` ${plan.text}` : ` (${steps} steps)`}, apply ${apply.code}${apply.code === 0 ? '' : ` ${apply.text.slice(0, 400)}`}`,
    `    active-active: ${['yes', 'with-changes', 'no'].map((a) => `${a} ${tables.filter((t) => t.activeActive === a).length}`).join(', ')}`,
    `    findings: ${counted(findings.map((f) => `${f.severity} ${f.code}`))}`,
  ];
  return { passes: check.code === 0 && plan.code === 0 && apply.code === 0, text: lines.join('\n') };
}

function counted(names) {
  const counts = new Map();
  for (const name of names) counts.set(name, (counts.get(name) ?? 0) + 1);
  return [...counts].map(([name, number]) => `${name} ${number}`).join(', ') || 'none';
}

async function lanekeeper(args, env) {
  try {
    const { stdout } = await run(process.execPath, [command, ...args], { env, maxBuffer: 64 * 1024 * 1024 });
    return { code: 0, text: stdout };
  } catch (error) {
    return { code: error.code ?? 1, text: `${error.stdout ?? ''}${error.stderr ?? ''}`.trim() };
  }
}

await main();
