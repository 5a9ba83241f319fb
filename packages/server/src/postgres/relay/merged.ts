/**
 * Shared rows as they are in one data center, for another one that may lack some of them. Where the merge log arrives it
 * leaves nothing in the log; but a row and its stamp say all that the changes said, and whoever has as much drops them.
 */
import type { Lsn } from '../decode/index.ts';
import type { Queryable } from '../queryable.ts';

const atOnce = 500;

/**
 * Changes that make, of what `known` sees, what is here now: each as the text of a `lanekeeper.change`. What they mean comes
 * first: eras and floors. `agent`: a session that is not in a transaction.
 */
export async function* mergedChanges(
  agent: Queryable,
  known: string,
): AsyncGenerator<readonly string[], void, undefined> {
  // One snapshot for a row and its stamp. Values print alike in every session that reads them.
  await agent.query(`BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL statement_timeout = 0;
    SET LOCAL idle_in_transaction_session_timeout = 0; SET LOCAL DateStyle = 'ISO, YMD'; SET LOCAL TimeZone = 'UTC'`);
  try {
    await agent.query(`DECLARE lanekeeper_merged NO SCROLL CURSOR FOR ${mergedSql}`.replaceAll('$1', literal(known)));
    for (;;) {
      const { rows } = await agent.query<{ change: string }>(`FETCH ${atOnce} FROM lanekeeper_merged`);
      if (rows.length === 0) return;
      yield rows.map(({ change }) => change);
    }
  } finally {
    await agent.query('ROLLBACK').catch(() => {});
  }
}

/**
 * Versions are looked for by the age of what wrote them, which costs little, and by the snapshot. One that arrived and could
 * not be merged yet is pending, and written later than the snapshot when it is.
 */
const mergedSql = `
  SELECT ROW('lanekeeper.layout', ARRAY[l.relation], ARRAY[l.era], NULL, l.shape, NULL, NULL, NULL, l.at)::lanekeeper.change::text AS change
    FROM lanekeeper.layout l
  UNION ALL
  SELECT ROW('lanekeeper.floor', ARRAY[f.relation, f.dc], f.stamp, NULL, NULL, NULL, NULL, NULL, clock_timestamp())::lanekeeper.change::text
    FROM lanekeeper.floor f
  UNION ALL
  SELECT c::text FROM lanekeeper.version v CROSS JOIN LATERAL lanekeeper.changes_of(v.relation, NULL, v.key) c
    WHERE pg_catalog.age(v.xmin) <= least(2147483647, 1 + pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot())::text::numeric
        - pg_catalog.pg_snapshot_xmin($1::pg_snapshot)::text::numeric)::integer
      AND NOT lanekeeper.was_visible(v.xmin, $1::pg_snapshot)
  UNION ALL
  SELECT ROW(p.relation, p.key, p.stamp, p.root, p.shape, p.columns, p.vals, p.application, p.at)::lanekeeper.change::text
    FROM lanekeeper.merge_pending p WHERE left(p.relation, 11) <> 'lanekeeper.'`;

/** A snapshot is digits, colons and commas. */
function literal(snapshot: Lsn): string {
  if (!/^[0-9:,]+$/.test(snapshot)) throw new TypeError(`not a snapshot: ${snapshot}`);
  return `'${snapshot}'`;
}
