/**
 * The catalog queries. Each returns plain JSON, one row per relation, so that a database with a thousand tables is read
 * in three round trips. Type names are qualified whatever the session's search_path is.
 */

/** Schemas that are nobody's business: PostgreSQL's own and ours. */
const userSchema = `n.nspname NOT IN ('information_schema', 'lanekeeper') AND n.nspname !~ '^pg_'`;
const ownSchema = `n.nspname = 'lanekeeper'`;

/** An extension's own tables come and go with the extension. */
const notOfExtension = `NOT EXISTS (SELECT FROM pg_catalog.pg_depend x
  WHERE x.classid = 'pg_catalog.pg_class'::regclass AND x.objid = c.oid AND x.deptype = 'e')`;

const columnNames = (
  array: string,
  relation: string,
) => `(SELECT coalesce(json_agg(ka.attname ORDER BY place.ordinality), '[]')
  FROM unnest(${array}) WITH ORDINALITY place(attnum, ordinality)
  JOIN pg_catalog.pg_attribute ka ON ka.attrelid = ${relation} AND ka.attnum = place.attnum)`;

const tablesIn = (schemas: string) => `
SELECT n.nspname AS schema, c.relname AS relation, pg_catalog.pg_get_userbyid(c.relowner) AS owner,
  c.relkind = 'p' AS partitioned, c.relpersistence = 'u' AS unlogged, c.relreplident AS "replicaIdentity",
  CASE WHEN c.relispartition THEN (
    SELECT json_build_array(pn.nspname, p.relname) FROM pg_catalog.pg_inherits i
    JOIN pg_catalog.pg_class p ON p.oid = i.inhparent JOIN pg_catalog.pg_namespace pn ON pn.oid = p.relnamespace
    WHERE i.inhrelid = c.oid) END AS "partitionOf",
  CASE WHEN c.relkind = 'p' THEN (
    SELECT coalesce(sum(greatest(l.reltuples, 0)), 0) FROM pg_catalog.pg_partition_tree(c.oid) t
    JOIN pg_catalog.pg_class l ON l.oid = t.relid WHERE t.isleaf)
    ELSE greatest(c.reltuples, 0) END::float8 AS "estimatedRows",
  (SELECT coalesce(json_agg(json_build_object(
      'name', a.attname, 'notNull', a.attnotnull, 'generated', a.attgenerated <> '', 'identity', a.attidentity,
      'base', CASE WHEN ty.typtype = 'e' THEN 'enum' WHEN ty.typtype = 'd' THEN (
        WITH RECURSIVE below(type) AS (SELECT a.atttypid UNION ALL
          SELECT d.typbasetype FROM below JOIN pg_catalog.pg_type d ON d.oid = below.type AND d.typtype = 'd')
        SELECT CASE WHEN b.typtype = 'e' THEN 'enum' WHEN bn.nspname = 'pg_catalog' THEN pg_catalog.format_type(b.oid, NULL)
            ELSE bn.nspname || '.' || b.typname END
          FROM below JOIN pg_catalog.pg_type b ON b.oid = below.type JOIN pg_catalog.pg_namespace bn ON bn.oid = b.typnamespace
          WHERE b.typtype <> 'd') END,
      'nondeterministic', (SELECT NOT co.collisdeterministic FROM pg_catalog.pg_collation co WHERE co.oid = a.attcollation),
      'type', CASE WHEN tn.nspname <> 'pg_catalog' AND pg_catalog.pg_type_is_visible(a.atttypid)
        THEN pg_catalog.quote_ident(tn.nspname) || '.' ELSE '' END || pg_catalog.format_type(a.atttypid, a.atttypmod)
    ) ORDER BY a.attnum), '[]')
    FROM pg_catalog.pg_attribute a
    JOIN pg_catalog.pg_type ty ON ty.oid = a.atttypid JOIN pg_catalog.pg_namespace tn ON tn.oid = ty.typnamespace
    WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped) AS columns,
  (SELECT coalesce(json_agg(json_build_object(
      'name', k.conname, 'columns', ${columnNames('k.conkey', 'k.conrelid')},
      'references', json_build_array(fn.nspname, f.relname), 'referencedColumns', ${columnNames('k.confkey', 'k.confrelid')},
      'onDelete', k.confdeltype) ORDER BY k.conname), '[]')
    FROM pg_catalog.pg_constraint k
    JOIN pg_catalog.pg_class f ON f.oid = k.confrelid JOIN pg_catalog.pg_namespace fn ON fn.oid = f.relnamespace
    WHERE k.conrelid = c.oid AND k.contype = 'f'
      -- A key that points at a partitioned table has one more row for each of its partitions: the same key.
      AND NOT EXISTS (SELECT FROM pg_catalog.pg_constraint u WHERE u.oid = k.conparentid AND u.conrelid = k.conrelid)
  ) AS "foreignKeys",
  (SELECT coalesce(json_agg(json_build_object(
      'name', ic.relname, 'primary', i.indisprimary, 'partialOrExpression', i.indpred IS NOT NULL OR i.indexprs IS NOT NULL,
      'columns', ${columnNames('(i.indkey::int2[])[0:i.indnkeyatts - 1]', 'i.indrelid')}) ORDER BY ic.relname), '[]')
    FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class ic ON ic.oid = i.indexrelid
    WHERE i.indrelid = c.oid AND i.indisunique) AS "uniqueIndexes",
  (SELECT coalesce(json_agg(${columnNames('(i.indkey::int2[])[0:i.indnkeyatts - 1]', 'i.indrelid')}), '[]')
    FROM pg_catalog.pg_index i WHERE i.indrelid = c.oid AND i.indpred IS NULL AND i.indisvalid) AS "indexes",
  (SELECT coalesce(json_agg(json_build_object('name', g.tgname, 'enabled', g.tgenabled) ORDER BY g.tgname), '[]')
    FROM pg_catalog.pg_trigger g WHERE g.tgrelid = c.oid AND NOT g.tgisinternal) AS triggers
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p') AND ${schemas} AND ${notOfExtension}
ORDER BY 1, 2`;

export const tablesQuery = tablesIn(userSchema);
export const ownTablesQuery = tablesIn(ownSchema);

export const sequencesQuery = `
SELECT n.nspname AS schema, c.relname AS relation, s.data_type::text AS type, s.increment_by::text AS increment,
  s.last_value::text AS "lastValue", s.start_value::text AS "startValue", s.max_value::text AS "maxValue", s.cycle,
  d.owner
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_sequences s ON s.schemaname = n.nspname AND s.sequencename = c.relname
LEFT JOIN LATERAL (
  -- The column that owns it (serial, identity) before one whose default merely draws from it.
  SELECT json_build_array(tn.nspname, t.relname, a.attname) AS owner FROM (
    SELECT d.refobjid AS relid, d.refobjsubid AS attnum, 0 AS rank FROM pg_catalog.pg_depend d
    WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = c.oid
      AND d.refclassid = 'pg_catalog.pg_class'::regclass AND d.deptype IN ('a', 'i')
    UNION ALL
    SELECT ad.adrelid, ad.adnum, 1 FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_attrdef ad ON ad.oid = d.objid
    WHERE d.classid = 'pg_catalog.pg_attrdef'::regclass AND d.refclassid = 'pg_catalog.pg_class'::regclass AND d.refobjid = c.oid
  ) u
  JOIN pg_catalog.pg_class t ON t.oid = u.relid JOIN pg_catalog.pg_namespace tn ON tn.oid = t.relnamespace
  JOIN pg_catalog.pg_attribute a ON a.attrelid = u.relid AND a.attnum = u.attnum
  ORDER BY u.rank, t.relispartition, t.oid LIMIT 1
) d ON true
WHERE c.relkind = 'S' AND ${userSchema} AND ${notOfExtension}
ORDER BY 1, 2`;
