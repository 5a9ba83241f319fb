/**
 * Writes that a data center refused (`lanekeeper.buffer_aside`). They are taken out of the way, tried again for
 * `buffer.retryMs` and then wait for a person: poison. Later writes to the same key go on meanwhile: each is a whole row, so
 * that none needs what was set aside; and once a later one is in place, trying again finds it and changes nothing.
 */
import type { DataCenterName } from 'lanekeeper/model';
import type { LoggedWrite, Write } from './log.ts';
import type { Outcome } from './target.ts';

/** A `pg` Client, PoolClient or Pool. */
export type Asker = {
  query<Row extends object>(
    text: string,
    values?: readonly unknown[],
  ): Promise<{ readonly rows: Row[]; readonly rowCount: number | null }>;
};

export type Refused = { readonly write: LoggedWrite; readonly outcome: Extract<Outcome, { kind: 'refused' }> };

export type AsideState = 'retrying' | 'poison' | 'discarded';

export type AsideEntry = {
  readonly id: string;
  readonly target: DataCenterName;
  readonly relation: string;
  readonly key: readonly string[];
  /** Null: a removal. */
  readonly image: unknown;
  readonly writtenAt: Date;
  readonly state: AsideState;
  /** What PostgreSQL said last. */
  readonly sqlstate: string;
  readonly message: string;
  readonly attempts: number;
  readonly firstAt: Date;
  readonly decidedBy: string | null;
  readonly reason: string | null;
};

const firstPauseMs = 500;
const longestPauseMs = 10_000;

export async function setAside(
  client: Asker,
  log: string,
  target: DataCenterName,
  refused: readonly Refused[],
): Promise<void> {
  const rows = refused.map(({ write, outcome }) => ({ ...write, ...outcome, written_at: write.at }));
  await client.query(
    `INSERT INTO lanekeeper.buffer_aside (log, target, position, relation, key, image, stamp, dc, number, written_at, sqlstate, message, next_at)
       SELECT $1, $2, r.position, r.relation, r.key, r.image, r.stamp, r.dc, r.number, r.written_at, r.state, r.message,
              pg_catalog.clock_timestamp() + $4 * interval '1 millisecond'
         FROM pg_catalog.jsonb_to_recordset($3::jsonb) AS r (position text, relation text, key text[], image jsonb, stamp bigint, dc text,
           number bigint, written_at timestamptz, state text, message text)
       ON CONFLICT (log, target, position) DO NOTHING`,
    [log, target, JSON.stringify(rows), firstPauseMs],
  );
}

export type DueWrite = Write & { readonly id: string };

export async function readDue(client: Asker, target: DataCenterName, limit: number): Promise<readonly DueWrite[]> {
  const { rows } = await client.query<DueWrite>(
    `SELECT id, relation, key, image, stamp, dc, number FROM lanekeeper.buffer_aside
       WHERE target = $1 AND state = 'retrying' AND next_at <= pg_catalog.clock_timestamp() ORDER BY id LIMIT $2`,
    [target, limit],
  );
  return rows;
}

/** What came of trying again; `retryMs` after it was refused first, a write that is refused still is poison. */
export async function settleDue(
  client: Asker,
  due: readonly DueWrite[],
  outcomes: readonly Outcome[],
  retryMs: number,
): Promise<void> {
  const refused = due.flatMap(({ id }, index) => {
    const outcome = outcomes[index];
    return outcome?.kind === 'refused' ? [{ id, state: outcome.state, message: outcome.message }] : [];
  });
  const done = due.filter((_, index) => outcomes[index]?.kind !== 'refused').map(({ id }) => id);
  await client.query("DELETE FROM lanekeeper.buffer_aside WHERE id = ANY ($1::bigint[]) AND state = 'retrying'", [
    done,
  ]);
  if (refused.length === 0) return;
  await client.query(
    `UPDATE lanekeeper.buffer_aside a SET attempts = a.attempts + 1, sqlstate = r.state, message = r.message,
         state = CASE WHEN pg_catalog.clock_timestamp() > a.first_at + $2 * interval '1 millisecond' THEN 'poison' ELSE 'retrying' END,
         next_at = pg_catalog.clock_timestamp() + least($3::float8, $4 * 2 ^ least(a.attempts, 10)) * interval '1 millisecond'
       FROM pg_catalog.jsonb_to_recordset($1::jsonb) AS r (id bigint, state text, message text)
       WHERE a.id = r.id AND a.state = 'retrying'`,
    [JSON.stringify(refused), retryMs, longestPauseMs, firstPauseMs],
  );
}

export async function listAside(client: Asker, states: readonly AsideState[]): Promise<readonly AsideEntry[]> {
  const { rows } = await client.query<AsideEntry>(
    `SELECT id, target, relation, key, image, written_at AS "writtenAt", state, sqlstate, message, attempts, first_at AS "firstAt",
            decided_by AS "decidedBy", reason
       FROM lanekeeper.buffer_aside WHERE state = ANY ($1) ORDER BY id LIMIT 10000`,
    [states],
  );
  return rows;
}

export async function countAside(client: Asker): Promise<Readonly<Record<'retrying' | 'poison', number>>> {
  const { rows } = await client.query<{ state: string; n: number }>(
    'SELECT state, pg_catalog.count(*)::int AS n FROM lanekeeper.buffer_aside GROUP BY state',
  );
  const of = (state: string) => rows.find((row) => row.state === state)?.n ?? 0;
  return { retrying: of('retrying'), poison: of('poison') };
}

/** Null: every one that is poison. Returns the ids that were. */
export async function retryAside(client: Asker, ids: readonly string[] | null): Promise<readonly string[]> {
  const { rows } = await client.query<{ id: string }>(
    `UPDATE lanekeeper.buffer_aside SET state = 'retrying', first_at = pg_catalog.clock_timestamp(), next_at = pg_catalog.clock_timestamp()
       WHERE state IN ('poison', 'retrying') AND ($1::bigint[] IS NULL OR id = ANY ($1::bigint[])) RETURNING id`,
    [ids],
  );
  return rows.map(({ id }) => id);
}

/** It is kept for 30 days with who decided and why. Returns the ids that were. */
export async function discardAside(
  client: Asker,
  ids: readonly string[],
  decision: { readonly by: string; readonly reason: string },
): Promise<readonly string[]> {
  const { rows } = await client.query<{ id: string }>(
    `UPDATE lanekeeper.buffer_aside SET state = 'discarded', decided_by = $2, reason = $3, next_at = pg_catalog.clock_timestamp()
       WHERE state <> 'discarded' AND id = ANY ($1::bigint[]) RETURNING id`,
    [ids, decision.by, decision.reason],
  );
  return rows.map(({ id }) => id);
}
