/**
 * The slots that streams are read by. From PostgreSQL 17 on they are failover slots: a standby of the publisher that has
 * `sync_replication_slots` keeps copies of them, so that whoever is promoted can be read from where the primary was. Without
 * such standbys that costs nothing.
 */
import type { Queryable } from '../queryable.ts';

/** The first version whose slots and subscriptions know `failover`. */
const firstWithFailover = 170_000;

export async function knowsFailover(client: Queryable): Promise<boolean> {
  const { rows } = await client.query<{ version: number }>(
    `SELECT current_setting('server_version_num')::integer AS version`,
  );
  return (rows[0]?.version ?? 0) >= firstWithFailover;
}

/** `peer`: there, as the replication role. Waits for every transaction that runs there. */
export async function createSlot(peer: Queryable, slot: string): Promise<void> {
  const options = (await knowsFailover(peer)) ? ', failover => true' : '';
  await peer.query(`SELECT pg_catalog.pg_create_logical_replication_slot($1, 'pgoutput'${options})`, [slot]);
}
