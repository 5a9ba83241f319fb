/** What the functions of a merged table have in common: its columns, how their values are read, how a function is made. */
import type { ColumnInfo, TableInfo } from '../catalog.ts';
import { functionName, quoteText } from '../fence/names.ts';
import type { Piece } from '../piece.ts';

export type Merged = {
  readonly table: TableInfo;
  readonly keys: readonly ColumnInfo[];
  /** All that are written, generated ones left out. */
  readonly columns: readonly ColumnInfo[];
};

const plain =
  /^(smallint|integer|bigint|numeric|real|double precision|boolean|text|character varying|character|uuid|bytea|date|time|timestamp|interval|json|jsonb|inet|cidr)(\([-\d,]+\))?( with(out)? time zone)?(\[\])?$/;

/**
 * Whether a cast from text is the same as the type's input. Others have a cast of their own (`regclass`), or may have one: they
 * are read as members of a JSON object, which only knows input.
 */
export function isPlain({ type, base }: ColumnInfo): boolean {
  return base === 'enum' || (base === undefined && plain.test(type));
}

export function names(columns: readonly ColumnInfo[]): string {
  return `ARRAY[${columns.map((column) => quoteText(column.name)).join(', ')}]`;
}

/** A function that is called by the table's name from `dispatch.ts`. A column of the table may be called like one of its variables. */
export function routine(
  table: TableInfo,
  job: string,
  signature: string,
  returns: string,
  kind: string,
  title: string,
  body: string,
): Piece {
  const name = functionName(job, table.name);
  const types = signature
    .split(', ')
    .filter((one) => one !== '' && !one.startsWith('OUT '))
    .map((one) => one.slice(one.indexOf(' ') + 1));
  return {
    kind: 'function',
    id: `function ${name}`,
    table: table.name,
    title,
    create: `CREATE OR REPLACE FUNCTION ${name}(${signature}) ${returns} LANGUAGE plpgsql ${kind} AS $lanekeeper$\n#variable_conflict use_variable${body}\n$lanekeeper$;
REVOKE ALL ON FUNCTION ${name}(${types.join(', ')}) FROM PUBLIC`,
    drop: `DROP FUNCTION IF EXISTS ${name}(${types.join(', ')})`,
  };
}
