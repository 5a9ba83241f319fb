/** Reads PostgreSQL's catalogs into a `Catalog`. What is decided from it is decided elsewhere, purely. */
import type { TableName } from 'lanekeeper/config';
import type { Catalog, ForeignKeyInfo, SequenceInfo, TableInfo } from '../catalog.ts';
import type { Queryable } from '../queryable.ts';
import { ownTablesQuery, sequencesQuery, tablesQuery } from './queries.ts';

type Pair = readonly [schema: string, relation: string];

type TableRow = {
  readonly schema: string;
  readonly relation: string;
  readonly owner: string;
  readonly partitioned: boolean;
  readonly unlogged: boolean;
  readonly replicaIdentity: TableInfo['replicaIdentity'];
  readonly partitionOf: Pair | null;
  readonly estimatedRows: number;
  readonly columns: readonly {
    name: string;
    type: string;
    notNull: boolean;
    generated: boolean;
    identity: string;
    base: string | null;
    nondeterministic: boolean | null;
  }[];
  readonly foreignKeys: readonly {
    name: string;
    columns: readonly string[];
    references: Pair;
    referencedColumns: readonly string[];
    onDelete: string;
  }[];
  readonly uniqueIndexes: TableInfo['uniqueIndexes'];
  readonly indexes: TableInfo['indexes'];
  readonly triggers: TableInfo['triggers'];
};

type SequenceRow = {
  readonly schema: string;
  readonly relation: string;
  readonly type: SequenceInfo['type'];
  readonly increment: string;
  readonly lastValue: string | null;
  readonly startValue: string;
  readonly maxValue: string;
  readonly cycle: boolean;
  readonly owner: readonly [schema: string, relation: string, column: string] | null;
};

/** `pg_constraint.confdeltype` */
const deleteActions: Readonly<Record<string, ForeignKeyInfo['onDelete']>> = {
  a: 'no-action',
  r: 'restrict',
  c: 'cascade',
  n: 'set-null',
  d: 'set-default',
};

/** Tables and sequences of the user's schemas; system schemas, `lanekeeper` and extensions' own tables are left out. */
export async function readCatalog(client: Queryable): Promise<Catalog> {
  const version = await client.query<{ v: string }>(`SELECT current_setting('server_version_num') AS v`);
  const tables = await client.query<TableRow>(tablesQuery);
  const sequences = await client.query<SequenceRow>(sequencesQuery);
  return {
    serverVersion: Number(version.rows[0]?.v),
    tables: new Map(tables.rows.map((row) => tableOf(row)).map((table) => [table.name, table])),
    sequences: new Map(sequences.rows.map((row) => sequenceOf(row)).map((sequence) => [sequence.name, sequence])),
  };
}

/** Lanekeeper's own tables, in the same form. */
export async function readOwnTables(client: Queryable): Promise<ReadonlyMap<TableName, TableInfo>> {
  const { rows } = await client.query<TableRow>(ownTablesQuery);
  return new Map(rows.map((row) => tableOf(row)).map((table) => [table.name, table]));
}

function tableOf(row: TableRow): TableInfo {
  return {
    name: nameOf([row.schema, row.relation]),
    schema: row.schema,
    relation: row.relation,
    owner: row.owner,
    kind: row.partitioned ? 'partitioned' : 'table',
    partitionOf: row.partitionOf && nameOf(row.partitionOf),
    unlogged: row.unlogged,
    replicaIdentity: row.replicaIdentity,
    columns: row.columns.map(({ base, nondeterministic, ...column }) => ({
      ...column,
      identity: identityOf(column.identity),
      ...(base === null ? {} : { base }),
      ...(nondeterministic === true ? { nondeterministic } : {}),
    })),
    primaryKey: row.uniqueIndexes.find((index) => index.primary)?.columns ?? [],
    foreignKeys: row.foreignKeys.map((key) => ({
      ...key,
      references: nameOf(key.references),
      onDelete: deleteActions[key.onDelete] ?? 'no-action',
    })),
    uniqueIndexes: row.uniqueIndexes,
    indexes: row.indexes,
    triggers: row.triggers,
    estimatedRows: Math.round(row.estimatedRows),
  };
}

function sequenceOf(row: SequenceRow): SequenceInfo {
  return {
    name: nameOf([row.schema, row.relation]),
    schema: row.schema,
    relation: row.relation,
    type: row.type,
    increment: BigInt(row.increment),
    lastValue: row.lastValue === null ? null : BigInt(row.lastValue),
    startValue: BigInt(row.startValue),
    maxValue: BigInt(row.maxValue),
    cycle: row.cycle,
    table: row.owner && nameOf([row.owner[0], row.owner[1]]),
    column: row.owner?.[2] ?? null,
  };
}

/** `pg_attribute.attidentity` */
function identityOf(attidentity: string): 'always' | 'by-default' | null {
  if (attidentity === 'a') return 'always';
  return attidentity === 'd' ? 'by-default' : null;
}

function nameOf([schema, relation]: Pair): string {
  return `${schema}.${relation}`;
}
