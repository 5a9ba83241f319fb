/** Writes to tables that are written in every data center, as far as they are still on their way to another one. */
import type { TableName } from 'lanekeeper/config';
import type { DataCenterName } from 'lanekeeper/model';
import type { Queryable } from '../queryable.ts';

/**
 * How many writes of a table made on this side `target` lacks that are not set aside. A log outside of the database is known as
 * its agent noted it; `sinceMs` (this database's clock, since 1970): a note older than that counts as one that waits.
 */
export async function countOnTheirWay(
  client: Queryable,
  target: DataCenterName,
  table: TableName,
  sinceMs: number,
): Promise<number> {
  const { rows } = await client.query<{ waiting: number }>(
    `SELECT ((SELECT count(*) FROM lanekeeper.buffer_waiting w JOIN lanekeeper.buffer_log l USING (number) WHERE w.target = $1 AND l.relation = $2)
       + coalesce((SELECT CASE WHEN seen_at < to_timestamp($3 / 1000.0) THEN greatest(waiting, 1) ELSE waiting END
                     FROM lanekeeper.buffer_progress WHERE log = 'nats' AND target = $1), 0)
       + (SELECT count(*) FROM lanekeeper.buffer_aside WHERE target = $1 AND relation = $2 AND state = 'retrying'))::int AS waiting`,
    [target, table, sinceMs],
  );
  return rows[0]?.waiting ?? 0;
}

export async function clockMs(client: Queryable): Promise<number> {
  const { rows } = await client.query<{ ms: number }>(
    'SELECT (extract(epoch FROM clock_timestamp()) * 1000)::float8 AS ms',
  );
  return rows[0]?.ms ?? 0;
}
