/**
 * Who leads among the agents of one data center: whoever holds an advisory lock of this database in a session of its own.
 * PostgreSQL lets go of it when that session ends, however the agent ended.
 */
import type { LeaseCredential } from 'lanekeeper/model';
import type { Queryable } from '../queryable.ts';

/** 1279 is taken by the application instances; 1280 is ours. */
const leadLock = '1280, 0';

/** True: this session leads from now on. */
export async function tryLeadLock(session: Queryable): Promise<boolean> {
  const { rows } = await session.query<{ got: boolean }>(`SELECT pg_catalog.pg_try_advisory_lock(${leadLock}) AS got`);
  return rows[0]?.got === true;
}

/** Puts our name on the lead that this session holds. Returns what the one before left. */
export async function takeLead(session: Queryable, instance: string, url: string): Promise<LeaseCredential | null> {
  const before = await session.query<{ holder: string | null; revision: string | null }>(
    'SELECT lease_holder AS holder, lease_revision AS revision FROM lanekeeper.leader',
  );
  await session.query(
    `INSERT INTO lanekeeper.leader (instance, url, pid) VALUES ($1, $2, pg_backend_pid())
      ON CONFLICT (one) DO UPDATE SET instance = excluded.instance, url = excluded.url, pid = excluded.pid, at = clock_timestamp()`,
    [instance, url],
  );
  const { holder = null, revision = null } = before.rows[0] ?? {};
  return holder === null || revision === null ? null : { holder, revision: Number(revision) };
}

export type Leader = {
  readonly instance: string;
  readonly url: string;
  /** Since its process was last heard of in the database. */
  readonly silentMs: number;
  /** The session that holds the lead now; null when none does. */
  readonly pid: number | null;
};

export async function readLeader(client: Queryable): Promise<Leader | null> {
  const { rows } = await client.query<Leader>(
    `SELECT l.instance, l.url, (extract(epoch FROM clock_timestamp() - coalesce(a.at, l.at)) * 1000)::float8 AS "silentMs",
        (SELECT k.pid FROM pg_catalog.pg_locks k JOIN pg_catalog.pg_database d ON d.oid = k.database
          WHERE k.locktype = 'advisory' AND k.classid::bigint = 1280 AND k.objid::bigint = 0 AND k.granted
            AND d.datname = current_database()) AS pid
      FROM lanekeeper.leader l LEFT JOIN lanekeeper.agent a USING (instance)`,
  );
  return rows[0] ?? null;
}

/** Ends the session of a leader that is there but does not act. */
export async function unseatLeader(client: Queryable, pid: number): Promise<void> {
  await client.query('SELECT pg_catalog.pg_terminate_backend($1)', [pid]);
}

export type AgentRow = { readonly instance: string; readonly url: string; readonly silentMs: number };

/** Says that this agent is there, and returns all that said so lately. */
export async function enrol(client: Queryable, instance: string, url: string): Promise<readonly AgentRow[]> {
  await client.query(
    `WITH gone AS (DELETE FROM lanekeeper.agent WHERE at < clock_timestamp() - interval '1 minute' AND instance <> $1)
    INSERT INTO lanekeeper.agent (instance, url) VALUES ($1, $2)
      ON CONFLICT (instance) DO UPDATE SET url = excluded.url, at = clock_timestamp()`,
    [instance, url],
  );
  const { rows } = await client.query<AgentRow>(
    `SELECT instance, url, (extract(epoch FROM clock_timestamp() - at) * 1000)::float8 AS "silentMs"
      FROM lanekeeper.agent ORDER BY instance`,
  );
  return rows;
}

/** The opposite of `enrol`; tells the others when it was the leader that went. */
export async function withdraw(client: Queryable, instance: string): Promise<void> {
  await client.query('DELETE FROM lanekeeper.agent WHERE instance = $1', [instance]);
  await client.query(`SELECT pg_catalog.pg_notify('lanekeeper_agent', '{"kind":"leader-left"}')`);
}
