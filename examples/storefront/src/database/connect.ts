import { Kysely, PostgresDialect, type Transaction } from 'kysely';
import type { Pool } from 'pg';
import type { ShopTables } from './tables.ts';

export type Database = Kysely<ShopTables>;
/** Either the database or a transaction in it. */
export type Reader = Database | Transaction<ShopTables>;
export type Writer = Transaction<ShopTables>;

/**
 * Kysely on any pool of pg's shape: Lanekeeper's in the shop, plain pg's for migrations. `destroy()` ends the pool. A
 * connection that breaks is told to `onBroken` and replaced; without a listener it would end the process.
 */
export function connect(pool: Pool, onBroken: (error: Error) => void = () => {}): Database {
  pool.on('error', onBroken);
  // While a client is out of the pool, nobody else listens to it. Whoever uses it is told by the failing query.
  pool.on('connect', (client) => client.on('error', () => {}));
  return new Kysely<ShopTables>({ dialect: new PostgresDialect({ pool }) });
}
