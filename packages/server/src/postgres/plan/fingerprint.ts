/**
 * What PostgreSQL holds under a piece's name, as a hash, so that a trigger somebody disabled or a function somebody
 * edited is seen. Works from the piece's id: `function NAME`, `trigger NAME on SCHEMA.TABLE`, `publication NAME`.
 */
import type { Queryable } from '../queryable.ts';

const queries: readonly { readonly id: RegExp; readonly sql: string }[] = [
  {
    id: /^function ([^(]+)(?:\(.*\))?$/,
    // The whole definition.
    sql: `SELECT x.id, (SELECT md5(string_agg(pg_get_functiondef(p.oid), ';' ORDER BY p.oid))
        FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
        WHERE x.parts[1] IN (quote_ident(n.nspname) || '.' || quote_ident(p.proname), n.nspname || '.' || p.proname,
          n.nspname || '."' || p.proname || '"') AND p.prokind = 'f') AS fingerprint
      FROM json_to_recordset($1) AS x(id text, parts text[])`,
  },
  {
    id: /^trigger (\S+) on ([^.]+)\.(.+)$/,
    sql: `SELECT x.id, (SELECT md5(pg_get_triggerdef(g.oid) || g.tgenabled::text)
        FROM pg_catalog.pg_trigger g JOIN pg_catalog.pg_class c ON c.oid = g.tgrelid
        JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
        WHERE g.tgname = x.parts[1] AND n.nspname = x.parts[2] AND c.relname = x.parts[3] AND NOT g.tgisinternal) AS fingerprint
      FROM json_to_recordset($1) AS x(id text, parts text[])`,
  },
  {
    id: /^publication (\S+)$/,
    sql: `SELECT x.id, (SELECT md5(concat_ws(' ', p.pubinsert, p.pubupdate, p.pubdelete, p.pubtruncate, p.pubviaroot, p.puballtables,
          (SELECT string_agg(concat_ws(' ', r.prrelid::regclass, r.prattrs, pg_get_expr(r.prqual, r.prrelid)), ',' ORDER BY r.prrelid)
            FROM pg_catalog.pg_publication_rel r WHERE r.prpubid = p.oid)))
        FROM pg_catalog.pg_publication p WHERE p.pubname = x.parts[1]) AS fingerprint
      FROM json_to_recordset($1) AS x(id text, parts text[])`,
  },
];

/** Pieces of a kind that is not looked at are absent from the answer; those that are gone are null. */
export async function readFingerprints(
  client: Queryable,
  ids: readonly string[],
): Promise<ReadonlyMap<string, string | null>> {
  const found = new Map<string, string | null>();
  for (const { id: pattern, sql } of queries) {
    const asked = ids.flatMap((id) => {
      const match = pattern.exec(id);
      return match ? [{ id, parts: match.slice(1) }] : [];
    });
    if (asked.length === 0) continue;
    const { rows } = await client.query<{ id: string; fingerprint: string | null }>(sql, [JSON.stringify(asked)]);
    for (const row of rows) found.set(row.id, row.fingerprint);
  }
  return found;
}
