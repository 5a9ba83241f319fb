/** How far the logs of other data centers have come here, and stay: what this one has of them, whoever fails. */
import type { DataCenterName } from 'lanekeeper/model';
import type { Lsn } from '../decode/index.ts';
import type { Queryable } from '../queryable.ts';
import { type StreamName, streamNames, subscriptionName } from '../streams/names.ts';
import { committedHere } from '../transaction.ts';

export type IncomingTail = {
  readonly publisher: DataCenterName;
  readonly stream: StreamName;
  /** The replication origin of our subscription: another one after it was made anew. */
  readonly origin: string;
  /** Where the last transaction of that log ends that left anything here. */
  readonly applied: Lsn;
  /** Up to where everything of that log is here: at least `applied`. Of one that was taken over, what was reported of it. */
  readonly tail: Lsn;
};

const wantedSql = `jsonb_to_recordset($1::jsonb) AS w(publisher text, stream text, name text)
  JOIN pg_catalog.pg_subscription s ON s.subname = w.name
    AND s.subdbid = (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = current_database())`;

function wanted(publishers: readonly DataCenterName[]): string {
  return JSON.stringify(
    publishers.flatMap((publisher) =>
      streamNames.map((stream) => ({ publisher, stream, name: subscriptionName(publisher, stream) })),
    ),
  );
}

/**
 * Of those that are subscribed to. `client`: as the agent, with EXECUTE on `pg_replication_origin_progress`. On disk.
 *
 * What was applied and taken back again (`frozen` is then less than the progress) counts as neither.
 */
export async function readTails(
  client: Queryable,
  publishers: readonly DataCenterName[],
): Promise<readonly IncomingTail[]> {
  const { rows } = await client.query<IncomingTail>(
    `SELECT w.publisher, w.stream, 'pg_' || s.oid AS origin, least(x.applied, f.tail)::text AS applied,
        coalesce(f.tail, greatest(x.applied, h.place))::text AS tail
      FROM ${wantedSql}
      CROSS JOIN LATERAL (SELECT coalesce(pg_catalog.pg_replication_origin_progress('pg_' || s.oid, true), '0/0') AS applied) x
      LEFT JOIN LATERAL (SELECT CASE w.stream WHEN 'homed' THEN z.homed ELSE z.rest END AS tail
        FROM lanekeeper.frozen z WHERE z.publisher = w.publisher) f ON true
      LEFT JOIN lanekeeper.heard h ON h.publisher = w.publisher AND h.stream = w.stream AND h.origin = 'pg_' || s.oid
      ORDER BY 1, 2`,
    [wanted(publishers)],
  );
  return rows;
}

/**
 * Writes down what the workers say: they also come past what holds nothing for us, which leaves no progress, and forget it
 * when they end. Without it two data centers that have the same would not know. `client`: as the agent, not in a transaction.
 */
export async function noteHeard(client: Queryable, publishers: readonly DataCenterName[]): Promise<void> {
  // Every commit of a worker is on disk when it is reported; this has to be as well, before anybody is told.
  await committedHere(client, () =>
    client.query(
      `INSERT INTO lanekeeper.heard AS h (publisher, stream, origin, place)
        SELECT w.publisher, w.stream, 'pg_' || s.oid, t.latest_end_lsn FROM ${wantedSql}
        JOIN pg_catalog.pg_stat_subscription t ON t.subid = s.oid AND t.relid IS NULL AND t.leader_pid IS NULL AND t.pid IS NOT NULL
        WHERE t.latest_end_lsn > coalesce(pg_catalog.pg_replication_origin_progress('pg_' || s.oid, false), '0/0')
        ON CONFLICT (publisher, stream) DO UPDATE SET origin = excluded.origin, place = excluded.place, at = excluded.at
          WHERE h.origin <> excluded.origin OR h.place < excluded.place`,
      [wanted(publishers)],
    ),
  );
}
