/** What a promoted standby has to show before it may write in the place of the primary before. */
import type { DataCenterName } from 'lanekeeper/model';
import { quoteName } from '../fence/names.ts';
import type { Queryable } from '../queryable.ts';
import { slotName, streamNames, subscriptionName } from '../streams/names.ts';

/** Of both streams of a peer. */
export type SlotReader = 'reads' | 'away' | 'no-slot';

export async function readReaders(
  client: Queryable,
  peers: readonly DataCenterName[],
): Promise<Readonly<Record<DataCenterName, SlotReader>>> {
  const { rows } = await client.query<{ slot: string; active: boolean }>(
    `SELECT slot_name AS slot, active FROM pg_catalog.pg_replication_slots
      WHERE database = current_database() AND slot_name = ANY ($1) AND wal_status IS DISTINCT FROM 'lost'`,
    [peers.flatMap((peer) => streamNames.map((stream) => slotName(peer, stream)))],
  );
  return Object.fromEntries(
    peers.map((peer): [DataCenterName, SlotReader] => {
      const own = streamNames.flatMap((stream) => rows.find(({ slot }) => slot === slotName(peer, stream)) ?? []);
      if (own.length < streamNames.length) return [peer, 'no-slot'];
      return [peer, own.every(({ active }) => active) ? 'reads' : 'away'];
    }),
  );
}

/**
 * A primary whose standby was promoted reads from nobody any more: what another data center sends it, and it confirms, would
 * never be sent to the promoted one. True when something was disabled.
 */
export async function stopReading(client: Queryable, peers: readonly DataCenterName[]): Promise<boolean> {
  const { rows } = await client.query<{ name: string }>(
    `SELECT s.subname AS name FROM pg_catalog.pg_subscription s JOIN pg_catalog.pg_database d ON d.oid = s.subdbid
      WHERE d.datname = current_database() AND s.subenabled AND s.subname = ANY ($1)`,
    [peers.flatMap((peer) => streamNames.map((stream) => subscriptionName(peer, stream)))],
  );
  for (const { name } of rows) await client.query(`ALTER SUBSCRIPTION ${quoteName(name)} DISABLE`);
  return rows.length > 0;
}

/** Notes once that this database was promoted: `verify` has to answer for it. True when that was new. */
export async function notePromotion(client: Queryable, timeline: number): Promise<boolean> {
  const { rows } = await client.query<{ noted: boolean }>('SELECT lanekeeper.note_promotion($1) AS noted', [timeline]);
  return rows[0]?.noted === true;
}

/** The promoted one has been granted a lease: from here on it takes what others write. */
export async function acceptTimeline(client: Queryable, timeline: number): Promise<void> {
  await client.query(
    `SELECT setval('lanekeeper.accepted_timeline', $1)
      WHERE (SELECT a.last_value FROM lanekeeper.accepted_timeline a) <> $1`,
    [timeline],
  );
}

/** Notes that this is the primary before, in the place of one that was promoted to the timeline `since`: `verify` has to answer for it. */
export async function notePutBack(client: Queryable, since: number): Promise<void> {
  await client.query('SELECT lanekeeper.note_put_back($1)', [since]);
}
