/** The shop's seven tables as Kysely sees them. Amounts are US cents. */
import type { ColumnType, Generated } from 'kysely';

/** PostgreSQL's bigint, which does not fit a double: read as text. Drawn by the database, strided by data center. */
type LineId = ColumnType<string, never, never>;
type Moment = ColumnType<Date, Date | undefined, Date>;

export type ShopTables = {
  accounts: {
    id: string;
    /** Null for a guest. Lower case. */
    email: string | null;
    name: string;
    /** Null for a guest. */
    password_hash: string | null;
    /** For a guest: the account that took over its cart. */
    merged_into: string | null;
    created_at: Generated<Date>;
    updated_at: Moment;
  };
  carts: { id: string; account_id: string; updated_at: Moment };
  cart_lines: { id: LineId; cart_id: string; sku: string; quantity: number };
  orders: {
    id: string;
    account_id: string;
    status: ColumnType<OrderStatus, OrderStatus | undefined, OrderStatus>;
    note: string;
    total: number;
    /** Rises with every change, so that two people who edit the same order notice each other. */
    revision: Generated<number>;
    /** The data center that took the order. */
    placed_in: string;
    placed_at: Generated<Date>;
    updated_at: Moment;
  };
  /** Name and price as they were when it was ordered. */
  order_lines: { id: LineId; order_id: string; sku: string; name: string; price: number; quantity: number };
  /** Money that is to move, or has: the outbox (`payment/outbox.ts`). */
  payments: {
    /** The order's id for its charge; `<order>.<step>` for what changes it later. The payment service's idempotency key. */
    id: string;
    order_id: string;
    account_id: string;
    /** 1 for the charge; the order's revision for what changes it later. An order's steps are done in this order. */
    step: number;
    /** Below zero: given back. */
    amount: number;
    state: ColumnType<PaymentState, PaymentState | undefined, PaymentState>;
    /** How often the payment service was asked, or was about to be. */
    attempts: Generated<number>;
    /** How often it gave an answer that we do not understand. */
    failures: Generated<number>;
    /** Not before then. */
    due_at: Moment;
    /** What hindered it last. */
    problem: string | null;
    /** The payment service's number. */
    receipt: string | null;
    /** The data center that had it done. */
    settled_in: string | null;
    settled_at: Date | null;
  };
  /** A copy, made by Lanekeeper as of a moment; the shop only reads it. */
  order_history: { account_id: string; orders: number; cents: number; last_at: Date };
  products: {
    sku: string;
    name: string;
    category: string;
    price: number;
    summary: string;
    description: string;
    size: string;
    made_in: string;
    stock: string;
    /** Order on the shelf. */
    position: number;
  };
};

export type OrderStatus = 'placed' | 'cancelled';

/** `declined`: the service said no and moved nothing. `set-aside`: it waits for a person. `withdrawn`: not wanted any more. */
export type PaymentState = 'due' | 'done' | 'declined' | 'set-aside' | 'withdrawn';

export const tableNames = [
  'accounts',
  'carts',
  'cart_lines',
  'orders',
  'order_lines',
  'payments',
  'order_history',
  'products',
] as const;
