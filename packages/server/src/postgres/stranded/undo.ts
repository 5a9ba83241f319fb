/**
 * In the data center that returns: takes away every row whose key a stranded transaction touched, before and after. As
 * replica, so that no trigger and no foreign key makes more of it, and under an origin of its own, so that it is not sent to
 * anybody. What belongs there comes from the home (`resend.ts`).
 */
import type { DataCenterName } from 'lanekeeper/model';
import type { Client } from 'pg';
import type { Lsn } from '../decode/index.ts';
import type { Queryable } from '../queryable.ts';
import { type DatabaseProblem, databaseProblem } from '../transaction.ts';
import type { StrandedOrigin } from './ledger.ts';

export type UndoOptions = {
  /** In the data center that returns: a session of its own, as the agent. */
  readonly client: Client;
  /** At the home, as the agent: whose ledger says what to undo. */
  readonly home: Queryable;
  readonly origin: StrandedOrigin;
  /** Asked in the transaction of each chunk: false ends it. May lock what it goes by. Default: always. */
  readonly mayGoOn?: () => Promise<boolean>;
  /** Changes at a time. Default 1000. */
  readonly changesPerChunk?: number;
};

export type UndoResult =
  | { readonly kind: 'undone'; readonly changes: number; readonly rows: number }
  | { readonly kind: 'overtaken' }
  /** A right is missing: SET on session_replication_role, or EXECUTE on pg_replication_origin_*. See docs/guides/roles.md. */
  | { readonly kind: 'refused'; readonly error: DatabaseProblem };

const undoOrigin = 'lanekeeper_undo';

/**
 * May be repeated as long as nothing has been applied since: a row that the home has sent would be taken away again.
 * Everything is on disk when it returns.
 */
export async function undoStranded(options: UndoOptions): Promise<UndoResult> {
  try {
    return await asReplica(options.client, () => undoAll(options));
  } catch (thrown) {
    const error = databaseProblem(thrown);
    if (error === null) throw thrown;
    return { kind: 'refused', error };
  }
}

/** Runs `work` on a session in which no trigger and no foreign key acts, and of whose writes no stream tells. Flushed here. */
export async function asReplica<T>(client: Client, work: () => Promise<T>): Promise<T> {
  await client.query(
    `SELECT pg_catalog.pg_replication_origin_create($1) WHERE pg_catalog.pg_replication_origin_oid($1) IS NULL`,
    [undoOrigin],
  );
  await client.query('SELECT pg_catalog.pg_replication_origin_session_setup($1)', [undoOrigin]);
  try {
    await client.query('SET session_replication_role = replica; SET synchronous_commit = local');
    return await work();
  } finally {
    await client.query('ROLLBACK').catch(() => {});
    await client.query('RESET session_replication_role; RESET synchronous_commit').catch(() => {});
    await client.query('SELECT pg_catalog.pg_replication_origin_session_reset()').catch(() => {});
  }
}

async function undoAll({ client, home, origin, mayGoOn, changesPerChunk = 1_000 }: UndoOptions): Promise<UndoResult> {
  let after: Place | null = null;
  let changes = 0;
  let rows = 0;
  for (;;) {
    const chunk: readonly TouchedKey[] = await readKeys(home, origin, after, changesPerChunk);
    const last = chunk.at(-1);
    if (last === undefined) return { kind: 'undone', changes, rows };
    // What the home has as well comes from there again, and marks that go by it come before that.
    const recorded = await successionsOf(home, chunk);
    const keys = chunk.flatMap(({ relation, key_columns, key, old_key, keep }) =>
      [key, ...(old_key === null ? [] : [old_key])].flatMap((one) =>
        relation === 'lanekeeper.succession' && recorded.includes(one[0] as string)
          ? []
          : [{ relation, key_columns, key: one, keep }],
      ),
    );
    await client.query('BEGIN');
    if (mayGoOn !== undefined && !(await mayGoOn())) {
      await client.query('ROLLBACK');
      return { kind: 'overtaken' };
    }
    const { rows: answer } = await client.query<{ undone: number }>(
      'SELECT lanekeeper.undo_rows($1::jsonb) AS undone',
      [JSON.stringify(keys)],
    );
    await client.query('COMMIT');
    rows += answer[0]?.undone ?? 0;
    changes += chunk.length;
    after = { endLsn: last.endLsn, sequence: last.sequence };
  }
}

async function successionsOf(home: Queryable, chunk: readonly TouchedKey[]): Promise<readonly string[]> {
  if (chunk.every(({ relation }) => relation !== 'lanekeeper.succession')) return [];
  const { rows } = await home.query<{ term: string }>('SELECT term::text AS term FROM lanekeeper.succession');
  return rows.map(({ term }) => term);
}

type Place = { readonly endLsn: Lsn; readonly sequence: number };

export type TouchedKey = Place & {
  readonly relation: string;
  readonly key_columns: readonly string[];
  readonly key: readonly string[];
  readonly old_key: readonly string[] | null;
  readonly account: string | null;
  /** Of a deed that was there before: the data center whose log it is, as whose the deed is left in place. */
  readonly keep: DataCenterName | null;
};

/** The keys that stranded changes touched, in commit order, from after a place on. */
export async function readKeys(
  home: Queryable,
  { dataCenter, generation }: Pick<StrandedOrigin, 'dataCenter' | 'generation'>,
  after: Place | null,
  limit: number,
): Promise<readonly TouchedKey[]> {
  const { rows } = await home.query<TouchedKey>(
    `SELECT end_lsn::text AS "endLsn", sequence, relation, key_columns, key, old_key, account,
        CASE WHEN relation = 'lanekeeper.deed' AND NOT EXISTS (SELECT FROM lanekeeper.stranded b
          WHERE b.key = s.key AND b.relation = s.relation AND b.dc = s.dc AND b.generation = s.generation AND b.kind = 'insert') THEN dc END AS keep
      FROM lanekeeper.stranded s
      WHERE dc = $1 AND generation = $2 AND purged_at IS NULL AND ($3::pg_lsn IS NULL OR (end_lsn, sequence) > ($3::pg_lsn, $4))
      ORDER BY end_lsn, sequence LIMIT $5`,
    [dataCenter, generation, after?.endLsn ?? null, after?.sequence ?? 0, limit],
  );
  return rows;
}
