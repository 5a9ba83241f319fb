/** How tables have been used, as far as PostgreSQL has counted: what a class is guessed from. */
import type { TableName } from 'lanekeeper/config';
import type { Queryable } from '../queryable.ts';

/** Rows since the counters were last set to zero (`pg_stat_reset`, or a crash). */
export type TableUse = {
  readonly inserted: number;
  readonly updated: number;
  readonly deleted: number;
  /** Of the updates, how many changed no indexed column. */
  readonly updatedHot: number;
  /** Rows that are there now, estimated. */
  readonly rows: number;
  readonly bytes: number;
};

export type Statistics = {
  /** When the counters were last set to zero; null when never. */
  readonly since: Date | null;
  readonly tables: ReadonlyMap<TableName, TableUse>;
};

/** A partitioned table is the sum of its partitions. */
const statisticsQuery = `
SELECT n.nspname || '.' || c.relname AS table, sum(s.n_tup_ins)::float8 AS inserted, sum(s.n_tup_upd)::float8 AS updated,
  sum(s.n_tup_del)::float8 AS deleted, sum(s.n_tup_hot_upd)::float8 AS "updatedHot",
  sum(greatest(s.n_live_tup, l.reltuples, 0))::float8 AS rows, sum(pg_catalog.pg_total_relation_size(l.oid))::float8 AS bytes
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
CROSS JOIN LATERAL (
  SELECT c.oid AS relid WHERE c.relkind = 'r'
  UNION ALL SELECT t.relid FROM pg_catalog.pg_partition_tree(c.oid) t WHERE c.relkind = 'p' AND t.isleaf) leaf
JOIN pg_catalog.pg_class l ON l.oid = leaf.relid JOIN pg_catalog.pg_stat_all_tables s ON s.relid = l.oid
WHERE c.relkind IN ('r', 'p') AND n.nspname NOT IN ('information_schema', 'lanekeeper') AND n.nspname !~ '^pg_'
GROUP BY 1`;

export async function readStatistics(client: Queryable): Promise<Statistics> {
  const { rows } = await client.query<TableUse & { table: TableName }>(statisticsQuery);
  const { rows: reset } = await client.query<{ since: Date | null }>(
    'SELECT stats_reset AS since FROM pg_catalog.pg_stat_database WHERE datname = current_database()',
  );
  return { since: reset[0]?.since ?? null, tables: new Map(rows.map(({ table, ...use }) => [table, use])) };
}
