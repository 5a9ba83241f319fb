import { execFile } from 'node:child_process';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { freePort } from './ports.ts';

/** What is drawn next; by chance, when there is nothing in it. */
const draws = vi.hoisted((): number[] => []);
vi.mock('node:crypto', async (original) => {
  const crypto = await original<typeof import('node:crypto')>();
  return { ...crypto, randomInt: (from: number, to: number) => draws.shift() ?? crypto.randomInt(from, to) };
});

let cache: string;

beforeEach(async () => {
  cache = await mkdtemp(join(tmpdir(), 'lanekeeper-test-'));
  vi.stubEnv('LANEKEEPER_CACHE', cache);
});
afterEach(async () => {
  draws.length = 0;
  vi.unstubAllEnvs();
  await rm(cache, { recursive: true, force: true });
});

const file = (port: number) => join(cache, 'ports', String(port));

test('a port that was found is not found again, here or by another process that lives', async () => {
  const [mine, theirs, free] = [await freePort('127.0.0.1'), await freePort('127.0.0.1'), await freePort('127.0.0.1')];
  expect(await readdir(join(cache, 'ports'))).toHaveLength(3);
  await writeFile(file(theirs), String(process.ppid));
  await rm(file(free));
  draws.push(mine, theirs, free);
  expect(await freePort('127.0.0.1')).toBe(free);
});

test('what a process had that is gone may be found', async () => {
  const { stdout: gone } = await promisify(execFile)(process.execPath, ['-p', 'process.pid']);
  const port = await freePort('127.0.0.1');
  await writeFile(file(port), gone.trim());
  draws.push(port);
  expect(await freePort('127.0.0.1')).toBe(port);
  expect(await readFile(file(port), 'utf8')).toBe(String(process.pid));
});

test('what is preferred is given when nobody listens there, whoever had it', async () => {
  const port = await freePort('127.0.0.1');
  await writeFile(file(port), String(process.ppid));
  expect(await freePort('127.0.0.1', port)).toBe(port);
});
