/**
 * Slots of readers that are away, kept under another name. A data center that comes back is to be read by all others from now on, also
 * by one that is away itself. But that one's database may start at any time, with its streams as they were, and before its agent has
 * heard of anything: by the old name it would read what is meant for later, and pass over what it lacks.
 */
import type { DataCenterName } from 'lanekeeper/model';
import type { Client } from 'pg';
import type { Queryable } from '../queryable.ts';
import { dropSlot } from '../streams/drop.ts';
import { asideSlotName, slotName } from '../streams/names.ts';
import { createSlot } from '../streams/slots.ts';

/**
 * From here on everything waits for `subscriber`; what its slot held so far is let go, also while it is being read: a database that
 * only lost its lease may read on. As the role that replicates.
 */
export async function setSlotAside(client: Client, subscriber: DataCenterName): Promise<void> {
  const aside = asideSlotName(subscriber);
  await dropSlot(client, aside);
  await createSlot(client, aside);
  await dropSlot(client, slotName(subscriber, 'homed'));
}

/** It is back, and reads on from what waited. Repeatable; where nothing waits, nothing is done. */
export async function takeSlotUp(client: Client, subscriber: DataCenterName): Promise<void> {
  if (!(await keepsAside(client, subscriber))) return;
  const aside = asideSlotName(subscriber);
  const name = slotName(subscriber, 'homed');
  await dropSlot(client, name);
  await client.query('SELECT pg_catalog.pg_copy_logical_replication_slot($1, $2)', [aside, name]);
  await dropSlot(client, aside);
}

/** It came back at the same time, and reads from here by a slot of its own. */
export async function dropAside(client: Client, subscriber: DataCenterName): Promise<void> {
  await dropSlot(client, asideSlotName(subscriber));
}

/** Whether something waits here for `subscriber`. */
export async function keepsAside(client: Queryable, subscriber: DataCenterName): Promise<boolean> {
  const { rows } = await client.query(
    'SELECT FROM pg_catalog.pg_replication_slots WHERE slot_name = $1 AND database = current_database()',
    [asideSlotName(subscriber)],
  );
  return rows.length > 0;
}
