/** What has to be done now and then, and what people want to see. */
import type { AccountId, DataCenterName, Epoch } from 'lanekeeper/model';
import type { Queryable } from '../queryable.ts';

/**
 * Ends transactions that have passed the fence and are older than `limitMs` (faults.md, remedy 2: a takeover waits for the
 * longest transaction). Those that only read, and PostgreSQL's own, are left alone. Returns whose they were.
 * Throws 42501 when the role lacks `pg_signal_backend`.
 */
export async function endOldTransactions(
  client: Queryable,
  limitMs: number,
): Promise<readonly { readonly pid: number; readonly role: string; readonly application: string }[]> {
  const { rows } = await client.query<{ pid: number; role: string; application: string; ended: boolean }>(
    `WITH old AS MATERIALIZED (
      SELECT a.pid, a.usename AS role, a.application_name AS application FROM pg_catalog.pg_stat_activity a
        WHERE a.backend_type = 'client backend' AND a.datname = current_database() AND a.pid <> pg_backend_pid()
          AND a.xact_start < clock_timestamp() - make_interval(secs => $1::float8 / 1000)
          AND EXISTS (SELECT FROM pg_catalog.pg_locks l WHERE l.pid = a.pid AND l.granted AND l.mode = 'RowShareLock'
            AND l.relation = 'lanekeeper.deed'::regclass))
    SELECT old.*, pg_catalog.pg_terminate_backend(old.pid) AS ended FROM old`,
    [limitMs],
  );
  return rows.filter(({ ended }) => ended).map(({ pid, role, application }) => ({ pid, role, application }));
}

/** Empties what transactions left behind. */
export async function sweep(client: Queryable): Promise<void> {
  await client.query('SELECT lanekeeper.sweep()');
}

/** Forgets what is older than a week: what was observed, which moves there were, when accounts were last used. */
export async function forgetOld(client: Queryable): Promise<void> {
  await client.query(`DELETE FROM lanekeeper.observation WHERE at < clock_timestamp() - interval '7 days'`);
  await client.query(`DELETE FROM lanekeeper.move_log WHERE at < clock_timestamp() - interval '7 days'`);
  await client.query(`DELETE FROM lanekeeper.activity WHERE at < clock_timestamp() - interval '7 days'`);
}

/** Notes what a subscription's conflict counter shows now; returns how many no clean `verify` has answered for. */
export async function noteConflicts(client: Queryable, subscription: string, seen: number): Promise<number> {
  const { rows } = await client.query<{ unanswered: string }>(
    // A counter that fell was reset by a crash: all it shows is new. What was there at first sight came before us.
    `INSERT INTO lanekeeper.conflict_count AS c (subscription, seen) VALUES ($1, $2)
      ON CONFLICT (subscription) DO UPDATE SET seen = excluded.seen, at = clock_timestamp(),
        unanswered = c.unanswered + CASE WHEN excluded.seen >= c.seen THEN excluded.seen - c.seen ELSE excluded.seen END
        WHERE c.seen <> excluded.seen
      RETURNING unanswered`,
    [subscription, seen],
  );
  if (rows[0] !== undefined) return Number(rows[0].unanswered);
  const present = await client.query<{ unanswered: string }>(
    'SELECT unanswered FROM lanekeeper.conflict_count WHERE subscription = $1',
    [subscription],
  );
  return Number(present.rows[0]?.unanswered ?? 0);
}

/** What `subscriber` announced to read of what `publisher` writes. To be read before subscriptions and publications are. */
export async function readAnnounced(
  client: Queryable,
  publisher: DataCenterName,
  subscriber: DataCenterName,
): Promise<readonly string[]> {
  const { rows } = await client.query<{ relation: string }>(
    'SELECT relation FROM lanekeeper.subscribed WHERE publisher = $1 AND subscriber = $2',
    [publisher, subscriber],
  );
  return rows.map(({ relation }) => relation);
}

/**
 * Tables that were read here and have fallen out of the subscription: what was written to them meanwhile is missing, and
 * nothing shows it once they are back. Each is noted once, like a conflict that `verify` has to answer for.
 */
export async function noteLeftOut(
  client: Queryable,
  publisher: DataCenterName,
  subscription: string,
  tables: readonly string[],
): Promise<void> {
  await client.query(
    `WITH gone AS (DELETE FROM lanekeeper.subscribed
        WHERE publisher = $1 AND subscriber = lanekeeper.dc() AND relation = ANY ($3) RETURNING relation),
      noted AS (INSERT INTO lanekeeper.incident (kind, detail)
        SELECT 'table-left-out', json_build_object('publisher', $1::text, 'table', relation) FROM gone)
    UPDATE lanekeeper.conflict_count SET unanswered = unanswered + (SELECT count(*) FROM gone), at = clock_timestamp()
      WHERE subscription = $2`,
    [publisher, subscription, tables],
  );
}

/** Conflicts that nobody has answered for, by subscription. */
export type UnansweredConflicts = Readonly<Record<string, number>>;

export async function readUnanswered(client: Queryable): Promise<UnansweredConflicts> {
  const { rows } = await client.query<{ subscription: string; unanswered: string }>(
    'SELECT subscription, unanswered FROM lanekeeper.conflict_count WHERE unanswered > 0',
  );
  return Object.fromEntries(rows.map(({ subscription, unanswered }) => [subscription, Number(unanswered)]));
}

/** A clean `verify` has shown that those did no harm which were there when it began. */
export async function answerConflicts(client: Queryable, answered: UnansweredConflicts): Promise<void> {
  await client.query(
    `UPDATE lanekeeper.conflict_count c SET unanswered = greatest(c.unanswered - a.value::bigint, 0), at = clock_timestamp()
      FROM jsonb_each_text($1) a WHERE a.key = c.subscription`,
    [JSON.stringify(answered)],
  );
}

/** How many accounts each data center is the home of. Reads every deed: ask now and then. */
export async function countHomes(client: Queryable): Promise<Readonly<Record<DataCenterName, number>>> {
  const { rows } = await client.query<{ home: string; count: string }>(
    `SELECT lanekeeper.resolve(d.home, d.term) AS home, sum(d.count) AS count
      FROM (SELECT home, term, count(*) FROM lanekeeper.deed WHERE account NOT LIKE 'claim:%' GROUP BY home, term) d
      GROUP BY 1 ORDER BY 1`,
  );
  return Object.fromEntries(rows.map(({ home, count }) => [home, Number(count)]));
}

export type MoveEntry = {
  readonly at: string;
  readonly account: AccountId;
  readonly what: 'given' | 'accepted' | 'declined';
  readonly peer: DataCenterName;
  readonly epoch: Epoch;
};

/** The latest moves that left or reached this data center, the latest first. */
export async function readMoves(client: Queryable, atMost: number): Promise<readonly MoveEntry[]> {
  const { rows } = await client.query<Omit<MoveEntry, 'epoch'> & { term: string; counter: string }>(
    `SELECT to_json(at)#>>'{}' AS at, account, what, peer, term, counter FROM lanekeeper.move_log ORDER BY at DESC LIMIT $1`,
    [atMost],
  );
  return rows.map(({ term, counter, ...rest }) => ({
    ...rest,
    epoch: { term: Number(term), counter: Number(counter) },
  }));
}

export type Incident = { readonly at: string; readonly kind: string; readonly detail: unknown };

/** What should not have happened within the last day, the latest first. */
export async function readIncidents(client: Queryable, atMost: number): Promise<readonly Incident[]> {
  const { rows } = await client.query<Incident>(
    `SELECT to_json(at)#>>'{}' AS at, kind, detail FROM lanekeeper.incident
      WHERE at > clock_timestamp() - interval '1 day' ORDER BY id DESC LIMIT $1`,
    [atMost],
  );
  return rows;
}
