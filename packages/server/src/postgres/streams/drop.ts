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

/** Its reader is ended first: it would come back at once, so this is tried a few times. */
export async function dropSlot(client: Client, name: string): Promise<null> {
  for (let attempt = 0; ; attempt += 1) {
    try {
      await client.query(
        `SELECT pg_terminate_backend(active_pid, 1000) FROM pg_catalog.pg_replication_slots
          WHERE slot_name = $1 AND active_pid IS NOT NULL`,
        [name],
      );
      await client.query(
        'SELECT pg_drop_replication_slot(slot_name) FROM pg_catalog.pg_replication_slots WHERE slot_name = $1',
        [name],
      );
      return null;
    } catch (thrown) {
      // object_in_use
      if (databaseProblem(thrown)?.code !== '55006' || attempt >= 20) throw thrown;
    }
  }
}
