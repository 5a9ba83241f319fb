/**
 * What a fault may touch: the lab's processes, its links, its databases. Everything that it breaks goes through here, and
 * what has to be undone when the drill ends, however it ends, is put down with `undo`.
 */

import { Client } from 'pg';
import type { LabDescription } from '../../lab/description.ts';
import type { LabProcess } from '../../lab/switchboard.ts';
import type { LinksClient } from '../../links/client.ts';
import type { DirectionSettings } from '../../links/direction.ts';
import { descendantsOf, sleepMs } from '../../processes/observe.ts';
import { ask } from '../checker/index.ts';
import type { Load } from '../load/index.ts';

export type Arena = {
  readonly lab: LabDescription;
  /** Where the fault is, and the other one. */
  readonly at: string;
  readonly other: string;
  /** Where there are three. */
  readonly third: string | null;
  readonly load: Load;
  readonly random: () => number;
  readonly links: LinksClient;
  /** For calls to agents, signed by the key of that data center. */
  agentToken(dataCenter: string): string;
  /** One question to a database. */
  ask(url: string, text: string): Promise<unknown>;
  /** What `lanekeeper status` complains about now, in all data centers. */
  problems(): Promise<readonly string[]>;
  /** Into the timeline, with the present time. */
  note(text: string): void;
  /** Run in reverse order at the end, also when the drill breaks off. Must not throw when there is nothing to undo. */
  undo(step: () => Promise<unknown>): void;
  /** Becomes true on Ctrl-C: waiting has no end any more. */
  aborted(): boolean;
  /** Bounded; rejects when the drill is aborted. */
  pause(ms: number): Promise<void>;
};

/** Processes of one site, as they are now. */
export async function processesIn(arena: Pick<Arena, 'lab'>, site: string): Promise<readonly LabProcess[]> {
  const { processes } = await switchboard<{ processes: readonly LabProcess[] }>(arena, 'GET', '/');
  return processes.filter((one) => one.site === site);
}

export async function pidOf(arena: Pick<Arena, 'lab'>, site: string, name: string): Promise<number> {
  const found = (await processesIn(arena, site)).find((one) => one.name === name);
  if (found === undefined || found.pid === null) throw new Error(`${name} in ${site} does not run`);
  return found.pid;
}

/** `stop`, `kill` and `crash` end it; `start` brings it back, and does nothing when it runs. */
export async function turn(
  arena: Pick<Arena, 'lab'>,
  site: string,
  name: string,
  action: 'stop' | 'kill' | 'crash' | 'start',
): Promise<void> {
  await switchboard(arena, 'POST', `/${site}/${name}/${action}`);
}

async function switchboard<T>({ lab }: Pick<Arena, 'lab'>, method: string, path: string): Promise<T> {
  const response = await fetch(new URL(path, lab.switchboard.url), {
    method,
    headers: { authorization: `Bearer ${lab.switchboard.token}` },
    signal: AbortSignal.timeout(90_000),
  });
  const answer = (await response.json()) as T & { error?: string };
  if (!response.ok) throw new Error(`${method} ${path}: ${answer.error ?? response.status}`);
  return answer;
}

/** The databases of all data centers as a superuser sees them. */
export function superusers(lab: LabDescription): Readonly<Record<string, string>> {
  return Object.fromEntries(Object.entries(lab.dataCenters).map(([name, dc]) => [name, dc.databases.superuser]));
}

/** As superuser. */
export function sql<Row extends Record<string, unknown>>(
  { lab }: Pick<Arena, 'lab'>,
  dataCenter: string,
  text: string,
  values: readonly unknown[] = [],
): Promise<readonly Row[]> {
  return ask<Row>(superusers(lab)[dataCenter] as string, text, values);
}

/** Every process of a data center, with those that they started: PostgreSQL's backends, for instance. */
export async function wholeDataCenter(arena: Pick<Arena, 'lab'>, site: string): Promise<readonly number[]> {
  const roots = (await processesIn(arena, site)).flatMap(({ pid }) => (pid === null ? [] : [pid]));
  const below = await Promise.all(roots.map((pid) => descendantsOf(pid)));
  return [...roots, ...below.flat()];
}

/** Does nothing for those that have ended. */
export function signalAll(pids: readonly number[], signal: NodeJS.Signals): void {
  for (const pid of pids) {
    try {
      process.kill(pid, signal);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
    }
  }
}

/** Freezes processes until `undo` or `heal` thaws them. */
export function freeze(arena: Arena, pids: readonly number[]): () => Promise<void> {
  const thaw = async (): Promise<void> => signalAll(pids, 'SIGCONT');
  arena.undo(thaw);
  signalAll(pids, 'SIGSTOP');
  return thaw;
}

/** Kills everything in the data center of the fault at once; it is started again in the end, the database first. */
export function killAll(arena: Arena): Promise<void> {
  return killEverythingIn(arena, arena.at);
}

export async function killEverythingIn(arena: Arena, site: string): Promise<void> {
  const names = (await processesIn(arena, site)).map(({ name }) => name);
  arena.undo(async () => {
    await turn(arena, site, 'postgres', 'start');
    await Promise.all(names.filter((name) => name !== 'postgres').map((name) => turn(arena, site, name, 'start')));
  });
  await Promise.all(names.map((name) => turn(arena, site, name, 'kill')));
}

/** Changes both directions of a link, or one; everything is as it was at the end. */
export async function bend(
  arena: Arena,
  from: string,
  to: string,
  changes: Partial<DirectionSettings>,
  ways: 'both' | 'one' = 'both',
): Promise<() => Promise<void>> {
  const pairs: (readonly [string, string])[] =
    ways === 'both'
      ? [
          [from, to],
          [to, from],
        ]
      : [[from, to]];
  const { directions } = await arena.links.state();
  const restore = async (): Promise<void> => {
    for (const [a, b] of pairs) {
      const was = directions.find((one) => one.from === a && one.to === b);
      if (was === undefined) continue;
      const { delayMs, jitterMs, bytesPerSecond, mode } = was;
      await arena.links.change(a, b, { delayMs, jitterMs, bytesPerSecond, mode });
    }
  };
  arena.undo(restore);
  for (const [a, b] of pairs) await arena.links.change(a, b, changes);
  return restore;
}

/** Waits until it is true; false when that takes longer. */
export async function until(arena: Arena, withinMs: number, look: () => Promise<boolean>): Promise<boolean> {
  const endMs = performance.now() + withinMs;
  while (performance.now() < endMs && !arena.aborted()) {
    if (await look().catch(() => false)) return true;
    await sleepMs(100);
  }
  return false;
}

/** Where PostgreSQL of a data center keeps its data; the folder above is the lab's own. */
export async function dataFolderOf(arena: Pick<Arena, 'lab'>, dataCenter: string): Promise<string> {
  const [row] = await sql<{ data_directory: string }>(arena, dataCenter, 'SHOW data_directory');
  if (row === undefined) throw new Error(`${dataCenter} does not say where its data are`);
  return row.data_directory;
}

/** Long-lived, for what a session holds on to; ended by `undo`. */
export async function session(arena: Arena, dataCenter: string, role: 'superuser' | 'application'): Promise<Client> {
  const client = new Client({
    connectionString: arena.lab.dataCenters[dataCenter]?.databases[role] ?? '',
    application_name: 'lanekeeper-drill',
    connectionTimeoutMillis: 5_000,
  });
  client.on('error', () => {});
  await client.connect();
  arena.undo(() => client.end().catch(() => {}));
  return client;
}
