import { Kysely, PostgresDialect, type Transaction } from 'kysely';
import type { Pool } from 'pg';
import type { ShopTables } from './tables.ts';

export type Database = Kysely<ShopTables>;
/** Either the database or a transaction in it. */
export type Reader = Database | Transaction<ShopTables>;
export type Writer = Transaction<ShopTables>;

/** Kysely on any pool of pg's shape: Lanekeeper's in the shop, plain pg's for migrations. `destroy()` ends the pool. */
export function connect(pool: Pool): Database {
  return new Kysely<ShopTables>({ dialect: new PostgresDialect({ pool }) });
}
