/** What a database holds, as read from PostgreSQL's catalogs: plain data, so that everything decided from it is pure. */
import type { TableName } from 'lanekeeper/config';

export type ColumnInfo = {
  readonly name: string;
  /** As `format_type` prints it, e.g. `character varying(20)`. */
  readonly type: string;
  /** Of a domain: the type below, without its modifier, e.g. `numeric`. `enum` for every enum. */
  readonly base?: string;
  /** Its collation calls different texts equal. */
  readonly nondeterministic?: true;
  readonly notNull: boolean;
  /** `GENERATED ALWAYS AS (…) STORED` (or VIRTUAL): not replicated, not written. */
  readonly generated: boolean;
  readonly identity: 'always' | 'by-default' | null;
};

export type ForeignKeyInfo = {
  readonly name: string;
  readonly columns: readonly string[];
  readonly references: TableName;
  readonly referencedColumns: readonly string[];
  readonly onDelete: 'no-action' | 'restrict' | 'cascade' | 'set-null' | 'set-default';
};

export type UniqueIndexInfo = {
  readonly name: string;
  readonly columns: readonly string[];
  readonly primary: boolean;
  /** Has an expression or a predicate, so that `columns` alone do not say what is unique. */
  readonly partialOrExpression: boolean;
};

export type TriggerInfo = {
  readonly name: string;
  /** `pg_trigger.tgenabled`: O origin, D disabled, R replica, A always. */
  readonly enabled: 'O' | 'D' | 'R' | 'A';
};

export type TableInfo = {
  readonly name: TableName;
  readonly schema: string;
  readonly relation: string;
  readonly owner: string;
  readonly kind: 'table' | 'partitioned';
  /** The direct parent when this is a partition. */
  readonly partitionOf: TableName | null;
  readonly unlogged: boolean;
  /** `pg_class.relreplident`. */
  readonly replicaIdentity: 'd' | 'n' | 'f' | 'i';
  readonly columns: readonly ColumnInfo[];
  /** Column names in key order; empty when there is none. */
  readonly primaryKey: readonly string[];
  readonly foreignKeys: readonly ForeignKeyInfo[];
  readonly uniqueIndexes: readonly UniqueIndexInfo[];
  /** The columns of every valid, non-partial index, in order; an expression is left out. */
  readonly indexes: readonly (readonly string[])[];
  readonly triggers: readonly TriggerInfo[];
  /** The planner's estimate, for progress. */
  readonly estimatedRows: number;
};

export type SequenceInfo = {
  readonly name: TableName;
  readonly schema: string;
  readonly relation: string;
  readonly type: 'smallint' | 'integer' | 'bigint';
  readonly increment: bigint;
  /** The number given out last; null when none was yet, and when this role may not read it. */
  readonly lastValue: bigint | null;
  /** What it gives out first. */
  readonly startValue: bigint;
  readonly maxValue: bigint;
  readonly cycle: boolean;
  /** The column that owns it, or else one whose default draws from it. */
  readonly table: TableName | null;
  readonly column: string | null;
};

export type Catalog = {
  /** `server_version_num`, e.g. 180004. */
  readonly serverVersion: number;
  readonly tables: ReadonlyMap<TableName, TableInfo>;
  readonly sequences: ReadonlyMap<TableName, SequenceInfo>;
};
