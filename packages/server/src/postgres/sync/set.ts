/** Changes whom `remote` commits wait for. Each step on its own; their order is the agent's (header of `index.ts`). */
import type { DataCenterName } from 'lanekeeper/model';
import { escapeLiteral } from 'pg';
import type { Queryable } from '../queryable.ts';
import { slotName } from '../streams/names.ts';
import { databaseProblem } from '../transaction.ts';
import { membersIn, standbyNames, standbysIn } from './names.ts';

export type SetNamesResult =
  /** `before`: whether the list that it replaces was ours; if not, `proveThatCommitsWait` first. */
  | { readonly kind: 'set' | 'unchanged'; readonly names: string; readonly before: 'ours' | 'foreign' }
  /** The role may not, or something stronger (the command line) says otherwise. `message` says what. */
  | { readonly kind: 'refused'; readonly message: string };

const reloadMs = 2_000;
const pollMs = 10;

/**
 * Makes PostgreSQL wait for these peers, or for nobody who exists; with peers also for `standbys` of its own. Needs `GRANT ALTER SYSTEM ON PARAMETER` and EXECUTE on
 * `pg_reload_conf`. Returns when this session goes by the new list; other processes may still go by the one before.
 */
export async function setStandbyNames(
  client: Queryable,
  members: readonly DataCenterName[],
  standbys: readonly string[] = [],
): Promise<SetNamesResult> {
  const wanted = members.map((peer) => slotName(peer, 'homed'));
  return write(client, await shownNames(client), wanted, wanted.length === 0 ? [] : standbys);
}

/**
 * Waits for other standbys of this data center's own than before, and for the same peers. Null: the list is not ours, or
 * is about to change: it holds others than `sync_members` says. Not beside `setStandbyNames`.
 */
export async function relistStandbys(client: Queryable, standbys: readonly string[]): Promise<SetNamesResult | null> {
  const present = await shownNames(client);
  const members = membersIn(present);
  const { rows } = await client.query<{ members: number }>('SELECT members FROM lanekeeper.sync_state()');
  if (members === null || members.length === 0 || rows[0]?.members !== members.length) return null;
  return write(client, present, members, standbys);
}

async function write(
  client: Queryable,
  present: string,
  wanted: readonly string[],
  standbys: readonly string[],
): Promise<SetNamesResult> {
  const listed = membersIn(present);
  const before = listed === null ? 'foreign' : 'ours';
  if (listed !== null && isSame(listed, wanted) && isSame(standbysIn(present), standbys)) {
    return { kind: 'unchanged', names: present, before };
  }
  const names = standbyNames(wanted, present, standbys);
  try {
    await client.query(`ALTER SYSTEM SET synchronous_standby_names = ${escapeLiteral(names)}`);
    await client.query('SELECT pg_catalog.pg_reload_conf()');
  } catch (thrown) {
    const problem = databaseProblem(thrown);
    if (!problem) throw thrown;
    return { kind: 'refused', message: problem.message };
  }
  const deadlineMs = performance.now() + reloadMs;
  while ((await shownNames(client)) !== names) {
    if (performance.now() > deadlineMs) {
      return { kind: 'refused', message: 'the list was written, but this server goes by another one' };
    }
    await new Promise((resolve) => setTimeout(resolve, pollMs));
  }
  return { kind: 'set', names, before };
}

function isSame(listed: readonly string[], wanted: readonly string[]): boolean {
  return listed.length === wanted.length && wanted.every((name) => listed.includes(name));
}

async function shownNames(client: Queryable): Promise<string> {
  const { rows } = await client.query<{ names: string }>(
    `SELECT current_setting('synchronous_standby_names') AS names`,
  );
  return rows[0]?.names ?? '';
}

/** How many peers a `remote` commit waits for from now on. Returns the new view. */
export async function setSyncMembers(client: Queryable, members: number): Promise<number> {
  const { rows } = await client.query<{ view: number }>('SELECT lanekeeper.set_sync_members($1)::float8 AS view', [
    members,
  ]);
  return rows[0]?.view ?? 0;
}

/**
 * Where `setStandbyNames` was refused: from now on a `remote` commit waits for nobody, and applications wait for these peers
 * afterwards. The new view, or null when a peer does not hold yet what is here.
 */
export async function letApplicationsWait(
  client: Queryable,
  members: readonly DataCenterName[],
  withinMs: number,
): Promise<number | null> {
  const slots = members.map((peer) => slotName(peer, 'homed'));
  const { rows: now } = await client.query<{ at: string }>('SELECT pg_catalog.pg_current_wal_flush_lsn()::text AS at');
  const deadlineMs = performance.now() + withinMs;
  for (;;) {
    const { rows } = await client.query<{ there: number }>(
      `SELECT count(*)::integer AS there FROM pg_catalog.pg_replication_slots
        WHERE slot_name = ANY ($1) AND active AND confirmed_flush_lsn >= $2::pg_lsn`,
      [slots, now[0]?.at],
    );
    if (rows[0]?.there === slots.length) break;
    if (performance.now() > deadlineMs) return null;
    await new Promise((resolve) => setTimeout(resolve, pollMs));
  }
  const { rows } = await client.query<{ view: number }>('SELECT lanekeeper.set_sync_members(0, $1)::float8 AS view', [
    slots,
  ]);
  return rows[0]?.view ?? null;
}

/**
 * Ends the waits of this database's sessions; returns how many. Their transactions are committed here, and their clients
 * get PostgreSQL's WARNING. To be repeated while alone: a commit that was decided before may only now begin to wait.
 */
export async function cancelSyncWaiters(client: Queryable): Promise<number> {
  const { rows } = await client.query<{ cancelled: number }>(
    `SELECT count(*) FILTER (WHERE pg_catalog.pg_cancel_backend(pid))::integer AS cancelled
      FROM pg_catalog.pg_stat_activity
      WHERE datname = current_database() AND wait_event_type = 'IPC' AND wait_event = 'SyncRep' AND pid <> pg_catalog.pg_backend_pid()`,
  );
  return rows[0]?.cancelled ?? 0;
}

/**
 * After a list that was not ours: PostgreSQL publishes the first list to its backends late, and until then no commit
 * waits. With the list of nobody, lets `prober` commit something that nobody reads, sees it wait, and ends the wait. False:
 * it never waited within `withinMs`.
 */
export async function proveThatCommitsWait(client: Queryable, prober: Queryable, withinMs: number): Promise<boolean> {
  const deadlineMs = performance.now() + withinMs;
  const pid = (await prober.query<{ pid: number }>('SELECT pg_catalog.pg_backend_pid() AS pid')).rows[0]?.pid;
  await prober.query('SET synchronous_commit = on');
  try {
    while (performance.now() < deadlineMs) {
      let done = false;
      const probe = prober
        .query(`SELECT pg_catalog.pg_logical_emit_message(true, 'lanekeeper', 'probe')`)
        .finally(() => {
          done = true;
        });
      probe.catch(() => {});
      let waited = false;
      while (!done) {
        // A wait that was seen has to be ended, however late it is.
        const { rows } = await client.query(
          `SELECT pg_catalog.pg_cancel_backend(pid) FROM pg_catalog.pg_stat_activity
            WHERE pid = $1 AND wait_event_type = 'IPC' AND wait_event = 'SyncRep'`,
          [pid],
        );
        waited ||= rows.length > 0;
        if (!done) await new Promise((resolve) => setTimeout(resolve, pollMs));
      }
      await probe;
      if (waited) return true;
    }
    return false;
  } finally {
    await prober.query('RESET synchronous_commit');
  }
}
