/**
 * Until everything that a table's rows were sent with has arrived. A transaction that has written before a publication changed, and commits
 * afterwards, may be sent as before. So those are waited for first; then a position of the log is taken, and every slot that may hold
 * their rows has to have come past it. A relay slot holds what arrived here, and is given away when a third data center fails: it counts too.
 */
import type { TableName } from 'lanekeeper/config';
import type { DataCenterName } from 'lanekeeper/model';
import { quoteTable } from '../fence/names.ts';
import type { Queryable } from '../queryable.ts';
import { splitName } from '../sql-text.ts';
import type { Carried } from '../streams/carried.ts';
import { publicationName, relaySlotName, slotName, streamNames } from '../streams/names.ts';
import { committedHere } from '../transaction.ts';

export type ArriveOptions = {
  readonly table: TableName;
  readonly carried: Carried;
  /** The other data centers that take part. */
  readonly peers: readonly DataCenterName[];
  readonly withinMs: number;
  /** Told what is waited for whenever that changes; one clause. */
  readonly onWait: (what: string) => void;
};

const lookEveryMs = 250;

/** Null: it has arrived. Else what is still waited for. `client`: the owner's, not in a transaction. */
export async function untilArrived(client: Queryable, options: ArriveOptions): Promise<string | null> {
  const endMs = performance.now() + options.withinMs;
  const poll = async (look: () => Promise<string | null>): Promise<string | null> => {
    for (let said: string | null = null; ; ) {
      const waiting = await look();
      if (waiting === null || performance.now() > endMs) return waiting;
      if (waiting !== said) options.onWait(waiting);
      said = waiting;
      await new Promise((resolve) => setTimeout(resolve, lookEveryMs));
    }
  };
  const writers = (await readWriters(client, options.table)).map(({ id }) => id);
  const open = await poll(async () => {
    const left = (await readWriters(client, options.table)).filter(({ id }) => writers.includes(id));
    if (left.length === 0) return null;
    const [first] = left as [Writer];
    const who = first.pid === null ? 'a prepared one' : `process ${first.pid}${first.name ? `, ${first.name}` : ''}`;
    return `${left.length} transaction${left.length === 1 ? '' : 's'} that wrote ${options.table} before (${who})`;
  });
  if (open !== null) return open;
  const position = await markPosition(client);
  return poll(() => readBehind(client, options, position));
}

type Writer = { readonly id: string; readonly pid: number | null; readonly name: string | null };

/** Whoever has written a table holds this lock until his commit is in the log. */
async function readWriters(client: Queryable, table: TableName): Promise<readonly Writer[]> {
  const { rows } = await client.query<Writer>(
    `SELECT DISTINCT l.virtualtransaction AS id, l.pid, a.application_name AS name
      FROM pg_catalog.pg_locks l LEFT JOIN pg_catalog.pg_stat_activity a USING (pid)
      WHERE l.locktype = 'relation' AND l.mode = 'RowExclusiveLock' AND l.granted
        AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())
        AND l.relation IN (SELECT $1::regclass::oid UNION SELECT relid FROM pg_catalog.pg_partition_tree($1::regclass))`,
    [quoteTable(splitName(table))],
  );
  return rows;
}

/** Behind every commit until now. */
async function markPosition(client: Queryable): Promise<string> {
  const { rows } = await committedHere(client, () =>
    client.query<{ lsn: string }>(
      "SELECT pg_catalog.pg_logical_emit_message(true, 'lanekeeper', 'columns')::text AS lsn",
    ),
  );
  return (rows[0] as { lsn: string }).lsn;
}

/** In words; null: everybody has come past `position`. */
async function readBehind(
  client: Queryable,
  { carried, peers }: ArriveOptions,
  position: string,
): Promise<string | null> {
  const streams = streamNames.filter((stream) => carried.publications.includes(publicationName(stream)));
  const readers = peers.flatMap((peer) => streams.map((stream) => ({ peer, slot: slotName(peer, stream) })));
  const relays = peers.map((peer) => ({ peer, slot: relaySlotName(peer) }));
  const { rows } = await client.query<{ slot: string; bytes: number }>(
    `SELECT slot_name AS slot, pg_catalog.pg_wal_lsn_diff($2::pg_lsn, confirmed_flush_lsn)::float8 AS bytes
      FROM pg_catalog.pg_replication_slots WHERE slot_name = ANY ($1) AND database = current_database()`,
    [[...readers, ...relays].map(({ slot }) => slot), position],
  );
  const behind = (slot: string) => rows.find((row) => row.slot === slot)?.bytes;
  for (const { peer, slot } of readers) {
    const bytes = behind(slot);
    if (bytes === undefined) return `${peer}, which does not read this data center (there is no slot ${slot})`;
    if (bytes > 0) return `${peer}, which has ${Math.ceil(bytes / 1024)} KiB of the log before it`;
  }
  // One that is not there holds nothing.
  for (const { peer, slot } of relays)
    if ((behind(slot) ?? 0) > 0)
      return `what is kept for ${peer} in case another one fails (${slot}): the agents let go of it`;
  return null;
}
