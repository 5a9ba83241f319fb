/** A table as it is here, for changes that were read out of another data center's log. */
import { quoteTable } from '../fence/names.ts';
import type { Queryable } from '../queryable.ts';

export type TargetColumn = {
  readonly name: string;
  /** As PostgreSQL writes it, for a cast. */
  readonly type: string;
  /** `GENERATED ALWAYS AS IDENTITY`: may be inserted, not updated. */
  readonly identityAlways: boolean;
};

export type Target = {
  /** Quoted; with ONLY where it is no partitioned table, as what inherits from it travels by itself. */
  readonly name: string;
  readonly onlyName: string;
  /** Who a worker would apply it as. */
  readonly owner: string;
  /** Those that may be written: generated ones are computed here. */
  readonly columns: ReadonlyMap<string, TargetColumn>;
  readonly generated: ReadonlySet<string>;
};

type ColumnRow = {
  readonly name: string;
  readonly type: string;
  readonly generated: boolean;
  readonly identityAlways: boolean;
};

/** Null: there is no such table. */
export async function readTarget(client: Queryable, schema: string, relation: string): Promise<Target | null> {
  const { rows } = await client.query<{ kind: string; owner: string; columns: readonly ColumnRow[] }>(
    `SELECT c.relkind AS kind, pg_catalog.pg_get_userbyid(c.relowner) AS owner,
        (SELECT coalesce(json_agg(json_build_object('name', a.attname, 'type', pg_catalog.format_type(a.atttypid, a.atttypmod),
            'generated', a.attgenerated <> '', 'identityAlways', a.attidentity = 'a') ORDER BY a.attnum), '[]')
          FROM pg_catalog.pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped) AS columns
      FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
      WHERE n.nspname = $1 AND c.relname = $2 AND c.relkind IN ('r', 'p')`,
    [schema, relation],
  );
  const row = rows[0];
  if (row === undefined) return null;
  const name = quoteTable({ schema, relation });
  return {
    name,
    onlyName: row.kind === 'p' ? name : `ONLY ${name}`,
    owner: row.owner,
    columns: new Map(row.columns.filter(({ generated }) => !generated).map((column) => [column.name, column])),
    generated: new Set(row.columns.filter(({ generated }) => generated).map((column) => column.name)),
  };
}
