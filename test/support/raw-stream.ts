/** Two plain databases in two clusters, and one stream of PostgreSQL's own between them: nothing of Lanekeeper. */
import { expect } from 'vitest';
import { runSql, type TestCluster, type TestDatabase } from './clusters.ts';

export type RawStream = {
  readonly from: TestDatabase;
  readonly to: TestDatabase;
  /** As superuser, there or here. */
  atFrom<Row = Record<string, unknown>>(sql: string, values?: readonly unknown[]): Promise<Row[]>;
  atTo<Row = Record<string, unknown>>(sql: string, values?: readonly unknown[]): Promise<Row[]>;
  /** Waits until everything that is committed at `from` now is confirmed. */
  settled(): Promise<void>;
  /** How often applying has failed so far. */
  errors(): Promise<number>;
  /** Position of the origin, and what `from` has been told. */
  positions(): Promise<{ readonly progress: string | null; readonly confirmed: string }>;
  /** Process of the worker that applies; null when there is none. */
  worker(): Promise<number | null>;
  drop(): Promise<void>;
};

/** Publication `p` (of all tables, unless said), slot and subscription named by `subscriptionOf`. */
export async function rawStream(
  clusters: readonly [TestCluster, TestCluster],
  schema: string,
  options: { readonly publication?: string; readonly subscription?: string } = {},
): Promise<RawStream> {
  const [from, to] = await Promise.all(clusters.map((cluster) => cluster.database()));
  if (!from || !to) throw new Error('two clusters');
  const atFrom: RawStream['atFrom'] = (sql, values) => runSql(from.urls.superuser, sql, values);
  const atTo: RawStream['atTo'] = (sql, values) => runSql(to.urls.superuser, sql, values);
  await Promise.all([atFrom(schema), atTo(schema)]);
  await atFrom(`CREATE PUBLICATION p ${options.publication ?? 'FOR ALL TABLES'}`);
  const name = `s_${from.name}`;
  await atTo(`CREATE SUBSCRIPTION ${name} CONNECTION '${from.urls.superuser}' PUBLICATION p
    WITH (copy_data = false, origin = none, synchronous_commit = local ${options.subscription ?? ''})`);
  const stream: RawStream = {
    from,
    to,
    atFrom,
    atTo,
    async settled() {
      const [at] = await atFrom<{ lsn: string }>('SELECT pg_current_wal_lsn()::text AS lsn');
      await expect
        .poll(
          async () =>
            (
              await atFrom('SELECT FROM pg_replication_slots WHERE slot_name = $1 AND confirmed_flush_lsn >= $2', [
                name,
                at?.lsn,
              ])
            ).length,
          { timeout: 25_000, interval: 50, message: 'everything is confirmed' },
        )
        .toBe(1);
    },
    async errors() {
      const [row] = await atTo<{ n: string }>(
        'SELECT apply_error_count AS n FROM pg_stat_subscription_stats WHERE subname = $1',
        [name],
      );
      return Number(row?.n);
    },
    async positions() {
      const [there] = await atTo<{ progress: string | null }>(
        `SELECT pg_replication_origin_progress('pg_' || oid, true)::text AS progress FROM pg_subscription WHERE subname = $1`,
        [name],
      );
      const [here] = await atFrom<{ confirmed: string }>(
        'SELECT confirmed_flush_lsn::text AS confirmed FROM pg_replication_slots WHERE slot_name = $1',
        [name],
      );
      return { progress: there?.progress ?? null, confirmed: here?.confirmed ?? '' };
    },
    async worker() {
      const [row] = await atTo<{ pid: number | null }>(
        `SELECT pid FROM pg_stat_subscription WHERE subname = $1 AND relid IS NULL AND leader_pid IS NULL`,
        [name],
      );
      return row?.pid ?? null;
    },
    async drop() {
      await atTo(`ALTER SUBSCRIPTION ${name} DISABLE`);
      await atTo(`ALTER SUBSCRIPTION ${name} SET (slot_name = NONE)`);
      await atTo(`DROP SUBSCRIPTION ${name}`);
      await expect
        .poll(() => atFrom('SELECT FROM pg_replication_slots WHERE slot_name = $1 AND active', [name]), {
          timeout: 10_000,
        })
        .toHaveLength(0);
      await atFrom(`SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = $1`, [name]);
    },
  };
  await expect.poll(() => stream.worker(), { timeout: 10_000 }).not.toBeNull();
  return stream;
}

export const subscriptionOf = (stream: RawStream): string => `s_${stream.from.name}`;
