/**
 * The pieces of one merged table. Values travel as PostgreSQL prints them, and come back through their type's input; every
 * function that prints or reads them pins the settings that it depends on.
 */
import type { Catalog, ColumnInfo, TableInfo } from '../catalog.ts';
import { func, trigger, truncateTrigger } from '../fence/homed-table.ts';
import { functionName, quoteName, quoteTable, quoteText } from '../fence/names.ts';
import { pinnedSettings } from '../fence/routine.ts';
import type { Piece } from '../piece.ts';
import { quoteList } from '../sql-text.ts';
import { putManyPiece } from './batch.ts';
import { keyText } from './key.ts';
import { isPlain, type Merged, names, routine } from './written.ts';

const pinned = [...pinnedSettings, "SET lc_monetary = 'C'"].join(' ');

export function mergedTablePieces(table: TableInfo, catalog: Catalog): Piece[] {
  const merged: Merged = {
    table,
    keys: table.primaryKey.flatMap((name) => table.columns.filter((column) => column.name === name)),
    columns: table.columns.filter((column) => !column.generated),
  };
  const log = functionName('log', table.name);
  const lock = functionName('lock', table.name);
  const logTitle = `put every change of ${table.name} into the merge log`;
  const lockTitle = `lock the version of a row of ${table.name} before it is written`;
  return [
    ...dataFunctions(merged),
    putManyPiece(merged),
    pinnedFunc(func(log, table, logTitle, logBody(merged))),
    func(lock, table, lockTitle, lockBody(merged)),
    trigger(table, 'lanekeeper_merge_lock', 'BEFORE UPDATE OR DELETE', 'ROW', `${lock}()`, lockTitle),
    trigger(table, 'lanekeeper_merge_log', 'AFTER INSERT OR UPDATE OR DELETE', 'ROW', `${log}()`, logTitle),
    ...wholeTree(table, catalog).map(truncateTrigger),
  ];
}

/** Row triggers are cloned to partitions by PostgreSQL, statement triggers are not. */
function wholeTree(top: TableInfo, catalog: Catalog): readonly TableInfo[] {
  const children = [...catalog.tables.values()].filter((table) => table.partitionOf === top.name);
  return [top, ...children.flatMap((child) => wholeTree(child, catalog))];
}

function pinnedFunc(piece: Piece): Piece {
  return { ...piece, create: piece.create.replace('SET search_path', `${pinned} SET search_path`) };
}

function keyArray({ keys }: Merged, alias: string): string {
  return `ARRAY[${keys.map((column) => keyText(column, alias)).join(', ')}]`;
}

/** A composite of NULLs is not NULL, so `IS NULL` would not do. */
function image({ columns }: Merged, alias: string): string {
  const values = columns.map((column) => {
    const value = `${alias}.${quoteName(column.name)}`;
    const text = `format('%s', ${value})`;
    return column.notNull ? text : `CASE WHEN ${value} IS DISTINCT FROM NULL THEN ${text} END`;
  });
  return `ARRAY[${values.join(', ')}]::text[]`;
}

function logBody(merged: Merged): string {
  const relation = quoteText(merged.table.name);
  return `
BEGIN
  IF TG_OP = 'DELETE' THEN
    PERFORM lanekeeper.log_change(${relation}, ${keyArray(merged, 'OLD')}, NULL, NULL);
    RETURN NULL;
  END IF;
  IF TG_OP = 'UPDATE' THEN
    IF ${keyArray(merged, 'OLD')} <> ${keyArray(merged, 'NEW')} THEN
      PERFORM lanekeeper.log_change(${relation}, ${keyArray(merged, 'OLD')}, NULL, NULL);
    END IF;
  END IF;
  PERFORM lanekeeper.log_change(${relation}, ${keyArray(merged, 'NEW')}, ${names(merged.columns)}, ${image(merged, 'NEW')});
  RETURN NULL;
END`;
}

/**
 * Only locks. By then PostgreSQL has locked the row, so that every writer takes the row first and then its version. Not before
 * an insert: with ON CONFLICT DO UPDATE that would be the other way round, and deadlock with an update of the same row.
 */
function lockBody(merged: Merged): string {
  return `
BEGIN
  PERFORM FROM lanekeeper.version v WHERE v.relation = ${quoteText(merged.table.name)} AND v.key = ${keyArray(merged, 'OLD')} FOR UPDATE;
  IF TG_OP = 'DELETE' THEN
    RETURN OLD;
  END IF;
  RETURN NEW;
END`;
}

/** Without settings of their own: who calls them has pinned what values are printed and read by. What `dispatch.ts` calls: put, hold, image and the rows that have no version. */
function dataFunctions(merged: Merged): Piece[] {
  const { table, keys, columns } = merged;
  const place = `${table.kind === 'partitioned' ? '' : 'ONLY '}${quoteTable(table)}`;
  const match = keys.map((column, i) => `t.${quoteName(column.name)} = of_key[${i + 1}]::${column.type}`).join(' AND ');
  const value = (column: ColumnInfo) => {
    const text = `row_vals[${columns.indexOf(column) + 1}]`;
    return isPlain(column) ? `${text}::${column.type}` : `other.${quoteName(column.name)}`;
  };
  const special = columns.filter((column) => !isPlain(column));
  const readOthers =
    special.length === 0
      ? ''
      : `
    other := jsonb_populate_record(NULL::${quoteTable(table)}, jsonb_object(${names(special)},
      ARRAY[${special.map((column) => `row_vals[${columns.indexOf(column) + 1}]`).join(', ')}]));`;
  const others = columns.filter((column) => !keys.includes(column));
  // Its column cannot be set to a value by UPDATE.
  const replaced = others.some((column) => column.identity === 'always');
  const insert = `INSERT INTO ${quoteTable(table)} (${quoteList(columns.map((column) => column.name))}) OVERRIDING SYSTEM VALUE
      VALUES (${columns.map(value).join(', ')});`;
  const update = replaced
    ? `DELETE FROM ${place} t WHERE ${match};\n      ${insert}`
    : others.length === 0
      ? 'NULL;'
      : `UPDATE ${place} t SET ${others.map((column) => `${quoteName(column.name)} = ${value(column)}`).join(', ')} WHERE ${match};`;
  // Nearly every change: locked and written at once, found by its key once.
  const shortcut =
    replaced || others.length === 0 || table.kind === 'partitioned'
      ? ''
      : `IF cols = ${names(columns)} THEN${readOthers}
    UPDATE ${place} t SET ${others.map((column) => `${quoteName(column.name)} = ${value(column)}`).join(', ')}
      WHERE t.ctid = (SELECT t.ctid FROM ${place} t WHERE ${match} FOR UPDATE SKIP LOCKED);
    IF FOUND THEN
      RETURN 'put';
    END IF;
  END IF;
  `;
  const unset = [...keys, ...others.filter((column) => column.identity === 'always')];
  return [
    routine(
      table,
      'put',
      'of_key text[], cols text[], row_vals text[]',
      'RETURNS text',
      'VOLATILE',
      `write a merged row of ${table.name}`,
      `
DECLARE
  here boolean := false;${special.length === 0 ? '' : `\n  other ${quoteTable(table)};`}
BEGIN
  ${shortcut}PERFORM FROM ${place} t WHERE ${match} FOR UPDATE SKIP LOCKED;
  here := FOUND;
  IF NOT here AND EXISTS (SELECT FROM ${place} t WHERE ${match}) THEN
    RETURN 'locked';
  END IF;
  IF cols IS NULL THEN
    IF here THEN
      DELETE FROM ${place} t WHERE ${match};
    END IF;
  ELSIF cols = ${names(columns)} THEN${readOthers}
    IF here THEN
      ${update}
    ELSE
      ${insert}
    END IF;
  ELSIF here THEN
    -- The other data center has other columns, or the same in another order: what it has is written.
    EXECUTE (SELECT lanekeeper.row_statement('update', ${quoteText(table.name)}, ${names(keys)}, of_key, array_agg(x.name), array_agg(x.value))
      FROM unnest(cols, row_vals) x(name, value) WHERE x.name <> ALL (${names(unset)}));
  ELSE
    EXECUTE lanekeeper.row_statement('insert', ${quoteText(table.name)}, ${names(keys)}, of_key, cols, row_vals);
  END IF;
  RETURN 'put';
END`,
    ),
    routine(
      table,
      'hold',
      'of_key text[]',
      'RETURNS void',
      'VOLATILE',
      `lock a row of ${table.name}`,
      `
BEGIN
  PERFORM FROM ${place} t WHERE ${match} FOR UPDATE;
END`,
    ),
    routine(
      table,
      'image',
      'of_key text[], OUT columns text[], OUT vals text[]',
      '',
      'STABLE',
      `print a row of ${table.name}`,
      `
BEGIN
  SELECT ${names(columns)}, ${image(merged, 't')} INTO columns, vals FROM ${place} t WHERE ${match};
END`,
    ),
    routine(
      table,
      'unversioned',
      'OUT key text[], OUT columns text[], OUT vals text[]',
      'RETURNS SETOF record',
      'STABLE',
      `list the rows of ${table.name} that were not written since it is merged`,
      `
BEGIN
  RETURN QUERY SELECT ${keyArray(merged, 't')}, ${names(columns)}, ${image(merged, 't')} FROM ${place} t
    WHERE NOT EXISTS (SELECT FROM lanekeeper.version v WHERE v.relation = ${quoteText(table.name)} AND v.key = ${keyArray(merged, 't')});
END`,
    ),
  ];
}
