/**
 * Transactions that are on disk here when they end, and wait for nobody else; and transactions that take locks on a living
 * database: each waits for a lock only briefly, so that nobody queues behind it for long, and comes back later. (A waiting
 * ACCESS EXCLUSIVE stops every reader that comes after it.)
 */
import type { Client } from 'pg';
import type { Queryable } from './queryable.ts';

export type LockPatience = {
  /** `lock_timeout` of one try. Default 1000. */
  readonly lockTimeoutMs?: number;
  /** Tries go on for this long altogether. Default 60000. */
  readonly totalMs?: number;
  readonly onRetry?: (event: { readonly attempt: number; readonly code: string; readonly waitMs: number }) => void;
};

export type TransactionResult<T> =
  | { readonly kind: 'committed'; readonly value: T }
  /** The locks could not be had in time. Nothing was changed. */
  | { readonly kind: 'blocked'; readonly attempts: number }
  /** PostgreSQL refused. Nothing was changed. */
  | { readonly kind: 'failed'; readonly error: DatabaseProblem };

export type DatabaseProblem = {
  /** SQLSTATE. */
  readonly code: string;
  readonly message: string;
  readonly detail: string | null;
  readonly hint: string | null;
};

/** lock_not_available, deadlock_detected, serialization_failure: worth another try, unchanged. */
const retryable = new Set(['55P03', '40P01', '40001']);

/** Runs `work` in a transaction that is on disk here when this resolves, whatever the role's default is, and waits for nobody else. */
export async function committedHere<T>(client: Queryable, work: () => Promise<T>): Promise<T> {
  await client.query('BEGIN; SET LOCAL synchronous_commit = local');
  try {
    const value = await work();
    await client.query('COMMIT');
    return value;
  } catch (error) {
    await client.query('ROLLBACK').catch(() => {});
    throw error;
  }
}

/** Runs `work` in a transaction, again while only locks stand in the way. Lost connections and bugs are thrown. */
export async function inTransaction<T>(
  client: Client,
  work: () => Promise<T>,
  patience: LockPatience = {},
): Promise<TransactionResult<T>> {
  const deadline = Date.now() + (patience.totalMs ?? 60_000);
  for (let attempt = 1; ; attempt += 1) {
    try {
      await client.query('BEGIN');
      await client.query(`SET LOCAL lock_timeout = ${Math.floor(patience.lockTimeoutMs ?? 1_000)}`);
      const value = await work();
      await client.query('COMMIT');
      return { kind: 'committed', value };
    } catch (thrown) {
      const error = databaseProblem(thrown);
      if (!error) throw thrown;
      await client.query('ROLLBACK');
      if (!retryable.has(error.code)) return { kind: 'failed', error };
      // Random, so that two that hinder each other do not meet again.
      const waitMs = Math.min(100 * 2 ** Math.min(attempt, 5), 2_000) * (0.5 + Math.random());
      if (Date.now() + waitMs > deadline) return { kind: 'blocked', attempts: attempt };
      patience.onRetry?.({ attempt, code: error.code, waitMs });
      await new Promise((resolve) => setTimeout(resolve, waitMs));
    }
  }
}

/** What PostgreSQL said, or null when `thrown` did not come from it (or came because the connection is gone). */
export function databaseProblem(thrown: unknown): DatabaseProblem | null {
  const { code, message, detail, hint, severity } = thrown as Partial<Record<string, unknown>>;
  if (typeof code !== 'string' || !/^[0-9A-Z]{5}$/.test(code) || severity !== 'ERROR') return null;
  return {
    code,
    message: String(message),
    detail: typeof detail === 'string' ? detail : null,
    hint: typeof hint === 'string' ? hint : null,
  };
}
