/** One question to a database, on a connection of its own: drills break connections all the time. */
import { Client, type QueryResultRow } from 'pg';

/** Rows of the last statement. Throws as `pg` does, also when it takes longer than `timeoutMs`. */
export async function ask<Row extends QueryResultRow>(
  url: string,
  text: string,
  values: readonly unknown[] = [],
  timeoutMs = 30_000,
): Promise<readonly Row[]> {
  const client = new Client({
    connectionString: url,
    application_name: 'lanekeeper-drill',
    connectionTimeoutMillis: Math.min(timeoutMs, 5_000),
    query_timeout: timeoutMs,
  });
  // A connection that breaks while nobody waits for an answer is told by the next question.
  client.on('error', () => {});
  try {
    await client.connect();
    // Without values the text may hold several statements; `pg` then returns a list.
    const result = values.length === 0 ? await client.query<Row>(text) : await client.query<Row>(text, [...values]);
    const results: readonly (typeof result)[] = Array.isArray(result) ? result : [result];
    return results.at(-1)?.rows ?? [];
  } finally {
    await client.end().catch(() => {});
  }
}
