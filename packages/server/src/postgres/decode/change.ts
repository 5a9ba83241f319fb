/**
 * Changes as their readers want them: relations known, rows by column name, the key found. Pure; what only the catalog
 * knows (the order of the key's columns) is handed in.
 */
import type { ChangeMessage, OldTuple, RelationMessage, ReplicaIdentity, Tuple, Unchanged } from './messages.ts';
import { unchanged } from './messages.ts';

/** As text, as PostgreSQL writes the column's type (dates in ISO, times in UTC, every digit of a float): its input reads the same value again. */
export type Value = string | null | Unchanged;

/**
 * Values by column name, in the order of the table's columns. A column that is missing is not known: the old row of a
 * change has only the key's columns unless the replica identity is `full`.
 */
export type Row = ReadonlyMap<string, Value>;

export type Column = {
  readonly name: string;
  readonly typeOid: number;
  /** `pg_attribute.atttypmod`; -1 when there is none. */
  readonly typeModifier: number;
};

export type Relation = {
  /** Of the partitioned table where the publication says `publish_via_partition_root`. */
  readonly oid: number;
  readonly schema: string;
  readonly name: string;
  /** The published ones. */
  readonly columns: readonly Column[];
  readonly identity: ReplicaIdentity;
  /**
   * By which columns a row is found again, in the order of their index: those of the replica identity, or of the primary
   * key where the identity is `full`. Empty when there is no such index.
   */
  readonly key: readonly string[];
};

type Numbered = {
  /** The place of this change in its transaction, from 0. The same whenever the log is read again. */
  readonly sequence: number;
  readonly relation: Relation;
};

export type Change =
  | (Numbered & { readonly kind: 'insert'; readonly new: Row })
  | (Numbered & {
      readonly kind: 'update';
      /** Null: not in the log, as the key stayed what it was. */
      readonly old: Row | null;
      readonly new: Row;
    })
  | (Numbered & { readonly kind: 'delete'; readonly old: Row })
  /** One for each table of a TRUNCATE. */
  | (Numbered & { readonly kind: 'truncate'; readonly cascade: boolean; readonly restartIdentity: boolean });

export type Key = {
  readonly columns: readonly string[];
  /** In the order of `columns`; null for an insert. */
  readonly old: readonly string[] | null;
  /** Null for a delete. */
  readonly new: readonly string[] | null;
};

/**
 * The key of the row that a change touched, before and after it: different ones when the key itself was changed. Null
 * when the row has no key, and for a TRUNCATE, which touches them all.
 */
export function keyOf(change: Change): Key | null {
  const { key } = change.relation;
  if (key.length === 0 || change.kind === 'truncate') return null;
  if (change.kind === 'insert') return { columns: key, old: null, new: valuesOf(key, change.new) };
  if (change.kind === 'delete') return { columns: key, old: valuesOf(key, change.old), new: null };
  const after = valuesOf(key, change.new);
  return { columns: key, old: change.old === null ? after : valuesOf(key, change.old), new: after };
}

/** What the log contradicts, or what no server of ours should send: not something to go on after. */
export class DecodeError extends Error {
  readonly code = 'DECODE';

  constructor(message: string) {
    super(`the stream of changes cannot be read: ${message}`);
    this.name = 'DecodeError';
  }
}

/** A relation as it is from this message on. `catalogKey`: what its index says now, in order; null when it is not there. */
export function relationOf(message: RelationMessage, catalogKey: readonly string[] | null): Relation {
  const flagged = message.columns.filter((column) => column.inIdentity).map((column) => column.name);
  const published = new Set(message.columns.map((column) => column.name));
  // The catalog is of today, the message of when the change was made. Where they differ, the message is right.
  const isCurrent =
    catalogKey !== null &&
    (message.identity === 'full'
      ? catalogKey.every((name) => published.has(name))
      : catalogKey.length === flagged.length && flagged.every((name) => catalogKey.includes(name)));
  return {
    oid: message.oid,
    schema: message.schema,
    name: message.name,
    columns: message.columns.map(({ name, typeOid, typeModifier }) => ({ name, typeOid, typeModifier })),
    identity: message.identity,
    key: isCurrent ? catalogKey : message.identity === 'full' ? [] : flagged,
  };
}

/** `sequence`: of the first of these changes. */
export function changesOf(
  message: ChangeMessage,
  sequence: number,
  relations: ReadonlyMap<number, Relation>,
): readonly Change[] {
  if (message.kind === 'truncate') {
    const { cascade, restartIdentity } = message;
    return message.oids.map((oid, index) => ({
      kind: 'truncate',
      sequence: sequence + index,
      relation: known(oid, relations),
      cascade,
      restartIdentity,
    }));
  }
  const relation = known(message.oid, relations);
  if (message.kind === 'insert') return [{ kind: 'insert', sequence, relation, new: rowOf(relation, message.new) }];
  if (message.kind === 'delete') return [{ kind: 'delete', sequence, relation, old: oldRowOf(relation, message.old) }];
  const old = message.old === null ? null : oldRowOf(relation, message.old);
  const after = rowOf(relation, message.new);
  // The old tuple holds what is stored out of line, in whole; unchanged means that it is still the same.
  if (old !== null) {
    for (const [name, value] of after)
      if (value === unchanged && old.has(name)) after.set(name, old.get(name) as Value);
  }
  return [{ kind: 'update', sequence, relation, old, new: after }];
}

function known(oid: number, relations: ReadonlyMap<number, Relation>): Relation {
  const relation = relations.get(oid);
  if (!relation) throw new DecodeError(`a change of relation ${oid}, which was not described before`);
  return relation;
}

function oldRowOf(relation: Relation, old: OldTuple): Row {
  const row = rowOf(relation, old.tuple);
  if (old.is === 'key') for (const name of row.keys()) if (!relation.key.includes(name)) row.delete(name);
  return row;
}

function rowOf(relation: Relation, tuple: Tuple): Map<string, Value> {
  const { columns } = relation;
  if (tuple.length !== columns.length) {
    const name = `${relation.schema}.${relation.name}`;
    throw new DecodeError(`${tuple.length} values for the ${columns.length} columns of ${name}`);
  }
  const row = new Map<string, Value>();
  for (const [index, value] of tuple.entries()) {
    if (Buffer.isBuffer(value)) throw new DecodeError('a binary value, where text was asked for');
    row.set((columns[index] as Column).name, value);
  }
  return row;
}

function valuesOf(key: readonly string[], row: Row): readonly string[] {
  return key.map((name) => {
    const value = row.get(name);
    if (typeof value !== 'string') throw new DecodeError(`no value of the key column ${name}`);
    return value;
  });
}
