/**
 * What is generated for tables with `writes: direct` or `buffered`: how a write of each is made complete where it is
 * taken, how it is carried out in every data center, and the triggers that refuse any other way (sql/000010.sql).
 *
 * A column may be there in one data center before it is in another. One that the write does not know gets its default; one
 * that the table does not have is an error, so that nothing is left out silently.
 */
import type { Table } from 'lanekeeper/config';
import { LanekeeperError } from 'lanekeeper/model';
import type { TableInfo } from '../catalog.ts';
import { trigger, truncateTrigger } from '../fence/homed-table.ts';
import { quoteName, quoteTable, quoteText } from '../fence/names.ts';
import type { Piece } from '../piece.ts';

/** As in `fence/routine.ts`: a value prints alike everywhere. */
const attributes = `LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET DateStyle = 'ISO, YMD' SET IntervalStyle = 'postgres' SET TimeZone = 'UTC' SET bytea_output = 'hex' SET extra_float_digits = 1 SET xmloption = 'content'`;

type Everywhere = { readonly table: TableInfo; readonly pattern: 'direct' | 'buffered' };

/** `declared`: the tables of a database and what the configuration says of each, partitions included. Throws LK_CONFIG when one has no primary key. */
export function everywherePieces(
  declared: readonly { readonly table: TableInfo; readonly declared: Pick<Table, 'writes'> }[],
): Piece[] {
  const all = declared.flatMap(({ table, declared: { writes } }): Everywhere[] => {
    if (writes === 'replicated') return [];
    if (table.primaryKey.length === 0)
      throw new LanekeeperError(
        'LK_CONFIG',
        `tables.${table.name}.writes: ${table.name} has no primary key, so nobody could say which of two writes to a row is the later one.`,
      );
    return [{ table, pattern: writes }];
  });
  const tables = all.filter(({ table }) => table.partitionOf === null);
  return [patternPiece(tables), imagePiece(tables), writePiece(tables), rowsPiece(tables), ...all.flatMap(triggers)];
}

function triggers({ table, pattern }: Everywhere): Piece[] {
  return [
    trigger(
      table,
      'lanekeeper_plain_write',
      'BEFORE INSERT OR UPDATE OR DELETE',
      'STATEMENT',
      `lanekeeper.refuse_unless_spread(${quoteText(pattern)})`,
      `refuse plain SQL writes of ${table.name}, which is written in every data center`,
    ),
    truncateTrigger(table),
  ];
}

function patternPiece(tables: readonly Everywhere[]): Piece {
  const cases = tables
    .map(({ table, pattern }) => `WHEN ${quoteText(table.name)} THEN ${quoteText(pattern)} `)
    .join('');
  const body = cases === '' ? 'SELECT NULL::text' : `SELECT CASE of_relation ${cases}END`;
  return piece(
    'spread_pattern',
    ['of_relation text'],
    'text',
    ' RETURNS text LANGUAGE sql IMMUTABLE',
    body,
    'which tables are written in every data center, and how',
  );
}

function imagePiece(tables: readonly Everywhere[]): Piece {
  const parts = tables.map(({ table }) => {
    const columns = written(table);
    const notNull = columns.filter((column) => column.notNull).map(({ name }) => name);
    return `
  IF of_relation = ${quoteText(table.name)} THEN${permitted(table, 'removing')}${known(table, 'given')}
    IF removing THEN
      SELECT ${keyTexts(table, 'r')} INTO of_key FROM ${record(table, 'given')} r;
    ELSE${completed(table, 'given')}
      SELECT ${keyTexts(table, 'i')}, to_jsonb(i.*) INTO of_key, image
        FROM (SELECT ${columns.map(({ name }) => `r.${quoteName(name)}`).join(', ')} FROM ${record(table, 'given')} r) i;
      SELECT string_agg(k, ', ') INTO wrong FROM unnest(${array(notNull)}) k WHERE jsonb_typeof(image -> k) = 'null';
      IF wrong IS NOT NULL THEN
        RAISE EXCEPTION USING ERRCODE = '23502', MESSAGE = format('%s needs a value in %s', of_relation, wrong);
      END IF;
    END IF;
    IF array_position(of_key, NULL) IS NOT NULL THEN
      RAISE EXCEPTION USING ERRCODE = '23502', MESSAGE = format('the key of %s is not complete: ${table.primaryKey.join(', ').replaceAll('%', '%%').replaceAll("'", "''")}', of_relation);
    END IF;
    RETURN;
  END IF;`;
  });
  return piece(
    'spread_image',
    ['of_relation text', 'given jsonb', 'removing boolean'],
    'text, jsonb, boolean',
    ` ${attributes}`,
    `
#variable_conflict use_variable
DECLARE
  wrong text;
BEGIN${parts.join('')}
  RAISE EXCEPTION USING ERRCODE = '42809', MESSAGE = format('%s is not written in every data center', of_relation);
END
`,
    'complete writes to tables that are written in every data center',
    ', OUT of_key text[], OUT image jsonb',
  );
}

function writePiece(tables: readonly Everywhere[]): Piece {
  const parts = tables.map(({ table }) => {
    const columns = written(table);
    const names = columns.map(({ name }) => quoteName(name));
    const others = columns.filter(({ name }) => !table.primaryKey.includes(name)).map(({ name }) => quoteName(name));
    const primary = table.uniqueIndexes.find((index) => index.primary)?.name ?? '';
    const set = others.map((name) => `${name} = EXCLUDED.${name}`).join(', ');
    const match = table.primaryKey.map((name, index) => {
      const type = table.columns.find((column) => column.name === name)?.type ?? 'text';
      return `t.${quoteName(name)} = of_key[${index + 1}]::${type}`;
    });
    return `
  IF of_relation = ${quoteText(table.name)} THEN${permitted(table, 'image IS NULL')}
    IF image IS NULL THEN
      DELETE FROM ${quoteTable(table)} t WHERE ${match.join(' AND ')};
    ELSE${known(table, 'image')}${completed(table, 'image')}
      INSERT INTO ${quoteTable(table)} (${names.join(', ')}) OVERRIDING SYSTEM VALUE
        SELECT ${names.map((name) => `r.${name}`).join(', ')} FROM ${record(table, 'image')} r
        ON CONFLICT ON CONSTRAINT ${quoteName(primary)} DO ${set === '' ? 'NOTHING' : `UPDATE SET ${set}`};
    END IF;
    RETURN;
  END IF;`;
  });
  return piece(
    'spread_write',
    ['of_relation text', 'of_key text[]', 'image jsonb'],
    'text, text[], jsonb',
    ` RETURNS void ${attributes}`,
    `
#variable_conflict use_variable
DECLARE
  wrong text;
BEGIN${parts.join('')}
  RAISE EXCEPTION USING ERRCODE = '42809', MESSAGE = format('%s is not written in every data center, as far as %s knows', of_relation, lanekeeper.dc());
END
`,
    'carry out writes to tables that are written in every data center',
  );
}

function rowsPiece(tables: readonly Everywhere[]): Piece {
  const parts = tables.map(({ table }) => {
    const columns = written(table).map(({ name }) => `r.${quoteName(name)}`);
    return `
  IF of_relation = ${quoteText(table.name)} THEN
    RETURN QUERY SELECT ${keyTexts(table, 'i')}, to_jsonb(i.*) FROM (SELECT ${columns.join(', ')} FROM ${quoteTable(table)} r) i;
  END IF;`;
  });
  return piece(
    'spread_rows',
    ['of_relation text'],
    'text',
    ` RETURNS TABLE (of_key text[], image jsonb) ${attributes}`,
    `
#variable_conflict use_variable
BEGIN${parts.join('')}
END
`,
    'read whole tables that are written in every data center, to send them again',
  );
}

function piece(
  name: string,
  parameters: readonly string[],
  types: string,
  attributesAndResult: string,
  body: string,
  title: string,
  out = '',
): Piece {
  const signature = `lanekeeper.${name}(${types})`;
  return {
    kind: 'function',
    id: `function lanekeeper.${name}`,
    table: null,
    title,
    create: `CREATE OR REPLACE FUNCTION lanekeeper.${name}(${parameters.join(', ')}${out})${attributesAndResult} AS $lanekeeper$${body}$lanekeeper$;
REVOKE ALL ON FUNCTION ${signature} FROM PUBLIC`,
    drop: `DROP FUNCTION IF EXISTS ${signature}`,
  };
}

/** Functions of the owner's must not lend their rights to whoever calls them. */
function permitted(table: TableInfo, removing: string): string {
  return `
    IF NOT has_table_privilege(session_user, ${quoteText(quoteTable(table))}, CASE WHEN ${removing} THEN 'DELETE' ELSE 'INSERT' END) THEN
      RAISE EXCEPTION USING ERRCODE = '42501', MESSAGE = format('permission denied for table %s', of_relation);
    END IF;`;
}

function known(table: TableInfo, image: string): string {
  return `
    SELECT string_agg(k, ', ') INTO wrong FROM jsonb_object_keys(${image}) k WHERE k <> ALL (${names(table)});
    IF wrong IS NOT NULL THEN
      RAISE EXCEPTION USING ERRCODE = '42703', MESSAGE = format('%s has no column %s in %s', of_relation, wrong, lanekeeper.dc());
    END IF;`;
}

function completed(table: TableInfo, image: string): string {
  return `
      IF NOT ${image} ?& ${names(table)} THEN
        ${image} := lanekeeper.spread_defaults(${quoteText(quoteTable(table))}::regclass, ${image}) || ${image};
      END IF;`;
}

function written(table: TableInfo) {
  return table.columns.filter((column) => !column.generated);
}

function names(table: TableInfo): string {
  return array(written(table).map(({ name }) => name));
}

function array(texts: readonly string[]): string {
  return `ARRAY[${texts.map(quoteText).join(', ')}]::text[]`;
}

function record(table: TableInfo, image: string): string {
  return `jsonb_populate_record(NULL::${quoteTable(table)}, ${image})`;
}

function keyTexts(table: TableInfo, alias: string): string {
  return `ARRAY[${table.primaryKey.map((name) => `${alias}.${quoteName(name)}::text`).join(', ')}]`;
}
