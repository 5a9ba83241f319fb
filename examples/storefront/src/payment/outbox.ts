/**
 * The outbox of payments. A row is written with the order it belongs to, so there is no order without it and none the
 * other way round; it is homed with the account, so it moves and fails over with the order.
 *
 * 1. A row is claimed, and that is committed, before the payment service hears of it. The claim has the durability of
 *    the table: where it has reached the other data center, the order has as well.
 * 2. The payment service is asked outside of any transaction, with a key that never changes: it may be asked again.
 * 3. Steps of one order are done in order; one that waits for a person holds up those after it.
 */
import { sql } from 'kysely';
import type { Database, Reader, Writer } from '../database/connect.ts';

export type Due = { readonly id: string; readonly account: string };

export type Claimed = {
  /** The idempotency key. */
  readonly id: string;
  readonly order: string;
  readonly account: string;
  /** US cents; below zero: to be given back. */
  readonly amount: number;
  /** Answers that were not understood, so far. */
  readonly failures: number;
};

export type Settlement =
  | { readonly kind: 'done'; readonly receipt: string; readonly dataCenter: string }
  | { readonly kind: 'declined' | 'set-aside'; readonly problem: string }
  | { readonly kind: 'later'; readonly problem: string; readonly afterMs: number; readonly failed: boolean };

/** In the transaction of the order. */
export async function queueCharge(
  trx: Writer,
  { order, account, amount }: { readonly order: string; readonly account: string; readonly amount: number },
): Promise<void> {
  if (amount === 0) return;
  const row = { id: order, order_id: order, account_id: account, step: 1, amount, ...untouched };
  await trx.insertInto('payments').values(row).execute();
}

const untouched = { problem: null, receipt: null, settled_in: null, settled_at: null };

/**
 * Makes what is charged for an order come to `total`, in the transaction that changes the order to `revision`. What the
 * payment service may have heard of is left as it is, and the difference is queued.
 */
export async function chargeInstead(
  trx: Writer,
  { order, revision, total }: { readonly order: string; readonly revision: number; readonly total: number },
): Promise<void> {
  const rows = await trx
    .selectFrom('payments')
    .select(['id', 'account_id', 'amount', 'state', 'attempts'])
    .where('order_id', '=', order)
    .orderBy('step')
    .forUpdate()
    .execute();
  const account = rows[0]?.account_id;
  // An order of the time before payments: there is an invoice in its box.
  if (account === undefined) return;
  const open = rows.find((row) => row.state === 'due' && row.attempts === 0);
  const counted = rows.filter((row) => row !== open && ['due', 'done', 'set-aside'].includes(row.state));
  const amount = total - counted.reduce((sum, row) => sum + row.amount, 0);
  const withdrawn = rows.filter((row) => row.state === 'declined' || (row === open && amount === 0));
  if (withdrawn.length > 0) {
    const ids = withdrawn.map((row) => row.id);
    await trx.updateTable('payments').set({ state: 'withdrawn' }).where('id', 'in', ids).execute();
  }
  if (amount === 0) return;
  if (open !== undefined) {
    await trx.updateTable('payments').set({ amount }).where('id', '=', open.id).execute();
    return;
  }
  const row = { id: `${order}.${revision}`, order_id: order, account_id: account, step: revision, amount };
  await trx
    .insertInto('payments')
    .values({ ...row, ...untouched })
    .execute();
}

/** What is due of the accounts that are at home here, the longest due first. */
export async function listDue(db: Database, here: string, limit: number): Promise<Due[]> {
  const { rows } = await sql<Due>`
    SELECT p.id, p.account_id AS account FROM payments p, lanekeeper.where_is(p.account_id) w
     WHERE p.state = 'due' AND p.due_at <= now() AND w.home = ${here} AND w.accepted
       AND NOT EXISTS (SELECT FROM payments e
                        WHERE e.order_id = p.order_id AND e.step < p.step AND e.state IN ('due', 'set-aside'))
     ORDER BY p.due_at LIMIT ${limit}`.execute(db);
  return rows;
}

/** Null: another instance has it, or it is not due any more. */
export async function claim(trx: Writer, id: string, forMs: number): Promise<Claimed | null> {
  const free = await trx
    .selectFrom('payments')
    .select('id')
    .where('id', '=', id)
    .where('state', '=', 'due')
    .where('due_at', '<=', sql<Date>`now()`)
    .forUpdate()
    .skipLocked()
    .executeTakeFirst();
  if (free === undefined) return null;
  const claimed = await trx
    .updateTable('payments')
    .set((eb) => ({ attempts: eb('attempts', '+', 1), due_at: inMs(forMs) }))
    .where('id', '=', id)
    .returning(['id', 'order_id', 'account_id', 'amount', 'failures'])
    .executeTakeFirstOrThrow();
  const { order_id, account_id, ...rest } = claimed;
  return { ...rest, order: order_id, account: account_id };
}

/** Writes down what came of it. What was done stays done, whoever else tried meanwhile. */
export async function settle(trx: Writer, id: string, settlement: Settlement): Promise<void> {
  const open = trx.updateTable('payments').where('id', '=', id);
  switch (settlement.kind) {
    case 'done':
      await open
        .where('state', 'in', ['due', 'set-aside'])
        .set({ state: 'done', receipt: settlement.receipt, settled_in: settlement.dataCenter, problem: null })
        .set({ settled_at: sql<Date>`now()` })
        .execute();
      return;
    case 'declined':
    case 'set-aside':
      await open.where('state', '=', 'due').set({ state: settlement.kind, problem: settlement.problem }).execute();
      return;
    case 'later':
      await open
        .where('state', '=', 'due')
        .set({ problem: settlement.problem, due_at: inMs(settlement.afterMs) })
        .$if(settlement.failed, (update) => update.set((eb) => ({ failures: eb('failures', '+', 1) })))
        .execute();
  }
}

function inMs(ms: number) {
  return sql<Date>`now() + ${ms} * interval '1 millisecond'`;
}

export type SetAside = {
  readonly id: string;
  readonly order: string;
  readonly account: string;
  readonly amount: number;
  readonly state: 'declined' | 'set-aside';
  readonly attempts: number;
  readonly problem: string;
};

/** Payments of all accounts that wait for a person, as far as is known here. */
export async function listSetAside(db: Reader, limit: number): Promise<SetAside[]> {
  const rows = await db
    .selectFrom('payments')
    .select(['id', 'order_id', 'account_id', 'amount', 'state', 'attempts', 'problem'])
    .where('state', 'in', ['declined', 'set-aside'])
    .orderBy('due_at')
    .limit(limit)
    .execute();
  return rows.map(({ order_id, account_id, state, problem, ...row }) => ({
    ...row,
    state: state === 'declined' ? state : 'set-aside',
    order: order_id,
    account: account_id,
    problem: problem ?? '',
  }));
}

/** Somebody has looked into what hindered the payments of an order. Returns how many are due again. */
export async function tryAgain(trx: Writer, order: string): Promise<number> {
  const result = await trx
    .updateTable('payments')
    .set({ state: 'due', failures: 0, due_at: sql<Date>`now()` })
    .where('order_id', '=', order)
    .where('state', 'in', ['declined', 'set-aside'])
    .executeTakeFirst();
  return Number(result.numUpdatedRows);
}
