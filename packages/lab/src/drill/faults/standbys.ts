/**
 * Faults of a data center with a standby of its own: the primary is lost, and the standby is promoted and has its address.
 * The drill makes the standby; what was promoted then runs where the primary ran, and the lab starts it again like that.
 */
import { rename } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { type Standby, startStandby } from '../../clusters/standby.ts';
import { standbyOf } from '../../lab/configuration.ts';
import { type Arena, dataFolderOf, sql, superusers, turn, until } from './arena.ts';
import { type Fault, longerThanLeaseMs, takeoverExpectation } from './fault.ts';
import { command, seedAgain } from './repair.ts';

type Made = {
  readonly standby: Standby;
  /** Of the primary, and of the standby until it has that place. */
  readonly data: string;
  readonly copy: string;
  generation: number;
};

const needs = { standbys: true } as const;
const made = new WeakMap<Arena, Made>();
const complaints = new WeakMap<Arena, string[]>();
const noticedWithinMs = 15_000;

/** A standby that has everything, and keeps copies of the slots that others read. */
async function makeStandby(arena: Arena): Promise<Made> {
  const { at } = arena;
  const [server] = await sql<{ version: number; generation: number }>(
    arena,
    at,
    `SELECT current_setting('server_version_num')::integer / 10000 AS version, generation FROM lanekeeper.generation`,
  );
  if (server === undefined || server.version < 17) throw new Error('that takes PostgreSQL 17 or newer');
  const slots = await sql<{ name: string }>(
    arena,
    at,
    'SELECT slot_name AS name FROM pg_replication_slots WHERE failover ORDER BY 1',
  );
  if (slots.length === 0) throw new Error(`no slot of ${at} can be copied by a standby`);
  const data = await dataFolderOf(arena, at);
  const url = new URL(superusers(arena.lab)[at] as string);
  const primary = {
    dir: dirname(data),
    host: url.hostname,
    superuserUrl: (database = 'postgres') => Object.assign(new URL(url), { pathname: `/${database}` }).href,
  };
  const standby = await startStandby({
    primary,
    dir: join(dirname(data), 'standby'),
    name: standbyOf(at),
    database: url.pathname.slice(1),
  });
  arena.undo(() => standby.stop('immediate'));
  await standby.untilCaughtUp(slots.map(({ name }) => name));
  const one = { standby, data, copy: join(dirname(data), 'standby', 'data'), generation: server.generation };
  made.set(arena, one);
  return one;
}

function madeIn(arena: Arena): Made {
  const one = made.get(arena);
  if (one === undefined) throw new Error(`${arena.at} has no standby`);
  return one;
}

/** What a tool would do that promotes: the primary is gone, and whoever connects to its address finds the promoted one. */
async function promoteInItsPlace(arena: Arena): Promise<void> {
  const { standby, data, copy } = madeIn(arena);
  await standby.promote();
  await standby.stop('fast');
  await rename(data, `${data}-lost`);
  await rename(copy, data);
  await turn(arena, arena.at, 'postgres', 'start');
  arena.note('its standby is promoted, and has its address');
}

async function placeOf(arena: Arena): Promise<{ readonly timeline: number; readonly generation: number }> {
  const [row] = await sql<{ timeline: number; generation: number }>(
    arena,
    arena.at,
    `SELECT (pg_control_checkpoint()).timeline_id AS timeline, generation FROM lanekeeper.generation`,
  );
  return row ?? { timeline: 0, generation: 0 };
}

export const standbyFaults: readonly Fault[] = [
  {
    name: 'local-standby-promoted',
    group: 'storage',
    description: "the server with a data center's PostgreSQL is lost for good, and a standby there is promoted",
    holdMs: longerThanLeaseMs,
    needs,
    usesUp: true,
    expectation: {
      text: 'another data center takes over when the lease has run out, unless the promoted one is granted it first; in either case it is back without a new seed, and nothing is lost',
      // The lease and the skew have to run out in any case, and a server is started in the meantime.
      writesAgainMs: 15_000,
      after: 'fault',
      othersPauseMs: 6_000,
    },
    async prepare(arena) {
      await makeStandby(arena);
      // Nobody else is to be ahead of it.
      await sql(arena, arena.at, `ALTER SYSTEM SET synchronized_standby_slots = '${standbyOf(arena.at)}'`);
      await sql(arena, arena.at, 'SELECT pg_reload_conf()');
    },
    async inject(arena) {
      await turn(arena, arena.at, 'postgres', 'kill');
      arena.note('the primary is lost');
      await promoteInItsPlace(arena);
      const told = await until(arena, noticedWithinMs, async () =>
        (await arena.problems()).some((problem) => problem.includes('promoted')),
      );
      complaints.set(arena, told ? [] : ['`lanekeeper status` does not say that it was promoted']);
    },
    async inspect(arena) {
      const found = [...(complaints.get(arena) ?? [])];
      const { timeline, generation } = await placeOf(arena);
      if (timeline !== 2)
        found.push(`the database of ${arena.at} is on timeline ${timeline}, not on that of the promoted one`);
      if (generation !== madeIn(arena).generation)
        arena.note('another data center had taken over before it had a lease, and it has come back from that');
      // As the manual says; until then nobody counts on it.
      await command(arena, 'verify', '--dc', arena.at).catch((error: unknown) => found.push((error as Error).message));
      return found;
    },
  },
  {
    name: 'lagging-standby-promoted',
    group: 'storage',
    description: 'a standby is promoted that lacks what the others have had of its primary',
    holdMs: longerThanLeaseMs + 5_000,
    needs,
    takesOver: true,
    usesUp: true,
    expectation: {
      ...takeoverExpectation(
        'it gets no lease and says what it lacks; another data center takes over; it is seeded again from there',
      ),
      writesAgainMs: 15_000,
    },
    async prepare(arena) {
      const { standby } = await makeStandby(arena);
      // From here on it hears of nothing.
      await standby.stop('fast');
    },
    async inject(arena) {
      const { at } = arena;
      const { standby } = madeIn(arena);
      await turn(arena, at, 'postgres', 'kill');
      arena.note('the primary is lost');
      await standby.start();
      await promoteInItsPlace(arena);
      const told = await until(arena, noticedWithinMs, async () =>
        (await arena.problems()).some((problem) => problem.includes('lacks what is known to have been there')),
      );
      complaints.set(arena, told ? [] : ['`lanekeeper status` does not say what the promoted one lacks']);
    },
    async heal(arena) {
      const [row] = await sql<{ held: boolean }>(
        arena,
        arena.at,
        'SELECT coalesce(lanekeeper.lease_left_ms(), 0) > 0 AS held',
      );
      if (row?.held !== false) complaints.get(arena)?.push(`the one that lags was given a lease in ${arena.at}`);
      await seedAgain(arena, arena.at, arena.other);
    },
    inspect: async (arena) => complaints.get(arena) ?? [],
  },
];
