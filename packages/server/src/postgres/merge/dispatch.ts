/** Functions that `sql/000008.sql` and `sql/000015.sql` call by name: from a relation to the functions of its table, from a number to a data center. */
import type { Configuration } from 'lanekeeper/config';
import type { TableInfo } from '../catalog.ts';
import { functionName, quoteText } from '../fence/names.ts';
import type { Piece } from '../piece.ts';

export function dispatchPieces(configuration: Configuration, merged: readonly TableInfo[]): Piece[] {
  const dcs = Object.values(configuration.dataCenters).toSorted((a, b) => a.number - b.number);
  const own = configuration.dataCenters[configuration.here]?.number ?? 0;
  return [
    routine(
      'dc_number',
      '',
      'RETURNS bigint LANGUAGE sql IMMUTABLE PARALLEL SAFE',
      `SELECT ${own}::bigint`,
      'the number of this data center',
    ),
    routine(
      'dc_of',
      'number bigint',
      'RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE',
      `SELECT CASE number ${dcs.map((dc) => `WHEN ${dc.number} THEN ${quoteText(dc.name)}`).join(' ')} ELSE number::text END`,
      'data centers by their numbers',
    ),
    routine(
      'merged_key',
      'of_relation text',
      'RETURNS text[] LANGUAGE sql IMMUTABLE',
      `SELECT CASE of_relation ${merged
        .map((table) => `WHEN ${quoteText(table.name)} THEN ARRAY[${table.primaryKey.map(quoteText).join(', ')}]`)
        .join(' ')} ELSE '{}'::text[] END`,
      'the key columns of merged tables',
      merged.length === 0,
    ),
    dispatcher(merged, 'put_row', 'of_key text[], cols text[], row_vals text[]', 'RETURNS text', 'VOLATILE', {
      title: 'write a merged row',
      one: (table) => `RETURN ${functionName('put', table.name)}(of_key, cols, row_vals)`,
      otherwise: `RETURN 'unknown'`,
    }),
    dispatcher(merged, 'put_rows', 'chosen integer[], cols text[], all_vals text[]', 'RETURNS integer[]', 'VOLATILE', {
      title: 'write merged rows of a batch',
      one: (table) => `RETURN ${functionName('put_many', table.name)}(chosen, cols, all_vals)`,
      otherwise: 'RETURN NULL',
    }),
    dispatcher(merged, 'hold_row', 'of_key text[]', 'RETURNS void', 'VOLATILE', {
      title: 'lock a merged row',
      one: (table) => `PERFORM ${functionName('hold', table.name)}(of_key)`,
      otherwise: 'NULL',
    }),
    dispatcher(merged, 'image_of', 'of_key text[], OUT columns text[], OUT vals text[]', 'RETURNS record', 'STABLE', {
      title: 'print a merged row',
      one: (table) => `SELECT * INTO columns, vals FROM ${functionName('image', table.name)}(of_key)`,
      otherwise: 'NULL',
    }),
    dispatcher(
      merged,
      'unversioned',
      'OUT key text[], OUT columns text[], OUT vals text[]',
      'RETURNS SETOF record',
      'STABLE',
      {
        title: 'list merged rows without a version',
        one: (table) => `RETURN QUERY SELECT * FROM ${functionName('unversioned', table.name)}()`,
        otherwise: 'NULL',
      },
    ),
  ];
}

function dispatcher(
  merged: readonly TableInfo[],
  name: string,
  rest: string,
  returns: string,
  volatility: string,
  body: { readonly title: string; readonly one: (table: TableInfo) => string; readonly otherwise: string },
): Piece {
  const cases = merged.map((table) => `IF of_relation = ${quoteText(table.name)} THEN\n    ${body.one(table)};`);
  const text =
    cases.length === 0
      ? `\n  ${body.otherwise};`
      : `\n  ${cases.join('\n  ELS')}\n  ELSE\n    ${body.otherwise};\n  END IF;`;
  return routine(
    name,
    `of_relation text, ${rest}`,
    `${returns} LANGUAGE plpgsql ${volatility}`,
    `\nBEGIN${text}\nEND\n`,
    body.title,
  );
}

function routine(name: string, signature: string, how: string, body: string, title: string, empty = false): Piece {
  const types = signature
    .split(', ')
    .filter((one) => one !== '' && !one.startsWith('OUT '))
    .map((one) => one.slice(one.indexOf(' ') + 1));
  const full = `lanekeeper.${name}(${types.join(', ')})`;
  const text = empty ? `SELECT '{}'::text[]` : body;
  return {
    kind: 'function',
    id: `function lanekeeper.${name}`,
    table: null,
    title,
    create: `CREATE OR REPLACE FUNCTION lanekeeper.${name}(${signature}) ${how} AS $lanekeeper$${text}$lanekeeper$;
REVOKE ALL ON FUNCTION ${full} FROM PUBLIC`,
    drop: `DROP FUNCTION IF EXISTS ${full}`,
  };
}
