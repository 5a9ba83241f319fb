/** The ledger at the home: written before anything is undone, read by people, purged when it has served. */
import type { DataCenterName } from 'lanekeeper/model';
import type { Client } from 'pg';
import type { Lsn } from '../decode/index.ts';
import type { Queryable } from '../queryable.ts';
import { committedHere } from '../transaction.ts';
import type { StrandedChange } from './strand.ts';

/** Whose log it was, in which of its lives, and in which term it was taken over: what is newer than that was written since. */
export type StrandedOrigin = {
  readonly dataCenter: DataCenterName;
  readonly generation: number;
  readonly term: number;
};

/**
 * Writes a batch down, on disk when it returns. Repeating it changes nothing. `client`: at the successor, as the agent,
 * not in a transaction. Batches come in commit order. Returns how many changes were new.
 */
export async function writeStranded(
  client: Client,
  origin: StrandedOrigin,
  batch: readonly StrandedChange[],
): Promise<number> {
  return committedHere(client, () => record(client, origin, batch));
}

/** The same for all parts of one transaction, at once: what one data center tells of another one's is all of it or nothing. */
export async function writeStrandedWhole(
  client: Client,
  origin: StrandedOrigin,
  parts: AsyncIterable<readonly StrandedChange[]>,
): Promise<number> {
  return committedHere(client, async () => {
    let recorded = 0;
    for await (const part of parts) recorded += await record(client, origin, part);
    return recorded;
  });
}

async function record(client: Queryable, origin: StrandedOrigin, batch: readonly StrandedChange[]): Promise<number> {
  const { rows } = await client.query<{ recorded: number }>(
    'SELECT lanekeeper.record_stranded($1, $2, $3, $4::jsonb) AS recorded',
    [origin.dataCenter, origin.generation, origin.term, JSON.stringify(batch)],
  );
  return rows[0]?.recorded ?? 0;
}

/** A source transaction: `ny/1/0/16B3748` is the one of ny's first generation whose commit ends there. */
export type TransactionName = {
  readonly dataCenter: DataCenterName;
  readonly generation: number;
  readonly endLsn: Lsn;
};

export type LedgerTransaction = TransactionName & {
  readonly xid: number;
  readonly committedAt: Date;
  readonly term: number;
  /** Sorted; those of the changes that have one. */
  readonly accounts: readonly string[];
  readonly relations: readonly string[];
  readonly changes: number;
  /** Changes that nobody decided about. */
  readonly open: number;
  readonly state: 'open' | 'merged' | 'discarded';
  readonly decidedBy: string | null;
  readonly decidedAt: Date | null;
  readonly reason: string | null;
};

export type LedgerFilter = {
  readonly account?: string;
  readonly transaction?: TransactionName;
  readonly state?: LedgerTransaction['state'];
  /** Default 1000. */
  readonly limit?: number;
};

/** Source transactions, oldest first. Such as are bookkeeping only are left out, unless asked for by name. */
export async function listStranded(
  client: Queryable,
  filter: LedgerFilter = {},
): Promise<readonly LedgerTransaction[]> {
  const { transaction } = filter;
  const { rows } = await client.query<WithTimes<LedgerTransaction>>(
    `SELECT dc AS "dataCenter", generation::float8 AS generation, end_lsn::text AS "endLsn", min(xid)::float8 AS xid,
        extract(epoch FROM min(committed_at))::float8 * 1000 AS "committedAt", min(term)::float8 AS term,
        coalesce(array_agg(DISTINCT account ORDER BY account) FILTER (WHERE account IS NOT NULL), '{}') AS accounts,
        array_agg(DISTINCT relation ORDER BY relation) AS relations,
        count(*)::int AS changes, (count(*) FILTER (WHERE state = 'open'))::int AS open,
        CASE WHEN bool_or(state = 'open') THEN 'open' WHEN bool_or(state = 'merged') THEN 'merged' ELSE 'discarded' END AS state,
        max(decided_by) FILTER (WHERE decided_by <> 'lanekeeper') AS "decidedBy", extract(epoch FROM max(decided_at))::float8 * 1000 AS "decidedAt",
        max(reason) FILTER (WHERE decided_by <> 'lanekeeper') AS reason
      FROM lanekeeper.stranded s
      WHERE ($1::text IS NULL OR EXISTS (SELECT FROM lanekeeper.stranded m
          WHERE m.dc = s.dc AND m.generation = s.generation AND m.end_lsn = s.end_lsn AND m.account = $1))
        AND ($2::text IS NULL OR dc = $2) AND ($3::bigint IS NULL OR generation = $3) AND ($4::pg_lsn IS NULL OR end_lsn = $4)
      GROUP BY dc, generation, end_lsn
      HAVING ($5::text IS NULL OR $5 = CASE WHEN bool_or(state = 'open') THEN 'open' WHEN bool_or(state = 'merged') THEN 'merged' ELSE 'discarded' END)
        AND ($4::pg_lsn IS NOT NULL OR NOT bool_and(coalesce(decided_by = 'lanekeeper' AND state = 'discarded', false)))
      ORDER BY min(committed_at), dc, generation, end_lsn LIMIT $6`,
    [
      filter.account ?? null,
      transaction?.dataCenter ?? null,
      transaction?.generation ?? null,
      transaction?.endLsn ?? null,
      filter.state ?? null,
      filter.limit ?? 1_000,
    ],
  );
  return rows.map((row) => ({ ...row, committedAt: new Date(row.committedAt), decidedAt: time(row.decidedAt) }));
}

export type LedgerEntry = {
  readonly sequence: number;
  readonly account: string | null;
  readonly unresolved: string | null;
  readonly relation: string;
  readonly kind: 'insert' | 'update' | 'delete';
  readonly keyColumns: readonly string[];
  readonly key: readonly string[];
  readonly oldKey: readonly string[] | null;
  readonly baseFrom: 'none' | 'stream' | 'home' | 'chain' | null;
  readonly baseColumns: readonly string[] | null;
  readonly base: readonly (string | null)[] | null;
  readonly imageColumns: readonly string[] | null;
  readonly image: readonly (string | null)[] | null;
  readonly unchanged: readonly string[];
  readonly state: 'open' | 'merged' | 'discarded';
  readonly decidedBy: string | null;
  readonly decidedAt: Date | null;
  readonly reason: string | null;
  readonly purgedAt: Date | null;
  readonly recordedIn: DataCenterName;
  /** The row as it is here now; null: there is none. */
  readonly currentColumns: readonly string[] | null;
  readonly current: readonly (string | null)[] | null;
};

/** The changes of one source transaction, in their order, each with the row as it is now. `lock` keeps those rows as they are. */
export async function readStranded(
  client: Queryable,
  { dataCenter, generation, endLsn }: TransactionName,
  lock = false,
): Promise<readonly LedgerEntry[]> {
  const { rows } = await client.query<WithTimes<LedgerEntry>>(
    `SELECT s.sequence, s.account, s.unresolved, s.relation, s.kind, s.key_columns AS "keyColumns", s.key, s.old_key AS "oldKey",
        s.base_from AS "baseFrom", s.base_columns AS "baseColumns", s.base, s.image_columns AS "imageColumns", s.image, s.unchanged,
        s.state, s.decided_by AS "decidedBy", extract(epoch FROM s.decided_at)::float8 * 1000 AS "decidedAt",
        s.reason, extract(epoch FROM s.purged_at)::float8 * 1000 AS "purgedAt",
        s.recorded_in AS "recordedIn", r.columns AS "currentColumns", r.vals AS current
      FROM lanekeeper.stranded s
      LEFT JOIN LATERAL lanekeeper.read_row(s.relation, s.key_columns, coalesce(s.old_key, s.key), $4) r
        ON s.purged_at IS NULL AND to_regclass(lanekeeper.quoted(s.relation)) IS NOT NULL
      WHERE s.dc = $1 AND s.generation = $2 AND s.end_lsn = $3::pg_lsn ORDER BY s.sequence`,
    [dataCenter, generation, endLsn, lock],
  );
  return rows.map((row) => ({ ...row, decidedAt: time(row.decidedAt), purgedAt: time(row.purgedAt) }));
}

/** Times travel as milliseconds, which no setting of the database prints differently. */
type WithTimes<T> = { readonly [Name in keyof T]: Date extends T[Name] ? number | Extract<T[Name], null> : T[Name] };

function time(ms: number | null): Date | null {
  return ms === null ? null : new Date(ms);
}

/** For the agent's upkeep: removes a bounded number of rows so long after they were decided about; returns how many. */
export async function purgeStranded(client: Queryable, keepMs: number): Promise<number> {
  const { rows } = await client.query<{ purged: number }>(
    'SELECT lanekeeper.purge_stranded(make_interval(secs => $1::float8 / 1000)) AS purged',
    [keepMs],
  );
  return rows[0]?.purged ?? 0;
}

/** Source transactions that wait for a decision. */
export async function countOpenStranded(client: Queryable): Promise<number> {
  const { rows } = await client.query<{ count: number }>(
    `SELECT count(DISTINCT (dc, generation, end_lsn))::int AS count FROM lanekeeper.stranded WHERE state = 'open'`,
  );
  return rows[0]?.count ?? 0;
}
