/** One at a time: whoever changes a database's Lanekeeper objects holds this lock, and the next one can say who does. */
import type { Queryable } from './queryable.ts';

/** Two-key advisory lock: the class is Lanekeeper's for this use; 1279 is taken by application instances. */
const lockClass = 1280;
const lockObjects = { apply: 1, streams: 2 } as const;

export type LockFor = keyof typeof lockObjects;

export type LockHolder = {
  readonly pid: number;
  readonly applicationName: string;
  readonly role: string;
  readonly address: string | null;
  /** How long that session has been connected. */
  readonly connectedMs: number;
};

export type LockResult = { readonly kind: 'locked' } | { readonly kind: 'held'; readonly by: LockHolder | null };

/**
 * Takes the lock for the session, waiting up to `waitMs`; `onWait` is told who holds it. The lock goes with the session,
 * so a process that dies does not keep it.
 */
export async function takeApplyLock(
  client: Queryable,
  waitMs: number,
  onWait: (holder: LockHolder | null) => void,
  what: LockFor = 'apply',
): Promise<LockResult> {
  const deadline = Date.now() + waitMs;
  for (let told = false; ; ) {
    const { rows } = await client.query<{ ok: boolean }>('SELECT pg_try_advisory_lock($1, $2) AS ok', [
      lockClass,
      lockObjects[what],
    ]);
    if (rows[0]?.ok) return { kind: 'locked' };
    const holder = await readHolder(client, what);
    if (Date.now() >= deadline) return { kind: 'held', by: holder };
    if (!told) onWait(holder);
    told = true;
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
}

export async function releaseApplyLock(client: Queryable, what: LockFor = 'apply'): Promise<void> {
  await client.query('SELECT pg_advisory_unlock($1, $2)', [lockClass, lockObjects[what]]);
}

async function readHolder(client: Queryable, what: LockFor): Promise<LockHolder | null> {
  const { rows } = await client.query<LockHolder>(
    `SELECT a.pid, coalesce(a.application_name, '') AS "applicationName", coalesce(a.usename, '') AS role,
        host(a.client_addr) AS address,
        coalesce(extract(epoch FROM clock_timestamp() - a.backend_start) * 1000, 0)::float8 AS "connectedMs"
      FROM pg_locks l JOIN pg_stat_activity a USING (pid)
      WHERE l.locktype = 'advisory' AND l.granted AND l.classid = $1 AND l.objid = $2 AND l.objsubid = 2
        AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())`,
    [lockClass, lockObjects[what]],
  );
  return rows[0] ?? null;
}
