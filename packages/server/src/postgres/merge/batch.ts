/**
 * Writes the rows of a batch to one table, by a few statements where the table is of the usual kind, else row by row. Rows
 * that are locked are left; the caller is told which were written.
 */
import type { ColumnInfo } from '../catalog.ts';
import { functionName, quoteName, quoteTable } from '../fence/names.ts';
import type { Piece } from '../piece.ts';
import { quoteList } from '../sql-text.ts';
import { isPlain, type Merged, names, routine } from './written.ts';

export function putManyPiece(merged: Merged): Piece {
  const { table, keys, columns } = merged;
  const others = columns.filter((column) => !keys.includes(column));
  // A column that cannot be set by UPDATE, nothing to set, rows that may move to another partition.
  const unusual =
    others.length === 0 || table.kind === 'partitioned' || others.some((column) => column.identity === 'always');
  const oneByOne = `
  FOREACH number IN ARRAY chosen LOOP
    of_key := ARRAY(SELECT unnest(all_vals[number:number][:${keys.length}]));
    IF ${functionName('put', table.name)}(of_key, cols, CASE WHEN cols IS NOT NULL THEN ARRAY(SELECT unnest(all_vals[number:number][${keys.length + 1}:])) END) = 'put' THEN
      written := written || number;
    END IF;
  END LOOP;
  RETURN written;
END`;
  return routine(
    table,
    'put_many',
    'chosen integer[], cols text[], all_vals text[]',
    'RETURNS integer[]',
    // Found by their keys, however many rows there are: a plan is kept for as long as a worker lives.
    'VOLATILE SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off',
    `write the rows of a batch of ${table.name}`,
    `
DECLARE
  written integer[] := '{}';
  number integer;
  of_key text[];${
    unusual
      ? ''
      : `
  places tid[];
  absent integer[];`
  }
BEGIN${unusual ? '' : atOnce(merged, others)}${oneByOne}`,
  );
}

/** Without the word for another way when the other data center has other columns, or the same in another order. */
function atOnce({ table, keys, columns }: Merged, others: readonly ColumnInfo[]): string {
  const place = `ONLY ${quoteTable(table)}`;
  const match = (number: string) =>
    keys
      .map((column, i) => `t.${quoteName(column.name)} = all_vals[${number}][${i + 1}]::${column.type}`)
      .join(' AND ');
  const text = (column: ColumnInfo) => `all_vals[p.number][${keys.length + columns.indexOf(column) + 1}]`;
  const value = (column: ColumnInfo) =>
    isPlain(column) ? `${text(column)}::${column.type}` : `other.${quoteName(column.name)}`;
  const special = columns.filter((column) => !isPlain(column));
  const readOthers =
    special.length === 0
      ? ''
      : `
        CROSS JOIN LATERAL jsonb_populate_record(NULL::${quoteTable(table)}, jsonb_object(${names(special)},
          ARRAY[${special.map(text).join(', ')}])) other`;
  return `
  IF cols IS NULL OR cols = ${names(columns)} THEN
    SELECT coalesce(array_agg(h.number), '{}'), array_agg(h.place) INTO written, places FROM (
      SELECT c.number, t.ctid AS place FROM unnest(chosen) c(number) JOIN ${place} t ON ${match('c.number')} FOR UPDATE OF t SKIP LOCKED) h;
    IF cols IS NULL THEN
      DELETE FROM ${place} t WHERE t.ctid = ANY (places);
    ELSE
      UPDATE ${place} t SET ${others.map((column) => `${quoteName(column.name)} = ${value(column)}`).join(', ')}
        FROM unnest(places, written) p(place, number)${readOthers}
        WHERE t.ctid = p.place;
    END IF;
    IF cardinality(written) = cardinality(chosen) THEN
      RETURN written;
    END IF;
    absent := ARRAY(SELECT c.number FROM unnest(chosen) c(number)
      WHERE c.number <> ALL (written) AND NOT EXISTS (SELECT FROM ${place} t WHERE ${match('c.number')}));
    IF cols IS NOT NULL THEN
      INSERT INTO ${quoteTable(table)} (${quoteList(columns.map((column) => column.name))}) OVERRIDING SYSTEM VALUE
        SELECT ${columns.map(value).join(', ')} FROM unnest(absent) p(number)${readOthers};
    END IF;
    RETURN written || absent;
  END IF;`;
}
