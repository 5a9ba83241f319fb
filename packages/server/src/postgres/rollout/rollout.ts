/** Which configuration and version a data center has, since when, and since when in good health: as its own database keeps it. */
import type { Queryable } from '../queryable.ts';

export type RolloutEntry = {
  readonly digest: string;
  readonly version: string;
  /** ISO 8601. */
  readonly since: string;
  readonly healthySince: string | null;
  /** By the clock of that database. */
  readonly healthyForMs: number | null;
  /** How long ago an agent led with it. */
  readonly seenAgoMs: number;
  /** It was in good health with this at some time. */
  readonly wasHealthy: boolean;
};

const columns = `r.digest, r.version, r.since, r.healthy_since, r.was_healthy,
  extract(epoch FROM clock_timestamp() - r.healthy_since)::float8 * 1000 AS healthy_for_ms,
  extract(epoch FROM clock_timestamp() - r.seen_at)::float8 * 1000 AS seen_ago_ms`;

export async function noteRollout(
  client: Queryable,
  digest: string,
  version: string,
  healthy: boolean,
): Promise<RolloutEntry> {
  const { rows } = await client.query<Row>(`SELECT ${columns} FROM lanekeeper.note_rollout($1, $2, $3) r`, [
    digest,
    version,
    healthy,
  ]);
  return toEntry(rows[0] as Row);
}

/** The present one first. Empty where no agent has ever led, or the schema is older. */
export async function readRollout(client: Queryable): Promise<readonly RolloutEntry[]> {
  const { rows: known } = await client.query<{ known: boolean }>(
    "SELECT to_regclass('lanekeeper.rollout') IS NOT NULL AS known",
  );
  if (known[0]?.known !== true) return [];
  const { rows } = await client.query<Row>(
    `SELECT ${columns} FROM lanekeeper.rollout r ORDER BY r.seen_at DESC LIMIT 100`,
  );
  return rows.map(toEntry);
}

type Row = {
  readonly digest: string;
  readonly version: string;
  readonly since: Date;
  readonly healthy_since: Date | null;
  readonly was_healthy: boolean;
  readonly healthy_for_ms: number | null;
  readonly seen_ago_ms: number;
};

function toEntry(row: Row): RolloutEntry {
  return {
    digest: row.digest,
    version: row.version,
    since: row.since.toISOString(),
    healthySince: row.healthy_since?.toISOString() ?? null,
    healthyForMs: row.healthy_for_ms,
    seenAgoMs: row.seen_ago_ms,
    wasHealthy: row.was_healthy,
  };
}
