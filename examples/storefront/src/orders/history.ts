/** Reads the copy of everybody's orders in sum, and of when it is: one transaction, so that both belong together. */
import { sql } from 'kysely';
import type { Database } from '../database/connect.ts';

export type OrderHistory = {
  /** ISO 8601. What was ordered later is not in it. */
  readonly asOf: string;
  /** False: orders of a data center that could not be asked may be missing. */
  readonly complete: boolean;
  /** Without those that were cancelled. */
  readonly orders: number;
  /** US cents. */
  readonly total: number;
  /** ISO 8601; null when there was none. */
  readonly lastAt: string | null;
};

/** Null: there is no copy yet. */
export function readHistory(db: Database, account: string): Promise<OrderHistory | null> {
  return db
    .transaction()
    .setIsolationLevel('repeatable read')
    .execute(async (trx) => {
      const copy = await sql<{ asOf: Date; complete: boolean }>`
        SELECT as_of AS "asOf", complete FROM lanekeeper.copy_state('order_history')`.execute(trx);
      const [made] = copy.rows;
      if (made === undefined) return null;
      const found = await trx
        .selectFrom('order_history')
        .select(['orders', 'cents', 'last_at'])
        .where('account_id', '=', account)
        .executeTakeFirst();
      return {
        asOf: made.asOf.toISOString(),
        complete: made.complete,
        orders: found?.orders ?? 0,
        total: found?.cents ?? 0,
        lastAt: found?.last_at.toISOString() ?? null,
      };
    });
}
