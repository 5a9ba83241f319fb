/**
 * Brings the database of one data center to the present schema and lets the application use it. `DATABASE_URL` is the
 * owner's. Run in every data center; safe to repeat.
 */
import { sql } from 'kysely';
import pg from 'pg';
import { connect } from './database/connect.ts';
import { grant, migrate } from './database/migrate.ts';
import { applicationRole, ownerUrl } from './database/place.ts';

const db = connect(new pg.Pool({ connectionString: ownerUrl(process.env), max: 1 }));
try {
  // One at a time, also where the table does not exist yet by which migrations wait for each other. It ends with the only connection.
  await sql`SELECT pg_advisory_lock(hashtext('storefront migrations'))`.execute(db);
  const ran = await migrate(db);
  const role = await applicationRole(process.env);
  await grant(db, role);
  console.log(`${ran.length === 0 ? 'The schema is up to date' : `Migrated: ${ran.join(', ')}`}; ${role} may use it.`);
} finally {
  await db.destroy();
}
