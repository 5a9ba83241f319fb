import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { freePort } from '../clusters/ports.ts';
import { runLeashed, spawnLeashed } from './leash.ts';
import { type ServiceSpec, Supervisor } from './supervisor.ts';

let dir: string;
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'lanekeeper-test-'));
});
afterAll(() => rm(dir, { recursive: true, force: true }));

function alive(pid: number): boolean {
  try {
    // A zombie has ended, whoever is slow to notice.
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch {
    return false;
  }
}

/** A server that starts a child of its own, says who they are, and exits when it is asked for /die. */
const program = `
  const child = require('node:child_process').spawn('sleep', ['600']);
  console.log('pids ' + process.pid + ' ' + child.pid);
  if (process.env.STUBBORN) process.on('SIGTERM', () => {});
  require('node:http').createServer((request, response) => {
    if (request.url === '/die') process.exit(3);
    response.end(String(process.pid));
  }).listen(Number(process.env.PORT), '127.0.0.1');
`;

async function spec(name: string, env: NodeJS.ProcessEnv = {}): Promise<ServiceSpec> {
  const port = await freePort('127.0.0.1');
  return {
    name,
    command: process.execPath,
    args: ['-e', program],
    env: { PATH: process.env.PATH, PORT: String(port), ...env },
    address: { host: '127.0.0.1', port },
    stopTimeoutMs: 300,
  };
}

async function pidsIn(logFile: string): Promise<number[]> {
  const lines = [...(await readFile(logFile, 'utf8')).matchAll(/pids (\d+) (\d+)/g)];
  return [Number(lines.at(-1)?.[1]), Number(lines.at(-1)?.[2])];
}

test('when the parent is killed, its children and what they started end too', async () => {
  const file = join(dir, 'parent.ts');
  const leash = JSON.stringify(new URL('../../dist/processes/leash.js', import.meta.url).href);
  await writeFile(
    `${file}.mjs`,
    `import { spawnLeashed } from ${leash};
     const leashed = await spawnLeashed('/bin/sh', ['-c', 'sleep 600 & echo $$ $!; wait'], { stdout: 1 });
     setInterval(() => {}, 1000);`,
  );
  const parent = spawn(process.execPath, [`${file}.mjs`], { stdio: ['ignore', 'pipe', 'inherit'] });
  const [shell, sleeper] = await new Promise<number[]>((resolve) =>
    parent.stdout.once('data', (text) => resolve(String(text).trim().split(' ').map(Number))),
  );
  expect([shell, sleeper].map((pid) => alive(pid as number))).toEqual([true, true]);
  parent.kill('SIGKILL');
  await expect
    .poll(() => [shell, sleeper].map((pid) => alive(pid as number)), { timeout: 5_000 })
    .toEqual([false, false]);
});

test('a child that ends is seen with its code, and its watcher touches nobody', async () => {
  const leashed = await spawnLeashed('/bin/sh', ['-c', 'exit 7']);
  expect(await leashed.exited).toEqual({ code: 7, signal: null });
  leashed.signal('SIGKILL');
  expect(await runLeashed('echo', ['a b'], { timeoutMs: 5_000 })).toBe('a b\n');
  await expect(runLeashed('sh', ['-c', 'echo why >&2; exit 1'], { timeoutMs: 5_000 })).rejects.toThrow(/code 1:\nwhy/);
  await expect(runLeashed('sleep', ['60'], { timeoutMs: 50 })).rejects.toThrow(/SIGKILL/);
});

test('a service that ends by itself comes back; stopping ends it and what it started', async () => {
  const events: string[] = [];
  const supervisor = new Supervisor(join(dir, 'logs'), (event) => events.push(event.kind));
  const service = await supervisor.start(await spec('app'));
  const url = `http://127.0.0.1:${service.spec.address.port}`;
  const first = await (await fetch(url)).text();
  await fetch(`${url}/die`).catch(() => {});
  const before = await pidsIn(service.logFile);
  await expect.poll(() => service.state(), { timeout: 10_000 }).toMatchObject({ phase: 'running', restarts: 1 });
  expect(before.filter(alive)).toEqual([]);
  expect(await (await fetch(url)).text()).not.toBe(first);
  expect(events).toEqual(['ended', 'restarted']);
  const pids = await pidsIn(service.logFile);
  await supervisor.stop();
  expect(service.state()).toMatchObject({ phase: 'stopped', pid: null });
  await expect.poll(() => pids.filter(alive), { timeout: 5_000 }).toEqual([]);
});

test('one that ignores SIGTERM is ended anyway', async () => {
  const supervisor = new Supervisor(join(dir, 'logs'));
  const service = await supervisor.start(await spec('stubborn', { STUBBORN: '1' }));
  const pids = await pidsIn(service.logFile);
  const startedMs = performance.now();
  await supervisor.stop();
  expect(performance.now() - startedMs).toBeLessThan(4_000);
  await expect.poll(() => pids.filter(alive), { timeout: 5_000 }).toEqual([]);
});

test('one that does not start says what it printed', async () => {
  const supervisor = new Supervisor(join(dir, 'logs'));
  const broken = { ...(await spec('broken')), args: ['-e', 'console.error("no such table"); process.exit(1)'] };
  await expect(supervisor.start(broken)).rejects.toThrow(/broken did not start(.|\n)*no such table/);
  await supervisor.stop();
});
