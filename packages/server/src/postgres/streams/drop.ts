/** The end of a stream: the subscription of its reader, the slot of its publisher. */
import type { Client } from 'pg';
import { quoteName, quoteText } from '../fence/names.ts';
import { databaseProblem } from '../transaction.ts';

/** With its slot over there; when that cannot be reached, without it, and says so. */
export async function dropSubscription(client: Client, name: string): Promise<string | null> {
  const quoted = quoteName(name);
  try {
    await client.query(`DROP SUBSCRIPTION IF EXISTS ${quoted}`);
    return null;
  } catch (thrown) {
    if (!databaseProblem(thrown)) throw thrown;
  }
  const { rows } = await client.query<{ slot: string | null }>(
    `SELECT s.subslotname AS slot FROM pg_catalog.pg_subscription s JOIN pg_catalog.pg_database d ON d.oid = s.subdbid
      WHERE d.datname = current_database() AND s.subname = $1`,
    [name],
  );
  await client.query(`ALTER SUBSCRIPTION ${quoted} DISABLE`);
  await client.query(`ALTER SUBSCRIPTION ${quoted} SET (slot_name = NONE)`);
  await client.query(`DROP SUBSCRIPTION ${quoted}`);
  const slot = rows[0]?.slot;
  return slot ? `over there, when it can be reached again: SELECT pg_drop_replication_slot(${quoteText(slot)})` : null;
}

const dropWithinMs = 10_000;
const betweenMs = 5;

/**
 * Its reader is ended first. That one may be back within 20 ms, so it is looked for often: `pg_terminate_backend`, told to wait, looks
 * every 100 ms only, and the slot was read again each time.
 */
export async function dropSlot(client: Client, name: string): Promise<null> {
  const deadlineMs = performance.now() + dropWithinMs;
  for (;;) {
    const isLast = performance.now() > deadlineMs;
    try {
      const { rows } = await client.query<{ reader: number | null }>(
        `SELECT active_pid AS reader, CASE WHEN active_pid IS NULL OR $2 THEN pg_catalog.pg_drop_replication_slot(slot_name)::text
            ELSE pg_catalog.pg_terminate_backend(active_pid)::text END
          FROM pg_catalog.pg_replication_slots WHERE slot_name = $1`,
        [name, isLast],
      );
      if ((rows[0]?.reader ?? null) === null) return null;
    } catch (thrown) {
      // object_in_use: a reader came in between.
      if (databaseProblem(thrown)?.code !== '55006' || isLast) throw thrown;
    }
    await new Promise((resolve) => setTimeout(resolve, betweenMs));
  }
}
