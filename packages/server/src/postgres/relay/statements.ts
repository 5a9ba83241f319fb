/**
 * A change as a statement, as a worker would apply it. Pure. Values are text, as parameters, cast to the types that the table
 * has here.
 */
import { type Change, keyOf, type Row, unchanged } from '../decode/index.ts';
import { quoteName } from '../fence/names.ts';
import type { Target, TargetColumn } from './target.ts';

export type Statement = { readonly text: string; readonly values: readonly (string | null)[] };

/** The change does not fit what is here: not something to go on after. */
export class ReplayProblem extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'ReplayProblem';
  }
}

export type Insert = Extract<Change, { kind: 'insert' }>;
type Update = Extract<Change, { kind: 'update' }>;
type Delete = Extract<Change, { kind: 'delete' }>;

/** Rows of one table in their order. All of them with the columns of the first: those of one relation have the same. */
export function insertStatement(target: Target, changes: readonly Insert[]): Statement {
  const [first] = changes;
  if (first === undefined) throw new TypeError('nothing to insert');
  const columns = writable(target, first, first.new);
  if (columns.length === 0) {
    if (changes.length > 1) throw new TypeError('rows without columns are inserted one by one');
    return { text: `INSERT INTO ${target.name} DEFAULT VALUES`, values: [] };
  }
  const values: (string | null)[] = [];
  const rows = changes.map((change) => {
    const places = columns.map(({ name, type }) => {
      values.push(known(change, name, change.new));
      return `$${values.length}::${type}`;
    });
    return `(${places.join(', ')})`;
  });
  const names = columns.map(({ name }) => quoteName(name)).join(', ');
  return {
    text: `INSERT INTO ${target.name} (${names}) OVERRIDING SYSTEM VALUE VALUES ${rows.join(', ')}`,
    values,
  };
}

/**
 * Columns whose values are stored out of line and were not written keep what is here. An identity column that is always
 * generated cannot be set, and cannot have been changed.
 */
export function updateStatement(target: Target, change: Update): Statement {
  const values: (string | null)[] = [];
  const columns = writable(target, change, change.new);
  const set = columns.filter(({ name, identityAlways }) => change.new.get(name) !== unchanged && !identityAlways);
  const pairs = set.map(({ name, type }) => {
    values.push(known(change, name, change.new));
    return `${quoteName(name)} = $${values.length}::${type}`;
  });
  // So that triggers see an update, as they do when a worker applies one.
  if (pairs.length === 0) {
    const [some] = [...target.columns.values()].filter(({ identityAlways }) => !identityAlways);
    if (some === undefined) throw new ReplayProblem(`${nameOf(change)} has no column that can be updated`);
    pairs.push(`${quoteName(some.name)} = ${quoteName(some.name)}`);
  }
  const { text: where, values: all } = match(target, change, values);
  return { text: `UPDATE ${target.onlyName} SET ${pairs.join(', ')} WHERE ${where}`, values: all };
}

export function deleteStatement(target: Target, change: Delete): Statement {
  const { text, values } = match(target, change, []);
  return { text: `DELETE FROM ${target.onlyName} WHERE ${text}`, values };
}

/** Whether the row is here that an update or a deletion means. */
export function existsStatement(target: Target, change: Update | Delete): Statement {
  const { text, values } = match(target, change, []);
  return { text: `SELECT FROM ${target.onlyName} WHERE ${text}`, values };
}

/** The row by its key; by all its values where it has none, one of those that are alike. */
function match(target: Target, change: Update | Delete, before: readonly (string | null)[]): Statement {
  const values = [...before];
  const key = keyOf(change);
  if (key !== null) {
    const old = key.old as readonly string[];
    const terms = key.columns.map((name, index) => {
      values.push(old[index] as string);
      return `${quoteName(name)} = $${values.length}::${columnOf(target, change, name).type}`;
    });
    return { text: terms.join(' AND '), values };
  }
  if (change.old === null)
    throw new ReplayProblem(`a row of ${nameOf(change)} was changed, and its log does not say which`);
  const terms = writable(target, change, change.old).map(({ name }) => {
    values.push(known(change, name, change.old as Row));
    // Not every type has an equality. What is written alike is the same, as both sessions write alike.
    return `${quoteName(name)}::text IS NOT DISTINCT FROM $${values.length}`;
  });
  return {
    text: `ctid = (SELECT ctid FROM ${target.onlyName} WHERE ${terms.join(' AND ')} LIMIT 1)`,
    values,
  };
}

function writable(target: Target, change: Change, row: Row): readonly TargetColumn[] {
  return [...row.keys()].filter((name) => !target.generated.has(name)).map((name) => columnOf(target, change, name));
}

function columnOf(target: Target, change: Change, name: string): TargetColumn {
  const column = target.columns.get(name);
  if (column === undefined) throw new ReplayProblem(`${nameOf(change)} has no column ${name} here`);
  return column;
}

function known(change: Change, name: string, row: Row): string | null {
  const value = row.get(name);
  if (value === undefined || (typeof value === 'object' && value !== null)) {
    throw new ReplayProblem(`the value of ${name} in a row of ${nameOf(change)} is not in the log`);
  }
  return value;
}

export function nameOf({ relation }: Change): string {
  return `${relation.schema}.${relation.name}`;
}
