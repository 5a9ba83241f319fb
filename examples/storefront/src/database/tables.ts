/** The shop's six tables as Kysely sees them. Amounts are US cents. */
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

export const tableNames = ['accounts', 'carts', 'cart_lines', 'orders', 'order_lines', 'products'] as const;
