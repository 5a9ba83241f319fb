/** What the log does not say of a relation: in which order its key has its columns. Read from today's catalog. */
import type { Queryable } from '../queryable.ts';
import type { RelationMessage } from './messages.ts';

/**
 * The columns of the replica identity's index, or of the primary key for `default` and `full`, in its order. Null when
 * the relation is gone or has no such index.
 */
export async function readKey(client: Queryable, relation: RelationMessage): Promise<readonly string[] | null> {
  if (relation.identity === 'nothing') return null;
  const { rows } = await client.query<{ name: string }>(
    `SELECT a.attname AS name FROM pg_catalog.pg_index i
        CROSS JOIN LATERAL unnest(i.indkey::int2[]) WITH ORDINALITY AS k (attnum, place)
        JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
      WHERE i.indrelid = $1 AND k.place <= i.indnkeyatts AND CASE WHEN $2 THEN i.indisreplident ELSE i.indisprimary END
      ORDER BY k.place`,
    [relation.oid, relation.identity === 'index'],
  );
  return rows.length === 0 ? null : rows.map((row) => row.name);
}
