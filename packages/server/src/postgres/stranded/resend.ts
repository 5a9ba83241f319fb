/**
 * At a row's home: sends the row as it is, or that there is none, to those who read the homed stream. Each key is a
 * transaction of its own, as one that held many rows could be in the way of the application.
 *
 * A row is held while it is sent, so what is written later also arrives later. A row that is absent cannot be held: it is
 * looked at again after its absence was sent, and sent if somebody has made it meanwhile.
 */
import type { Client } from 'pg';
import type { Lsn } from '../decode/index.ts';
import type { Queryable } from '../queryable.ts';
import { databaseProblem } from '../transaction.ts';
import type { StrandedOrigin } from './ledger.ts';
import { readKeys } from './undo.ts';

/** A row by its key, values as text. */
export type RowKey = { readonly columns: readonly string[]; readonly values: readonly string[] };

/** `sent`, `absent`: told the others. Otherwise nothing was sent, and why. */
export type ResendOutcome = 'sent' | 'absent' | 'elsewhere' | 'unknown-account' | 'no-such-table' | 'busy';

/** Worth another try, unchanged: lock_not_available, deadlock_detected, serialization_failure. */
const retryable = new Set(['55P03', '40P01', '40001']);
const triesMax = 20;
const lockTimeoutMs = 2_000;

/**
 * Sends one row. `client`: as the agent, not in a transaction, READ COMMITTED. `account`: whose the row was, where it is
 * gone and was known. Not waited for: it is in the log when this returns, after `client`'s own synchronous_commit.
 */
export async function resendRow(
  client: Queryable,
  relation: string,
  key: RowKey,
  account: string | null = null,
): Promise<ResendOutcome> {
  let lastAbsent = false;
  for (let attempt = 0; attempt < triesMax; attempt += 1) {
    if (lastAbsent && !(await exists(client, relation, key))) return 'absent';
    const outcome = await resendOnce(client, relation, key, account);
    if (outcome !== 'absent' && outcome !== 'busy') return outcome;
    lastAbsent = outcome === 'absent';
    if (outcome === 'busy') await new Promise((resolve) => setTimeout(resolve, 10 * 2 ** Math.min(attempt, 6)));
  }
  return 'busy';
}

async function resendOnce(
  client: Queryable,
  relation: string,
  key: RowKey,
  account: string | null,
): Promise<ResendOutcome> {
  try {
    await client.query(`BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL lock_timeout = ${lockTimeoutMs}`);
    const { rows } = await client.query<{ outcome: ResendOutcome }>(
      'SELECT lanekeeper.resend($1, $2, $3, $4) AS outcome',
      [relation, key.columns, key.values, account],
    );
    await client.query('COMMIT');
    return rows[0]?.outcome ?? 'busy';
  } catch (thrown) {
    const problem = databaseProblem(thrown);
    await client.query('ROLLBACK').catch(() => {});
    if (problem !== null && retryable.has(problem.code)) return 'busy';
    throw thrown;
  }
}

async function exists(client: Queryable, relation: string, key: RowKey): Promise<boolean> {
  const { rows } = await client.query<{ there: boolean }>(
    'SELECT columns IS NOT NULL AS there FROM lanekeeper.read_row($1, $2, $3, false)',
    [relation, key.columns, key.values],
  );
  return rows[0]?.there === true;
}

export type ResendReport = {
  /** Keys: each once, or a few times where there are very many. */
  readonly keys: number;
  readonly sent: number;
  readonly absent: number;
  /** Not sent, and why; at most 100 of them. */
  readonly problems: readonly { readonly relation: string; readonly key: RowKey; readonly outcome: ResendOutcome }[];
  /** Once the other data center has applied the homed stream up to here, it has all of them. */
  readonly upTo: Lsn;
};

const problemsMax = 100;
const chunk = 1_000;
/** Sending a row twice does no harm; memory is bounded. */
const rememberMax = 100_000;

/**
 * Sends every row that the ledger of one return names: at the home, when the data center that returns reads the stream
 * again. May be repeated. On disk here when it returns.
 */
export async function resendStranded(
  client: Client,
  origin: Pick<StrandedOrigin, 'dataCenter' | 'generation'>,
): Promise<ResendReport> {
  const seen = new Set<string>();
  let keys = 0;
  const counts: Partial<Record<ResendOutcome, number>> = {};
  const problems: ResendReport['problems'][number][] = [];
  // The last commit takes all of them to disk.
  await client.query('SET synchronous_commit = off');
  try {
    for (let after: { endLsn: Lsn; sequence: number } | null = null; ; ) {
      const touched: Awaited<ReturnType<typeof readKeys>> = await readKeys(client, origin, after, chunk);
      const last = touched.at(-1);
      if (last === undefined) break;
      for (const { relation, key_columns: columns, key, old_key, account } of touched) {
        for (const values of old_key === null ? [key] : [key, old_key]) {
          const name = JSON.stringify([relation, columns, values]);
          if (seen.has(name)) continue;
          if (seen.size >= rememberMax) seen.clear();
          seen.add(name);
          keys += 1;
          const outcome = await resendRow(client, relation, { columns, values }, account);
          counts[outcome] = (counts[outcome] ?? 0) + 1;
          const fine = outcome === 'sent' || outcome === 'absent';
          if (!fine && problems.length < problemsMax) problems.push({ relation, key: { columns, values }, outcome });
        }
      }
      after = { endLsn: last.endLsn, sequence: last.sequence };
    }
    await client.query('SET synchronous_commit = local');
    const { rows } = await client.query<{ lsn: Lsn }>(
      "SELECT pg_catalog.pg_logical_emit_message(true, 'lanekeeper', 'resent')::text AS lsn",
    );
    return {
      keys,
      sent: counts.sent ?? 0,
      absent: counts.absent ?? 0,
      problems,
      upTo: (rows[0] as { lsn: Lsn }).lsn,
    };
  } finally {
    await client.query('RESET synchronous_commit').catch(() => {});
  }
}
