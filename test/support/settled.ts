/** Waiting until what was written has arrived, and asking PostgreSQL whether anything went wrong on the way. */
import { runSql } from './clusters.ts';

/** Waits, bounded (a relay slot is read only after a failure), until every subscriber has confirmed what each data center has written so far. */
export async function settled(superuserUrls: Readonly<Record<string, string>>, withinMs = 20_000): Promise<void> {
  for (const [dataCenter, url] of Object.entries(superuserUrls)) {
    const [position] = await runSql<{ lsn: string }>(url, 'SELECT pg_current_wal_lsn()::text AS lsn');
    const deadline = Date.now() + withinMs;
    for (;;) {
      const [row] = await runSql<{ behind: number }>(
        url,
        `SELECT count(*)::int AS behind FROM pg_replication_slots
          WHERE plugin = 'pgoutput' AND slot_name ~ '_(homed|rest)$' AND (confirmed_flush_lsn < $1::pg_lsn OR NOT active)`,
        [position?.lsn],
      );
      if (row?.behind === 0) break;
      if (Date.now() > deadline) throw new Error(`not everything from ${dataCenter} arrived within ${withinMs} ms`);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }
}

/**
 * X1: errors and conflicts that PostgreSQL counted while applying; `{}` when there were none. That a row was last written
 * in the other data center is no conflict here but what a move is for (`…_origin_differs`, with track_commit_timestamp).
 */
export async function applyTrouble(superuserUrls: Readonly<Record<string, string>>): Promise<Record<string, unknown>> {
  const trouble: Record<string, unknown> = {};
  for (const [dataCenter, url] of Object.entries(superuserUrls)) {
    const rows = await runSql<{ subname: string; stats: Record<string, unknown> }>(
      url,
      'SELECT subname, to_jsonb(s) AS stats FROM pg_stat_subscription_stats s',
    );
    for (const { subname, stats } of rows) {
      for (const [name, value] of Object.entries(stats)) {
        if (/^(apply_error_count|sync.*error_count|confl_(?!\w+_origin_differs))/.test(name) && value !== 0)
          trouble[`${dataCenter} ${subname} ${name}`] = value;
      }
    }
    const incidents = await runSql(url, 'SELECT kind, detail FROM lanekeeper.incident');
    if (incidents.length > 0) trouble[`${dataCenter} incidents`] = incidents;
  }
  return trouble;
}
