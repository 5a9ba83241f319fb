/** A lab for a bench: two or three data centers with a schema and an application that says nothing; the bench writes with SQL. */
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';

const here = (file) => new URL(file, import.meta.url).pathname;
const bin = here('../packages/server/bin/lanekeeper.js');

/** Runs `work` with the lab's description, and takes the lab away again. `more`: further options of `lanekeeper lab`. */
export async function withLab(work, more = []) {
  const parent = await mkdtemp(join(tmpdir(), 'lanekeeper-bench-'));
  const options = [
    ...['--dir', join(parent, 'lab')],
    ...['--app', `${process.execPath} ${here('rehome/app.js')}`],
    ...['--schema', here('rehome/schema.sql')],
    ...['--config', here('rehome/lanekeeper.yaml')],
    ...more,
  ];
  const lab = spawn(process.execPath, [bin, 'lab', '--json', ...options], { stdio: ['ignore', 'pipe', 'inherit'] });
  try {
    const [line] = await Promise.race([
      once(createInterface({ input: lab.stdout }), 'line'),
      once(lab, 'exit').then(() => ['']),
    ]);
    if (!line) throw new Error('the lab did not start');
    await work(JSON.parse(line));
  } finally {
    lab.kill('SIGTERM');
    if (lab.exitCode === null) await once(lab, 'exit');
    await rm(parent, { recursive: true, force: true });
  }
}

/** The data centers of a lab with so many, as `lanekeeper lab` takes them. */
export function dataCenters(count) {
  const names = ['ny', 'la', 'fra'].slice(0, count);
  if (names.length !== count || count < 2) throw new Error('--data-centers is 2 or 3');
  return ['--data-centers', names.join(',')];
}

/** The same round trip between all of them, or as `of(a, b)` says. */
export async function setRoundTrips(described, of) {
  const names = Object.keys(described.dataCenters);
  for (const [index, a] of names.entries())
    for (const b of names.slice(index + 1))
      await lanekeeper(described, 'lab', 'link', a, b, '--rtt', `${typeof of === 'number' ? of : of(a, b)}ms`);
}

/** A command as typed beside the lab. */
export function lanekeeper(described, ...args) {
  const env = { ...process.env, LANEKEEPER_LAB: join(described.dir, 'lab.json') };
  return promisify(execFile)(process.execPath, [bin, ...args], { env });
}

/** All write, hold everything that is acknowledged as remote, and have nothing left to do. */
export async function untilWell(described) {
  for (let i = 0; i < 600; i++) {
    const { stdout } = await lanekeeper(described, 'status', '--json').catch((error) => error);
    try {
      const { dataCenters } = JSON.parse(stdout);
      const well = Object.values(dataCenters).every(
        (status) =>
          status?.lease.kind === 'held' &&
          status.rejoin === null &&
          status.sync.recorded.length === Object.keys(dataCenters).length - 1 &&
          Object.values(status.peers).every(({ open }) => open),
      );
      if (well) return;
    } catch {
      // Not there yet.
    }
    await new Promise((resolve) => setTimeout(resolve, 250));
  }
  throw new Error('the data centers are not well again');
}
