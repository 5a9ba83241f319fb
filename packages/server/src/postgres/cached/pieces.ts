/**
 * Applications hear which rows of `cached` tables have changed. Row triggers that fire for everybody, so that what
 * replication and the merge write is heard as well as what is written here; sent when the transaction has committed.
 *
 * A payload is small: the table, and the key of the row as texts. After `keysMax` rows of a table, and for rows without a
 * key, or one too long, the message says the table alone: everything in it may have changed.
 */
import type { Configuration } from 'lanekeeper/config';
import { cacheChannel } from 'lanekeeper/model';
import type { Catalog, TableInfo } from '../catalog.ts';
import { func, trigger } from '../fence/homed-table.ts';
import { functionName, quoteName, quoteTable, quoteText } from '../fence/names.ts';
import type { Piece } from '../piece.ts';

/** Rows of one table and one transaction that are named one by one. */
const keysMax = 100;
/** PostgreSQL takes payloads below 8000 bytes. */
const keyBytesMax = 2_000;

export function cachedPieces(configuration: Configuration, catalog: Catalog): Piece[] {
  return Object.values(configuration.tables).flatMap((declared) => {
    const table = catalog.tables.get(declared.name);
    return declared.cached && table ? piecesOf(table) : [];
  });
}

function piecesOf(table: TableInfo): Piece[] {
  const row = functionName('changed', table.name);
  const all = functionName('emptied', table.name);
  const title = `tell applications which rows of ${table.name} have changed`;
  return [
    func(row, table, title, rowBody(table, row)),
    always(table, trigger(table, 'lanekeeper_changed', 'AFTER INSERT OR UPDATE OR DELETE', 'ROW', `${row}()`, title)),
    func(all, table, title, `\nBEGIN\n  ${notify(table, 'NULL')}\n  RETURN NULL;\nEND`),
    always(table, trigger(table, 'lanekeeper_emptied', 'AFTER TRUNCATE', 'STATEMENT', `${all}()`, title)),
  ];
}

function rowBody(table: TableInfo, name: string): string {
  if (table.primaryKey.length === 0) {
    return `\nBEGIN\n  ${notify(table, 'NULL')}\n  RETURN NULL;\nEND`;
  }
  const key = (row: 'OLD' | 'NEW') =>
    `ARRAY[${table.primaryKey.map((c) => `${row}.${quoteName(c)}::text`).join(', ')}]`;
  const setting = quoteText(`lanekeeper.told_${name.replace(/\W/g, '_')}`);
  // A setting that ends with the transaction counts: many rows shall cost little, and fill no queue.
  return `
DECLARE
  told integer := coalesce(nullif(current_setting(${setting}, true), ''), '0')::integer;
  key text[];
BEGIN
  IF told > ${keysMax} THEN
    RETURN NULL;
  END IF;
  PERFORM set_config(${setting}, (told + 1)::text, true);
  IF told = ${keysMax} THEN
    ${notify(table, 'NULL')}
    RETURN NULL;
  END IF;
  IF TG_OP <> 'INSERT' THEN
    key := ${key('OLD')};
    ${notify(table, 'key')}
  END IF;
  IF TG_OP <> 'DELETE' AND ${key('NEW')} IS DISTINCT FROM key THEN
    key := ${key('NEW')};
    ${notify(table, 'key')}
  END IF;
  RETURN NULL;
END`;
}

function notify(table: TableInfo, key: string): string {
  const fits =
    key === 'NULL'
      ? 'NULL'
      : `CASE WHEN octet_length(to_json(${key})::text) <= ${keyBytesMax} THEN to_json(${key}) END`;
  return `PERFORM pg_notify(${quoteText(cacheChannel)}, json_build_object('r', ${quoteText(table.name)}, 'k', ${fits})::text);`;
}

function always(table: TableInfo, piece: Piece): Piece {
  const name = piece.id.slice('trigger '.length, piece.id.indexOf(' on '));
  const enable = `ALTER TABLE ${quoteTable(table)} ENABLE ALWAYS TRIGGER ${quoteName(name)}`;
  return { ...piece, create: `${piece.create};\n${enable}` };
}
