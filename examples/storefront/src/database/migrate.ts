/** Brings a database to the present schema, as the role that owns it. Safe to repeat, and when two run at once. */
import { type Migration, Migrator, sql } from 'kysely';
import * as shop from '../migrations/001-shop.ts';
import * as payments from '../migrations/002-payments.ts';
import * as orderHistory from '../migrations/003-order-history.ts';
import type { Database } from './connect.ts';
import { tableNames } from './tables.ts';

/** By name, in the order in which they run. A migration that has run somewhere is never changed. */
const migrations: Readonly<Record<string, Migration>> = {
  '001-shop': shop,
  '002-payments': payments,
  '003-order-history': orderHistory,
};

/** Returns the names of the migrations that ran. Throws what PostgreSQL said when one fails. */
export async function migrate(db: Database): Promise<readonly string[]> {
  const migrator = new Migrator({ db, provider: { getMigrations: async () => ({ ...migrations }) } });
  const { error, results } = await migrator.migrateToLatest();
  if (error !== undefined) throw error;
  return (results ?? []).filter((result) => result.status === 'Success').map((result) => result.migrationName);
}

/** Rows, not tables: the application owns nothing, so that it cannot pass the fence. */
export async function grant(db: Database, role: string): Promise<void> {
  const application = sql.id(role);
  await sql`GRANT USAGE ON SCHEMA public TO ${application}`.execute(db);
  for (const name of tableNames) {
    await sql`GRANT SELECT, INSERT, UPDATE, DELETE ON ${sql.table(name)} TO ${application}`.execute(db);
  }
  for (const name of ['cart_lines', 'order_lines']) {
    const sequence = await sql<{ name: string }>`SELECT pg_get_serial_sequence(${name}, 'id') AS name`.execute(db);
    await sql`GRANT USAGE ON SEQUENCE ${sql.raw(sequence.rows[0]!.name)} TO ${application}`.execute(db);
  }
}
