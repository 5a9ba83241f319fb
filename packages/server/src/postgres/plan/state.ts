/** Everything `plan` decides from, read in one go. */
import type { Configuration, TableName } from 'lanekeeper/config';
import type { DataCenterName } from 'lanekeeper/model';
import type { Catalog, SequenceInfo } from '../catalog.ts';
import { quoteName, quoteTable } from '../fence/names.ts';
import { readCatalog } from '../inspect/read-catalog.ts';
import { type AppliedMigration, readAppliedMigrations } from '../migrate/index.ts';
import type { Piece } from '../piece.ts';
import type { Queryable } from '../queryable.ts';
import { splitName } from '../sql-text.ts';
import { type CarriedTables, readCarried } from '../streams/carried.ts';
import { type Members, readMembers } from '../streams/members.ts';
import { type StreamName, slotName, streamNames } from '../streams/names.ts';
import { readPublishedTables } from '../streams/rows.ts';
import { readFingerprints } from './fingerprint.ts';
import { type HomesState, readHomes } from './homes.ts';
import { type SequenceUse, sequencesToStride } from './sequences.ts';

export type InstalledPiece = {
  readonly id: string;
  readonly kind: Piece['kind'];
  readonly relation: TableName | null;
  readonly hash: string;
  readonly removal: string;
  readonly fingerprint: string | null;
};

export type Installation = { readonly cluster: string; readonly dc: DataCenterName; readonly stride: number };

export type FillState = { readonly id: string; readonly done: boolean; readonly rows: number };

export type PresentState = {
  readonly catalog: Catalog;
  readonly migrations: readonly AppliedMigration[];
  /** Whose database this is; null before the first apply. */
  readonly installation: Installation | null;
  readonly pieces: ReadonlyMap<string, InstalledPiece>;
  /** What PostgreSQL holds now, by piece id; null: nothing of that name. */
  readonly fingerprints: ReadonlyMap<string, string | null>;
  readonly sequenceUse: ReadonlyMap<TableName, SequenceUse>;
  readonly fills: ReadonlyMap<string, FillState>;
  /** Accounts of Lanekeeper's own (claim buckets, the single home, accounts of rows without one) that have a deed. */
  readonly ownDeeds: ReadonlySet<string>;
  /** Null before the first apply. */
  readonly homes: HomesState | null;
  /** What the publications hold now; null: there is none. */
  readonly published: Readonly<Record<StreamName, readonly TableName[] | null>>;
  /** Of which tables only some columns are sent. */
  readonly carried: CarriedTables;
  /** The latest layout of each merged table's stamps. */
  readonly layouts: ReadonlyMap<TableName, string>;
  /** Which peers have said that they read a table from here. */
  readonly readBy: ReadonlyMap<TableName, ReadonlySet<DataCenterName>>;
  /** Who takes part. */
  readonly members: Members;
  /** Peers for which this data center keeps both slots, so that nothing written here is lost to them. */
  readonly slotsFor: ReadonlySet<DataCenterName>;
};

export async function readPresentState(
  client: Queryable,
  configuration: Configuration,
  ownAccounts: readonly string[],
): Promise<PresentState> {
  const catalog = await readCatalog(client);
  const migrations = await readAppliedMigrations(client);
  const bookkeeping = migrations.some((done) => done.number >= 2);
  const pieces = bookkeeping ? await readPieces(client) : [];
  const sequenceUse = new Map<TableName, SequenceUse>();
  for (const sequence of sequencesToStride(configuration, catalog)) {
    sequenceUse.set(sequence.name, await readUse(client, configuration, sequence));
  }
  return {
    catalog,
    migrations,
    installation: bookkeeping ? await readInstallation(client) : null,
    pieces: new Map(pieces.map((piece) => [piece.id, piece])),
    fingerprints: await readFingerprints(
      client,
      pieces.map((piece) => piece.id),
    ),
    sequenceUse,
    fills: bookkeeping ? await readFills(client) : new Map(),
    ownDeeds: await readOwnDeeds(client, migrations, ownAccounts),
    homes: migrations.some((done) => done.number >= 13) ? await readHomes(client, configuration) : null,
    published: {
      homed: await readPublishedTables(client, 'homed'),
      rest: await readPublishedTables(client, 'rest'),
    },
    carried: await readCarried(client),
    layouts: migrations.some((done) => done.number >= 8) ? await readLayouts(client) : new Map(),
    readBy: migrations.some((done) => done.number >= 4) ? await readReaders(client, configuration) : new Map(),
    members: await readMembers(client),
    slotsFor: await readSlots(client, configuration),
  };
}

async function readInstallation(client: Queryable): Promise<Installation | null> {
  const { rows } = await client.query<Installation>('SELECT cluster, dc, stride FROM lanekeeper.installation');
  return rows[0] ?? null;
}

export async function readPieces(client: Queryable): Promise<readonly InstalledPiece[]> {
  const { rows } = await client.query<InstalledPiece>(
    'SELECT id, kind, relation, hash, removal, fingerprint FROM lanekeeper.piece ORDER BY id',
  );
  return rows;
}

/** With an index on the column both numbers are found at once; without one this reads the table. */
export async function readUse(
  client: Queryable,
  configuration: Configuration,
  sequence: SequenceInfo,
): Promise<SequenceUse> {
  const number = configuration.dataCenters[configuration.here]?.number ?? 0;
  const { rows: states } = await client.query<{ last: string; called: boolean }>(
    `SELECT last_value::text AS last, is_called AS called FROM ${quoteTable(sequence)}`,
  );
  const state = { lastValue: BigInt(states[0]?.last ?? 0), called: states[0]?.called ?? false };
  if (sequence.table === null || sequence.column === null) return { ...state, largest: null, largestOwn: null };
  const column = quoteName(sequence.column);
  const table = quoteTable(splitName(sequence.table));
  const { rows } = await client.query<{ largest: string | null; own: string | null }>(
    `SELECT (SELECT max(${column}) FROM ${table})::text AS largest,
      (SELECT ${column} FROM ${table} WHERE ${column} IS NOT NULL AND mod(${column}, $1) = $2
        ORDER BY ${column} DESC LIMIT 1)::text AS own`,
    [configuration.stride, number % configuration.stride],
  );
  return { ...state, largest: integer(rows[0]?.largest), largestOwn: integer(rows[0]?.own) };
}

/** The column may be numeric: what is not a whole number was not drawn from the sequence. */
function integer(text: string | null | undefined): bigint | null {
  return text && /^-?\d+$/.test(text) ? BigInt(text) : null;
}

async function readFills(client: Queryable): Promise<ReadonlyMap<string, FillState>> {
  const { rows } = await client.query<FillState>(
    'SELECT id, done_at IS NOT NULL AS done, rows::float8 AS rows FROM lanekeeper.fill',
  );
  return new Map(rows.map((row) => [row.id, row]));
}

async function readOwnDeeds(
  client: Queryable,
  migrations: readonly AppliedMigration[],
  accounts: readonly string[],
): Promise<ReadonlySet<string>> {
  if (migrations.length === 0) return new Set();
  const { rows } = await client.query<{ account: string }>(
    'SELECT account FROM lanekeeper.deed WHERE account = ANY ($1)',
    [accounts],
  );
  return new Set(rows.map((row) => row.account));
}

async function readReaders(
  client: Queryable,
  configuration: Configuration,
): Promise<ReadonlyMap<TableName, ReadonlySet<DataCenterName>>> {
  const { rows } = await client.query<{ relation: TableName; subscribers: DataCenterName[] }>(
    'SELECT relation, array_agg(subscriber) AS subscribers FROM lanekeeper.subscribed WHERE publisher = $1 GROUP BY relation',
    [configuration.here],
  );
  return new Map(rows.map((row) => [row.relation, new Set(row.subscribers)]));
}

async function readLayouts(client: Queryable): Promise<ReadonlyMap<TableName, string>> {
  const { rows } = await client.query<{ relation: TableName; shape: string }>(
    'SELECT DISTINCT ON (relation) relation, shape FROM lanekeeper.layout ORDER BY relation, era DESC',
  );
  return new Map(rows.map((row) => [row.relation, row.shape]));
}

async function readSlots(client: Queryable, configuration: Configuration): Promise<ReadonlySet<DataCenterName>> {
  const { rows } = await client.query<{ slot_name: string }>(
    `SELECT slot_name FROM pg_catalog.pg_replication_slots
      WHERE database = current_database() AND plugin = 'pgoutput' AND wal_status IS DISTINCT FROM 'lost'`,
  );
  const present = new Set(rows.map((row) => row.slot_name));
  const peers = Object.keys(configuration.dataCenters).filter((dc) => dc !== configuration.here);
  return new Set(peers.filter((dc) => streamNames.every((stream) => present.has(slotName(dc, stream)))));
}
