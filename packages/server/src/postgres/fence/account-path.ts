/**
 * How a row finds its account. A table names a path: columns through foreign keys to the account (`order_id.account_id`).
 * Here it is resolved against the catalog and turned into SQL.
 */
import type { Table } from 'lanekeeper/config';
import { LanekeeperError } from 'lanekeeper/model';
import type { Catalog, TableInfo } from '../catalog.ts';
import { quoteName, quoteTable, quoteText } from './names.ts';

/** One foreign key on the way from a row to its account. */
export type Step = {
  readonly columns: readonly string[];
  readonly parent: TableInfo;
  readonly referencedColumns: readonly string[];
};

export type AccountPath = {
  readonly table: TableInfo;
  readonly steps: readonly Step[];
  /** The column that holds the account, in the table that the last step reaches. */
  readonly column: string;
  /** That column's type, so that a digest can use its index. */
  readonly columnType: string;
  readonly nullAccount: string | null;
};

/** Follows the declared path. Throws LK_CONFIG, saying what the table does have, when a step does not exist. */
export function resolveAccountPath(table: TableInfo, declared: Table, catalog: Catalog): AccountPath {
  const path = declared.account ?? [];
  const steps: Step[] = [];
  let at = table;
  for (const name of path.slice(0, -1)) {
    const key = at.foreignKeys.find(
      (candidate) => candidate.name === name || (candidate.columns.length === 1 && candidate.columns[0] === name),
    );
    const parent = key && catalog.tables.get(key.references);
    if (!key || !parent) {
      const known = at.foreignKeys.map((candidate) => candidate.columns.join('+')).join(', ') || 'none';
      throw new LanekeeperError(
        'LK_CONFIG',
        `tables.${declared.name}.account: ${at.name} has no foreign key on ${name}. It has: ${known}.`,
      );
    }
    if (parent.kind === 'partitioned') {
      throw new LanekeeperError(
        'LK_CONFIG',
        `tables.${declared.name}.account: the path leads through ${parent.name}, which is partitioned. Give ${at.name} an account column of its own.`,
      );
    }
    steps.push({ columns: key.columns, parent, referencedColumns: key.referencedColumns });
    at = parent;
  }
  const name = path.at(-1);
  const column = at.columns.find((candidate) => candidate.name === name);
  if (!column) {
    throw new LanekeeperError(
      'LK_CONFIG',
      `tables.${declared.name}.account: ${at.name} has no column ${name}. It has: ${at.columns.map((c) => c.name).join(', ')}.`,
    );
  }
  return { table, steps, column: column.name, columnType: column.type, nullAccount: declared.nullAccount };
}

/** Names the parent rows a step can reach, for the private table of parents deleted in the same transaction. */
export function partingRelation(step: Pick<Step, 'parent' | 'referencedColumns'>): string {
  return `${step.parent.name}(${step.referencedColumns.join(',')})`;
}

export function rowKey(alias: string, columns: readonly string[]): string {
  return `ROW(${columns.map((column) => `${alias}.${quoteName(column)}`).join(', ')})::text`;
}

/**
 * An SQL expression for the account of the row `alias`. With `departed`, a parent that this transaction has already
 * deleted is found where it left word (a cascade deletes the children after their parent).
 */
export function accountExpression(path: AccountPath, alias: string, departed: boolean): string {
  const build = (index: number, row: string): string => {
    const step = path.steps[index];
    if (!step) return `${row}.${quoteName(path.column)}::text`;
    const parent = `p${index + 1}`;
    const match = step.columns
      .map((column, i) => `${parent}.${quoteName(step.referencedColumns[i] ?? '')} = ${row}.${quoteName(column)}`)
      .join(' AND ');
    const live = `(SELECT ${build(index + 1, parent)} FROM ${quoteTable(step.parent)} ${parent} WHERE ${match})`;
    if (!departed) return live;
    return `coalesce(${live}, (SELECT g.account FROM lanekeeper.parting g WHERE g.xid = pg_current_xact_id() AND g.relation = ${quoteText(
      partingRelation(step),
    )} AND g.key = ${rowKey(row, step.columns)}))`;
  };
  const account = build(0, alias);
  if (path.nullAccount === null) return account;
  const first = path.steps[0];
  const empty = first
    ? first.columns.map((column) => `${alias}.${quoteName(column)} IS NULL`).join(' OR ')
    : `${alias}.${quoteName(path.column)} IS NULL`;
  return `CASE WHEN ${empty} THEN ${quoteText(path.nullAccount)} ELSE ${account} END`;
}

/** The columns of the row itself that its account depends on: the first foreign key, or the account column. */
export function accountColumns(path: AccountPath): readonly string[] {
  return path.steps[0]?.columns ?? [path.column];
}
