/**
 * At a row's home: sends the row as it is, or that there is none, to those who read the homed stream. Each key is a
 * transaction of its own, as one that held many rows could be in the way of the application.
 *
 * A row is held while it is sent, so what is written later also arrives later. A row that is absent cannot be held: it is
 * looked at again after its absence was sent, and sent if somebody has made it meanwhile.
 */
import type { Queryable } from '../queryable.ts';
import { databaseProblem } from '../transaction.ts';

/** A row by its key, values as text. */
export type RowKey = { readonly columns: readonly string[]; readonly values: readonly string[] };

/** `sent`, `absent`: told the others. Otherwise nothing was sent, and why. */
export type ResendOutcome = 'sent' | 'absent' | 'elsewhere' | 'unknown-account' | 'no-such-table' | 'busy';
/** `nobodys`: no row is here, and nobody has its account. */
export type OwnResendOutcome = ResendOutcome | 'nobodys';

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
  return patiently<ResendOutcome>(client, relation, key, 'SELECT lanekeeper.resend($1, $2, $3, $4) AS outcome', [
    account,
  ]);
}

/**
 * The same where several data centers are asked and one of them is the home: it sends, and the others answer `elsewhere`. What
 * belongs to no account is sent by the `first` of them.
 */
export async function resendOwn(
  client: Queryable,
  relation: string,
  key: RowKey,
  account: string | null,
  first: boolean,
): Promise<OwnResendOutcome> {
  const statement = 'SELECT lanekeeper.resend_own($1, $2, $3, $4, $5) AS outcome';
  return patiently<OwnResendOutcome>(client, relation, key, statement, [account, first]);
}

async function patiently<Outcome extends string>(
  client: Queryable,
  relation: string,
  key: RowKey,
  statement: string,
  more: readonly unknown[],
): Promise<Outcome | 'absent' | 'busy'> {
  let lastAbsent = false;
  for (let attempt = 0; attempt < triesMax; attempt += 1) {
    if (lastAbsent && !(await exists(client, relation, key))) return 'absent';
    const outcome = await resendOnce<Outcome>(client, statement, [relation, key.columns, key.values, ...more]);
    if (outcome !== 'absent' && outcome !== 'busy') return outcome;
    lastAbsent = outcome === 'absent';
    if (outcome === 'busy') await new Promise((resolve) => setTimeout(resolve, 10 * 2 ** Math.min(attempt, 6)));
  }
  return 'busy';
}

async function resendOnce<Outcome extends string>(
  client: Queryable,
  statement: string,
  values: readonly unknown[],
): Promise<Outcome | 'busy'> {
  try {
    await client.query(`BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL lock_timeout = ${lockTimeoutMs}`);
    const { rows } = await client.query<{ outcome: Outcome }>(statement, values);
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
