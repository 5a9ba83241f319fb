/** Times in which tables that a feeder publishes may be written, as `lanekeeper publish` opens and closes them. */
import type { TableName } from 'lanekeeper/config';
import type { Queryable } from '../queryable.ts';

export type PublishingRequest = {
  /** None: every table that this data center publishes. */
  readonly tables: readonly string[];
  /** Who may write meanwhile, by the role that logs in. */
  readonly roles: readonly string[];
  /** 1 second to 1 day. */
  readonly forMs: number;
  readonly reason: string | null;
};

export type PublishingEntry = {
  readonly id: string;
  readonly tables: readonly TableName[];
  /** Null: one transaction, which is over. */
  readonly roles: readonly string[] | null;
  /** The role that opened it, and its `application_name`. */
  readonly openedBy: string;
  readonly application: string;
  readonly reason: string | null;
  readonly at: string;
  readonly until: string;
  readonly open: boolean;
};

/** Returns its number. Throws 22023 for tables that nobody publishes, LK007 for those that another data center does. */
export async function beginPublishing(client: Queryable, request: PublishingRequest): Promise<string> {
  const { rows } = await client.query<{ id: string }>('SELECT lanekeeper.begin_publishing($1, $2, $3, $4) AS id', [
    request.tables,
    request.roles,
    request.forMs,
    request.reason,
  ]);
  return (rows[0] as { id: string }).id;
}

/** False: it has ended. */
export async function renewPublishing(client: Queryable, id: string, forMs: number): Promise<boolean> {
  const { rows } = await client.query<{ goes: boolean }>('SELECT lanekeeper.renew_publishing($1, $2) AS goes', [
    id,
    forMs,
  ]);
  return rows[0]?.goes === true;
}

/** Ends one, or with null all. Waits for transactions that still write. Returns how many were open. */
export async function endPublishing(client: Queryable, id: string | null): Promise<number> {
  const { rows } = await client.query<{ ended: number }>('SELECT lanekeeper.end_publishing($1) AS ended', [id]);
  return rows[0]?.ended ?? 0;
}

/** The latest first: who published what, and when. */
export async function readPublishing(
  client: Queryable,
  { atMost, onlyOpen }: { readonly atMost: number; readonly onlyOpen: boolean },
): Promise<readonly PublishingEntry[]> {
  const { rows } = await client.query<PublishingEntry>(
    `SELECT p.id, p.relations AS tables, p.roles, p.opened_by AS "openedBy", p.application, p.reason,
        to_json(p.at)#>>'{}' AS at, to_json(coalesce(p.ended_at, p.until))#>>'{}' AS until,
        p.xid IS NULL AND p.ended_at IS NULL AND p.until > clock_timestamp() AS open
      FROM lanekeeper.publishing p
      WHERE NOT $2 OR p.xid IS NULL AND p.ended_at IS NULL AND p.until > clock_timestamp()
      ORDER BY p.id DESC LIMIT $1`,
    [atMost, onlyOpen],
  );
  return rows;
}

const keepDays = 90;

/** Forgets who published more than 90 days ago. */
export async function forgetPublishing(client: Queryable): Promise<void> {
  await client.query(`DELETE FROM lanekeeper.publishing WHERE until < clock_timestamp() - make_interval(days => $1)`, [
    keepDays,
  ]);
}
