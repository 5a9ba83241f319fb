/** Reads orders. */
import { sql } from 'kysely';
import type { Reader } from '../database/connect.ts';
import type { OrderStatus } from '../database/tables.ts';
import { type Payment, paymentOf } from '../payment/payment.ts';

export type OrderLine = {
  readonly sku: string;
  readonly name: string;
  readonly quantity: number;
  /** US cents: each, and all of them. */
  readonly price: number;
  readonly total: number;
};

export type Order = {
  readonly id: string;
  readonly account: string;
  readonly status: OrderStatus;
  readonly note: string;
  /** US cents. */
  readonly total: number;
  readonly revision: number;
  readonly placedIn: string;
  /** ISO 8601. */
  readonly placedAt: string;
  readonly lines: readonly OrderLine[];
  readonly payment: Payment;
};

/** The latest first. */
export function listOrders(db: Reader, account: string): Promise<Order[]> {
  return select(db, 'account_id', account);
}

export async function readOrder(db: Reader, id: string): Promise<Order | null> {
  return (await select(db, 'id', id))[0] ?? null;
}

/** The end of an order's id: what its page shows, and what customers read out on the telephone. */
export const calledPattern = /^[0-9A-HJKMNP-TV-Z]{8}$/;

/** The account of the order with that number; null when there is none, or (once in 10¹²) more than one. */
export async function findCalledOrder(db: Reader, called: string): Promise<string | null> {
  const rows = await db
    .selectFrom('orders')
    .select('account_id')
    .where(sql<string>`right(id, 8)`, '=', called)
    .limit(2)
    .execute();
  return rows.length === 1 ? rows[0]!.account_id : null;
}

async function select(db: Reader, column: 'id' | 'account_id', value: string): Promise<Order[]> {
  const rows = await db
    .selectFrom('orders')
    .selectAll()
    .where(column, '=', value)
    .orderBy('placed_at', 'desc')
    .orderBy('id', 'desc')
    .execute();
  if (rows.length === 0) return [];
  const lines = await db
    .selectFrom('order_lines')
    .select(['order_id', 'sku', 'name', 'price', 'quantity'])
    .where(
      'order_id',
      'in',
      rows.map((row) => row.id),
    )
    .orderBy('id')
    .execute();
  const steps = await db
    .selectFrom('payments')
    .select(['order_id', 'amount', 'state', 'attempts', 'problem', 'receipt', 'settled_at'])
    .where(
      'order_id',
      'in',
      rows.map((row) => row.id),
    )
    .orderBy('step')
    .execute();
  return rows.map((row) => ({
    id: row.id,
    account: row.account_id,
    status: row.status,
    note: row.note,
    total: row.total,
    revision: row.revision,
    placedIn: row.placed_in,
    placedAt: row.placed_at.toISOString(),
    lines: lines
      .filter((line) => line.order_id === row.id)
      .map(({ order_id, ...line }) => ({ ...line, total: line.price * line.quantity })),
    payment: paymentOf(steps.filter((step) => step.order_id === row.id)),
  }));
}
