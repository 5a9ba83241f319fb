import type { Client } from 'pg';
import { inTransaction, type LockPatience, type TransactionResult } from '../transaction.ts';
import { chunkSql, type Fill, isLastChunk } from './fill.ts';

/** Runs the chunks that are left, each a transaction with the record of how far it came; `onRows` hears the sum so far. */
export async function runFill(
  client: Client,
  fill: Fill,
  patience: LockPatience,
  onRows: (rows: number) => void,
): Promise<TransactionResult<void>> {
  const sql = chunkSql(fill);
  for (;;) {
    const outcome = await inTransaction(client, () => runChunk(client, fill, sql), patience);
    if (outcome.kind !== 'committed') return outcome;
    onRows(outcome.value.rows);
    if (outcome.value.done) return { kind: 'committed', value: undefined };
  }
}

async function runChunk(client: Client, fill: Fill, sql: string): Promise<{ rows: number; done: boolean }> {
  await client.query('INSERT INTO lanekeeper.fill (id) VALUES ($1) ON CONFLICT DO NOTHING', [fill.id]);
  const { rows: states } = await client.query<{ lastKey: string[] | null; rows: number; done: boolean }>(
    'SELECT last_key AS "lastKey", rows::float8 AS rows, done_at IS NOT NULL AS done FROM lanekeeper.fill WHERE id = $1 FOR UPDATE',
    [fill.id],
  );
  const state = states[0] ?? { lastKey: null, rows: 0, done: false };
  if (state.done) return { rows: state.rows, done: true };
  const { rows } = await client.query<{ rows: number; lastKey: string[] | null }>(
    sql,
    fill.key.length === 0 ? [] : [state.lastKey],
  );
  const chunk = rows[0] ?? { rows: 0, lastKey: null };
  const done = isLastChunk(fill, chunk.rows);
  await client.query(
    `UPDATE lanekeeper.fill SET last_key = coalesce($2, last_key), rows = rows + $3,
      done_at = CASE WHEN $4 THEN clock_timestamp() END WHERE id = $1`,
    [fill.id, chunk.lastKey, chunk.rows, done],
  );
  return { rows: state.rows + chunk.rows, done };
}
