/** Connections to the local database that break without ending the process. */
import pg from 'pg';

export function localPool(url: string, applicationName: string, max: number): pg.Pool {
  const pool = new pg.Pool({
    connectionString: url,
    max,
    connectionTimeoutMillis: 3_000,
    query_timeout: 10_000,
    application_name: applicationName.slice(0, 63),
    options: '-c search_path=pg_catalog',
  });
  pool.on('error', () => {});
  // One that is at work is the worker's business, whose query fails.
  pool.on('connect', (client) => client.on('error', () => {}));
  return pool;
}
