/** The databases that are compared, and those that may have something on its way to them: sessions whose settings print every value alike. */
import type { DataCenterName } from 'lanekeeper/model';
import type { Client } from 'pg';
import type { Connect, Unavailable } from '../connect.ts';
import { pinnedSettings } from '../fence/index.ts';
import { type StreamName, slotName, subscriptionName } from '../streams/names.ts';
import {
  boundarySql,
  type Comparable,
  chunkHashSql,
  type Key,
  namedHashesSql,
  namedValuesSql,
  type Range,
  rowHashesSql,
} from './comparable.ts';

export type ChunkHash = { readonly rows: number; readonly hash: string };

export type Side = {
  readonly dc: DataCenterName;
  readonly client: Client;
  /** A second session, for what must not wait for the first one's transaction. */
  readonly marker: Client;
};

/** Data centers that are not compared. */
export type Others = {
  readonly reached: readonly Side[];
  /** Those that cannot be asked, and why. */
  readonly silent: readonly { readonly dc: DataCenterName; readonly message: string }[];
};

export type Parties = {
  readonly here: Side;
  readonly there: Side;
  /** Asked when something differs, not before. */
  readonly others: () => Promise<Others>;
};

export async function pinSettings(client: Client): Promise<void> {
  await client.query(pinnedSettings.join('; '));
  await client.query("SET search_path = pg_catalog; SET lc_monetary = 'C'");
}

/** Notes in `opened` what the caller has to end. */
export async function openSide(dc: DataCenterName, connect: Connect, opened: Client[]): Promise<Side | Unavailable> {
  const clients: Client[] = [];
  for (let n = 0; n < 2; n += 1) {
    const result = await connect('lanekeeper verify');
    if (result.kind === 'unavailable') return result;
    opened.push(result.client);
    clients.push(result.client);
    await pinSettings(result.client);
  }
  const [client, marker] = clients as [Client, Client];
  return { dc, client, marker };
}

export async function openOthers(
  names: readonly DataCenterName[],
  connect: (dc: DataCenterName) => Connect,
  opened: Client[],
): Promise<Others> {
  const sides = await Promise.all(names.map(async (dc) => ({ dc, side: await openSide(dc, connect(dc), opened) })));
  return {
    reached: sides.flatMap(({ side }) => ('kind' in side ? [] : [side])),
    silent: sides.flatMap(({ dc, side }) =>
      'kind' in side ? [{ dc, message: `${dc} cannot be asked what is on its way: ${side.message}` }] : [],
    ),
  };
}

export async function readChunk(side: Side, c: Comparable, range: Range): Promise<ChunkHash> {
  const { rows } = await side.client.query<ChunkHash>(chunkHashSql(c, range), [range.after, range.upTo]);
  return rows[0] ?? { rows: 0, hash: '0' };
}

export async function readBoundary(side: Side, c: Comparable, range: Range, size: number): Promise<Key | null> {
  const { rows } = await side.client.query<{ key: string[] }>(boundarySql(c, range, size), [range.after, range.upTo]);
  return rows[0]?.key ?? null;
}

/** Row hashes by key, the key as JSON. */
export async function readRange(side: Side, c: Comparable, range: Range): Promise<Map<string, string>> {
  const { rows } = await side.client.query<{ key: string[]; hash: string }>(rowHashesSql(c, range), [
    range.after,
    range.upTo,
  ]);
  return new Map(rows.map((row) => [JSON.stringify(row.key), row.hash]));
}

export async function readNamed(side: Side, c: Comparable, keys: readonly string[]): Promise<Map<string, string>> {
  const { rows } = await side.client.query<{ key: string[]; hash: string }>(namedHashesSql(c), [`[${keys.join()}]`]);
  return new Map(rows.map((row) => [JSON.stringify(row.key), row.hash]));
}

/** The row's hash, locked until the caller's transaction ends; null when there is no such row. */
export async function lockNamed(side: Side, c: Comparable, key: string): Promise<string | null> {
  const { rows } = await side.client.query<{ hash: string }>(namedHashesSql(c, true), [`[${key}]`]);
  return rows[0]?.hash ?? null;
}

export async function readValues(
  side: Side,
  c: Comparable,
  keys: readonly string[],
): Promise<Map<string, readonly (string | null)[]>> {
  const { rows } = await side.client.query<{ key: string[]; values: (string | null)[] }>(namedValuesSql(c), [
    `[${keys.join()}]`,
  ]);
  return new Map(rows.map((row) => [JSON.stringify(row.key), row.values]));
}

/**
 * A position behind everything committed so far. The message is a record of its own, flushed with its commit, so that a
 * stream that has nothing else to carry comes past it too.
 */
export async function mark(side: Side): Promise<string> {
  const { rows } = await side.marker.query<{ lsn: string }>(
    "SELECT pg_logical_emit_message(true, 'lanekeeper', 'verify')::text AS lsn",
  );
  return rows[0]?.lsn ?? '0/0';
}

/** Whether `reader` has applied everything of `side` up to there. Null: it does not read this stream at all. */
export async function hasPassed(
  side: Side,
  reader: DataCenterName,
  stream: StreamName,
  lsn: string,
): Promise<boolean | null> {
  const { rows } = await side.marker.query<{ passed: boolean }>(
    'SELECT confirmed_flush_lsn >= $2::pg_lsn AS passed FROM pg_catalog.pg_replication_slots WHERE slot_name = $1',
    [slotName(reader, stream), lsn],
  );
  return rows[0]?.passed ?? null;
}

/** Whether `side` has a stream of `publisher` open. */
export async function reads(side: Side, publisher: DataCenterName, stream: StreamName): Promise<boolean> {
  const { rows } = await side.marker.query<{ reads: boolean }>(
    `SELECT EXISTS (SELECT FROM pg_catalog.pg_subscription s JOIN pg_catalog.pg_database d ON d.oid = s.subdbid
       WHERE d.datname = current_database() AND s.subname = $1 AND s.subenabled) AS reads`,
    [subscriptionName(publisher, stream)],
  );
  return rows[0]?.reads === true;
}
