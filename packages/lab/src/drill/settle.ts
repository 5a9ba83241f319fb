/** Waiting until what was written has arrived everywhere. */
import { sleepMs } from '../processes/observe.ts';
import { ask, type DatabaseUrls } from './checker/index.ts';

/** Null when everything has arrived; otherwise what was missing when the time was up. */
export async function awaitArrival(
  urls: DatabaseUrls,
  withinMs: number,
  aborted: () => boolean,
): Promise<string | null> {
  const endMs = performance.now() + withinMs;
  let missing: string | null = null;
  for (const [name, url] of Object.entries(urls)) {
    let position: string | null = null;
    for (;;) {
      missing = await behind(name, url, position ?? undefined).then(
        (found) => {
          position = found.position;
          return found.missing;
        },
        (error: unknown) => `${name} does not answer: ${(error as Error).message}`,
      );
      if (missing === null) break;
      if (performance.now() > endMs || aborted()) return missing;
      await sleepMs(100);
    }
  }
  return null;
}

async function behind(
  name: string,
  url: string,
  wanted: string | undefined,
): Promise<{ readonly position: string; readonly missing: string | null }> {
  const [row] = await ask<{ position: string; streams: number; behind: string[] | null }>(
    url,
    `WITH here AS (SELECT coalesce($1::pg_lsn, pg_catalog.pg_current_wal_lsn()) AS lsn)
     SELECT here.lsn::text AS position, count(s.slot_name)::integer AS streams,
            array_agg(s.slot_name::text) FILTER (WHERE NOT s.active OR s.confirmed_flush_lsn < here.lsn) AS behind
       FROM here LEFT JOIN pg_catalog.pg_replication_slots s ON s.plugin = 'pgoutput' AND NOT s.temporary
        AND s.slot_name ~ '_(homed|rest)$'
      GROUP BY here.lsn`,
    [wanted ?? null],
    5_000,
  );
  if (row === undefined) throw new Error('no row');
  const late =
    row.streams === 0 ? 'nobody reads the streams' : row.behind === null ? null : `${row.behind.join(', ')} behind`;
  return { position: row.position, missing: late === null ? null : `${name}: ${late}` };
}
