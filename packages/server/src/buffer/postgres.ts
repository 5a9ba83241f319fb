/**
 * The log as a table of the local PostgreSQL: sql/000010.sql. A write is acknowledged when its transaction is, and read by
 * number; writes to one key have rising numbers, because appending holds the key.
 */
import type { DataCenterName } from 'lanekeeper/model';
import type { PoolClient } from 'pg';
import type { Asker } from './aside.ts';
import type { Appended, BufferLog, GivenWrite, Lag, LoggedWrite } from './log.ts';
import { localPool } from './pool.ts';
import { isFault, messageOf } from './sqlstate.ts';

export type PostgresLogOptions = {
  /** The local database, as a role that may use every function of Lanekeeper: the agent's. */
  readonly url: string;
  readonly here: DataCenterName;
  /** Default 4. */
  readonly connections?: number;
};

export function postgresLog({ url, here, connections = 4 }: PostgresLogOptions): BufferLog {
  const pool = localPool(url, `lanekeeper buffer ${here}`, connections);
  return {
    name: 'postgres',
    async append({ table, row, remove }: GivenWrite): Promise<Appended> {
      let client: PoolClient;
      try {
        client = await pool.connect();
      } catch (error) {
        return { kind: 'unavailable', reason: messageOf(error) };
      }
      try {
        const { rows } = await client.query<{ of_number: string }>(
          'SELECT of_number FROM lanekeeper.buffer_append($1, $2, $3)',
          [table, JSON.stringify(row), remove],
        );
        client.release();
        return { kind: 'buffered', durability: 'local', position: rows[0]?.of_number ?? '' };
      } catch (error) {
        const fault = isFault(error);
        client.release(!fault);
        if (fault) return { kind: 'refused', state: error.code, message: error.message };
        return { kind: 'unknown', reason: messageOf(error) };
      }
    },
    async read(target, limit) {
      const { rows } = await pool.query<LoggedWrite>(
        `SELECT l.number AS position, coalesce(l.made_as, l.number) AS number, coalesce(l.made_in, $3) AS dc, l.relation, l.key, l.image, l.stamp, l.at
           FROM lanekeeper.buffer_waiting w JOIN lanekeeper.buffer_log l USING (number)
           WHERE w.target = $1 AND w.not_before <= pg_catalog.clock_timestamp() ORDER BY w.number LIMIT $2`,
        [target, limit, here],
      );
      return rows;
    },
    async ack(target, positions) {
      await pool.query('SELECT lanekeeper.buffer_ack($1, $2::bigint[])', [target, positions]);
    },
    async giveBack() {},
    async lag() {
      const { rows } = await pool.query<{ target: string; waiting: string; oldest_at: Date }>(
        'SELECT target, pg_catalog.sum(waiting) AS waiting, pg_catalog.min(oldest_at) AS oldest_at FROM lanekeeper.buffer_lag() GROUP BY target',
      );
      return new Map(
        rows.map(({ target, waiting, oldest_at }): [string, Lag] => [
          target,
          { waiting: Number(waiting), oldestAt: oldest_at },
        ]),
      );
    },
    async close() {
      await pool.end();
    },
  };
}

/** Sends what a table holds again to one data center, each row with its version. Returns how many rows. */
export async function resend(client: Asker, table: string, target: DataCenterName): Promise<number> {
  const { rows } = await client.query<{ sent: string }>('SELECT lanekeeper.buffer_resend($1, $2) AS sent', [
    table,
    target,
  ]);
  return Number(rows[0]?.sent);
}
