/**
 * What else a database holds that data centers do not share, or share badly: reads the catalogs for it in one round trip.
 * What follows from it is decided in `doctor/lint-hazards.ts`.
 */
import type { TableName } from 'lanekeeper/config';
import type { Queryable } from '../queryable.ts';

/** Something of a table, by its name. */
export type Part = { readonly table: TableName; readonly name: string };

export type Hazards = {
  readonly exclusions: readonly (Part & { readonly columns: readonly string[] })[];
  /** Rewrite rules of tables. */
  readonly rules: readonly Part[];
  /** Foreign keys that pass a changed key on. */
  readonly changingKeys: readonly (Part & { readonly references: TableName })[];
  /** Children by INHERITS; partitions are not among them. */
  readonly inherited: readonly { readonly table: TableName; readonly parent: TableName }[];
  /** Key columns whose equality is not that of their text. */
  readonly looseKeys: readonly (Part & { readonly kind: 'citext' | 'nondeterministic' })[];
  /** Columns filled by the clock, without a time zone. */
  readonly localTimes: readonly Part[];
  /** Unique indexes over expressions, with what they say. */
  readonly expressions: readonly (Part & { readonly definition: string })[];
  readonly materializedViews: readonly TableName[];
  readonly foreignTables: readonly TableName[];
  readonly largeObjects: number;
};

const tableOf = (c: string, n: string) => `${n}.nspname || '.' || ${c}.relname`;
const users = `n.nspname NOT IN ('information_schema', 'lanekeeper') AND n.nspname !~ '^pg_'
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend x
    WHERE x.classid = 'pg_catalog.pg_class'::regclass AND x.objid = c.oid AND x.deptype = 'e')`;
const relations = 'pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace';
const listed = (row: string, order: string, rest: string) =>
  `(SELECT coalesce(json_agg(${row} ORDER BY ${order}), '[]') ${rest})`;
const part = (name: string, more = '') => `json_build_object('table', ${tableOf('c', 'n')}, 'name', ${name}${more})`;

const hazardsQuery = `SELECT
${listed(
  part(
    'k.conname',
    `, 'columns', (SELECT coalesce(json_agg(a.attname), '[]') FROM pg_catalog.pg_attribute a
      WHERE a.attrelid = c.oid AND a.attnum = ANY (k.conkey))`,
  ),
  'k.conname',
  `FROM ${relations} JOIN pg_catalog.pg_constraint k ON k.conrelid = c.oid AND k.contype = 'x' WHERE ${users}`,
)} AS exclusions,
${listed(
  part('w.rulename'),
  'w.rulename',
  `FROM ${relations} JOIN pg_catalog.pg_rewrite w ON w.ev_class = c.oid WHERE c.relkind IN ('r', 'p') AND ${users}`,
)} AS rules,
${listed(
  part('k.conname', `, 'references', ${tableOf('f', 'fn')}`),
  'k.conname',
  `FROM ${relations} JOIN pg_catalog.pg_constraint k ON k.conrelid = c.oid AND k.contype = 'f' AND k.confupdtype NOT IN ('a', 'r')
    JOIN pg_catalog.pg_class f ON f.oid = k.confrelid JOIN pg_catalog.pg_namespace fn ON fn.oid = f.relnamespace
    WHERE k.conparentid = 0 AND ${users}`,
)} AS "changingKeys",
${listed(
  `json_build_object('table', ${tableOf('c', 'n')}, 'parent', ${tableOf('f', 'fn')})`,
  'c.relname',
  `FROM ${relations} JOIN pg_catalog.pg_inherits i ON i.inhrelid = c.oid
    JOIN pg_catalog.pg_class f ON f.oid = i.inhparent JOIN pg_catalog.pg_namespace fn ON fn.oid = f.relnamespace
    WHERE c.relkind = 'r' AND NOT c.relispartition AND ${users}`,
)} AS inherited,
${listed(
  part('a.attname', `, 'kind', CASE WHEN ty.typname = 'citext' THEN 'citext' ELSE 'nondeterministic' END`),
  'c.relname, a.attname',
  `FROM ${relations} JOIN pg_catalog.pg_index i ON i.indrelid = c.oid AND i.indisprimary
    JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum = ANY (i.indkey::int2[])
    JOIN pg_catalog.pg_type ty ON ty.oid = a.atttypid LEFT JOIN pg_catalog.pg_collation co ON co.oid = a.attcollation
    WHERE (ty.typname = 'citext' OR NOT co.collisdeterministic) AND ${users}`,
)} AS "looseKeys",
${listed(
  part('a.attname'),
  'c.relname, a.attname',
  `FROM ${relations} JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND NOT a.attisdropped
    JOIN pg_catalog.pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
    WHERE c.relkind IN ('r', 'p') AND a.atttypid = 'pg_catalog.timestamp'::regtype AND NOT c.relispartition
      AND pg_catalog.pg_get_expr(d.adbin, d.adrelid) ~* '(now\\(\\)|current_timestamp|localtimestamp|clock_timestamp)' AND ${users}`,
)} AS "localTimes",
${listed(
  part('ic.relname', `, 'definition', pg_catalog.pg_get_indexdef(i.indexrelid)`),
  'ic.relname',
  `FROM ${relations} JOIN pg_catalog.pg_index i ON i.indrelid = c.oid AND i.indisunique AND i.indexprs IS NOT NULL
    JOIN pg_catalog.pg_class ic ON ic.oid = i.indexrelid WHERE ${users}`,
)} AS expressions,
${listed(tableOf('c', 'n'), 'c.relname', `FROM ${relations} WHERE c.relkind = 'm' AND ${users}`)} AS "materializedViews",
${listed(tableOf('c', 'n'), 'c.relname', `FROM ${relations} WHERE c.relkind = 'f' AND ${users}`)} AS "foreignTables",
(SELECT count(*)::int FROM pg_catalog.pg_largeobject_metadata) AS "largeObjects"`;

/** Of the user's schemas, without what extensions bring. */
export async function readHazards(client: Queryable): Promise<Hazards> {
  const { rows } = await client.query<Hazards>(hazardsQuery);
  if (!rows[0]) throw new Error('A query without FROM returned no row.');
  return rows[0];
}
