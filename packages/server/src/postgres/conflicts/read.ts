/** The log of conflicts of shared rows, as it is in one data center. */
import type { TableName } from 'lanekeeper/config';
import type { DataCenterName, Policy } from 'lanekeeper/model';
import type { Queryable } from '../queryable.ts';

export type ConflictVersion = {
  readonly dataCenter: DataCenterName;
  /** Null: it did not say who it was. */
  readonly application: string | null;
  readonly at: Date;
  /** Columns as PostgreSQL prints them; null: it was deleted. */
  readonly row: Readonly<Record<string, string | null>> | null;
};

export type Conflict = {
  /** Every data center numbers its own. */
  readonly id: number;
  readonly at: Date;
  /** Where the two met. */
  readonly dataCenter: DataCenterName;
  readonly table: TableName;
  readonly key: Readonly<Record<string, string | null>>;
  readonly policy: Policy;
  readonly winner: ConflictVersion;
  readonly loser: ConflictVersion;
};

export type ConflictFilter = {
  readonly id?: number;
  readonly table?: TableName;
  /** Not older than this. */
  readonly withinMs?: number;
  /** Default 100. */
  readonly limit?: number;
};

type Row = {
  readonly id: string;
  readonly atMs: number;
  readonly dataCenter: DataCenterName;
  readonly table: TableName;
  readonly keyColumns: readonly string[];
  readonly key: readonly string[];
  readonly policy: Policy;
  readonly winner: WrittenRow;
  readonly loser: WrittenRow;
};
type WrittenRow = {
  readonly dc: DataCenterName;
  readonly application: string | null;
  readonly atMs: number;
  readonly columns: readonly string[] | null;
  readonly vals: readonly (string | null)[] | null;
};

const columns = `c.id, extract(epoch FROM c.at)::float8 * 1000 AS "atMs", c.seen_in AS "dataCenter", c.relation AS "table",
  c.key_columns AS "keyColumns", c.key, c.policy, ${['winner', 'loser']
    .map(
      (side) => `json_build_object('dc', c.${side}_dc, 'application', c.${side}_application,
  'atMs', extract(epoch FROM c.${side}_at)::float8 * 1000, 'columns', c.${side}_columns, 'vals', c.${side}) AS ${side}`,
    )
    .join(', ')}`;

/** The latest first. */
export async function listConflicts(client: Queryable, filter: ConflictFilter = {}): Promise<readonly Conflict[]> {
  const { rows } = await client.query<Row>(
    `SELECT ${columns} FROM lanekeeper.conflict c
      WHERE ($1::bigint IS NULL OR c.id = $1) AND ($2::text IS NULL OR c.relation = $2)
        AND ($3::float8 IS NULL OR c.at >= clock_timestamp() - make_interval(secs => $3 / 1000))
      ORDER BY c.at DESC, c.id DESC LIMIT $4`,
    [filter.id ?? null, filter.table ?? null, filter.withinMs ?? null, filter.limit ?? 100],
  );
  return rows.map(conflictOf);
}

/**
 * Conflicts of which no hook was told, the oldest first. One that is logged by a transaction that took longer than an hour may
 * be overlooked when later ones were told an hour before: it is in the log.
 */
export async function conflictsToTell(
  client: Queryable,
  withinMs: number,
  limit: number,
): Promise<readonly Conflict[]> {
  const { rows } = await client.query<Row>(
    `SELECT ${columns} FROM lanekeeper.conflict c
      WHERE c.at >= clock_timestamp() - make_interval(secs => $1::float8 / 1000)
        AND c.id > coalesce((SELECT max(h.key::bigint) FROM lanekeeper.hook h WHERE h.kind = 'conflict' AND h.at < clock_timestamp() - interval '1 hour'), 0)
        AND NOT EXISTS (SELECT FROM lanekeeper.hook h WHERE h.kind = 'conflict' AND h.key = c.id::text)
      ORDER BY c.id LIMIT $2`,
    [withinMs, limit],
  );
  return rows.map(conflictOf);
}

function conflictOf(row: Row): Conflict {
  return {
    id: Number(row.id),
    at: new Date(row.atMs),
    dataCenter: row.dataCenter,
    table: row.table,
    key: named(row.keyColumns, row.key),
    policy: row.policy,
    winner: versionOf(row.winner),
    loser: versionOf(row.loser),
  };
}

function versionOf({ dc, application, atMs, columns: names, vals }: WrittenRow): ConflictVersion {
  const row = names === null || vals === null ? null : named(names, vals);
  return { dataCenter: dc, application, at: new Date(atMs), row };
}

function named(names: readonly string[], values: readonly (string | null)[]): Record<string, string | null> {
  return Object.fromEntries(names.map((name, i) => [name, values[i] ?? null]));
}
