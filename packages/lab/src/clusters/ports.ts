/**
 * Free ports. Between finding one and using it somebody else may take it, so whoever uses it must be ready to retry.
 * They are drawn at random from below the range from which systems take ports of outgoing connections, so that it rarely
 * happens: two labs that start at the same moment draw different ones.
 */
import { randomInt } from 'node:crypto';
import { createServer } from 'node:net';

/** Found by this process, and perhaps not in use yet. */
const found = new Set<number>();

const firstPort = 20_000;
const lastPort = 32_000;

/** A port that is free on every one of `hosts` at this moment: `preferred` if that is one, else any. */
export async function freePort(hosts: string | readonly string[], preferred?: number): Promise<number> {
  const list = typeof hosts === 'string' ? [hosts] : hosts;
  const candidates = Array.from({ length: 100 }, () => randomInt(firstPort, lastPort));
  for (const port of preferred === undefined ? candidates : [preferred, ...candidates]) {
    if ((found.has(port) && port !== preferred) || !(await isFree(list, port))) continue;
    found.add(port);
    return port;
  }
  throw new Error(`No free port found on ${list.join(' and ')}`);
}

/** Whether this machine lets us listen on `host` at all: 127.0.1.1 works on Linux, not everywhere. */
export function canListenOn(host: string): Promise<boolean> {
  return canListen(host, 0);
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
