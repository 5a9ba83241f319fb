/**
 * Free ports. Between finding one and using it somebody else may take it, so whoever uses it must be ready to retry.
 * They are drawn at random from below the range from which systems take ports of outgoing connections, so that it rarely
 * happens. Our own processes leave each other's alone as long as they live: one that is stopped and started again finds its port free.
 */
import { randomInt } from 'node:crypto';
import { readFileSync, rmSync } from 'node:fs';
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { cacheFolder } from './cache.ts';

const firstPort = 20_000;
const lastPort = 32_000;

/** Files by which this process has taken ports. */
const taken = new Set<string>();

/** A port that is free on every one of `hosts` at this moment: `preferred` if that is one, else any. */
export async function freePort(hosts: string | readonly string[], preferred?: number): Promise<number> {
  const list = typeof hosts === 'string' ? [hosts] : hosts;
  const folder = join(await cacheFolder(), 'ports');
  await mkdir(folder, { recursive: true });
  if (preferred !== undefined && (await isFree(list, preferred))) {
    await take(folder, preferred);
    return preferred;
  }
  for (let attempt = 0; attempt < 100; attempt += 1) {
    const port = randomInt(firstPort, lastPort);
    if ((await isFree(list, port)) && (await take(folder, port))) return port;
  }
  throw new Error(`No free port found on ${list.join(' and ')}`);
}

/** Whether this machine lets us listen on `host` at all: 127.0.1.1 works on Linux, not everywhere. */
export function canListenOn(host: string): Promise<boolean> {
  return canListen(host, 0);
}

/** One file for each port, with the id of the process that took it. False: somebody has it, also this process. */
async function take(folder: string, port: number): Promise<boolean> {
  const file = join(folder, String(port));
  for (let attempt = 0; attempt < 2; attempt += 1) {
    try {
      await writeFile(file, String(process.pid), { flag: 'wx' });
      if (taken.size === 0) process.once('exit', leaveAll);
      taken.add(file);
      return true;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
      // Empty: it is being written.
      const owner = await readFile(file, 'utf8').catch(() => '');
      if (owner === '' || isAlive(Number(owner))) return false;
      await rm(file, { force: true });
    }
  }
  return false;
}

function leaveAll(): void {
  for (const file of taken) {
    try {
      if (readFileSync(file, 'utf8') === String(process.pid)) rmSync(file, { force: true });
    } catch {
      // The folder may be thrown away at any time.
    }
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

async function isFree(hosts: readonly string[], port: number): Promise<boolean> {
  for (const host of hosts) if (!(await canListen(host, port))) return false;
  return true;
}

function canListen(host: string, port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(false));
    server.listen({ host, port, exclusive: true }, () => server.close(() => resolve(true)));
  });
}
