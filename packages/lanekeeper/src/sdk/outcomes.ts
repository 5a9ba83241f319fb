/**
 * Outcome records: the result of a request, committed in the transaction of its work, so that a repetition is answered instead of
 * done again and any dc can say what became of it (R6). They belong to the account they were made for.
 */
import { type AccountId, singleAccount } from '../model/index.ts';
import type { Outcome, Queryable } from './api.ts';
import { type Binding, currentBinding } from './binding.ts';
import type { RunSql } from './deeds.ts';
import type { Runtime } from './runtime.ts';

type OutcomeRow = {
  readonly account: AccountId;
  readonly result: unknown;
  readonly dc: string;
  /** Recorded in this database. What came from another one is held by two. */
  readonly ours: boolean;
};

const select = 'SELECT account, result, dc, dc = lanekeeper.dc() AS ours FROM lanekeeper.outcome_of($1)';
/** A record shows before it is held elsewhere, when the wait of its commit was broken off: whoever passes it on waits himself. */
const reaffirm = 'SELECT lanekeeper.reaffirm()';

export async function once<Result>(
  requestId: string,
  client: Queryable,
  work: () => Promise<Result>,
): Promise<{ readonly kind: 'done' | 'repeated'; readonly result: Result }> {
  const binding = currentBinding();
  const account = binding?.owner ?? null;
  if (binding === undefined || account === null)
    throw new TypeError('once() needs an account: sign in, or call it inside forAccount().');
  const key = keyOf(binding, requestId);
  // The same request may be under way twice (an impatient customer): the second waits here for the first to commit.
  await client.query('SELECT pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtextextended($1, 0))', [
    `lanekeeper:${account}:${key}`,
  ]);
  const { rows } = await client.query(select, [key]);
  const recorded = (rows as readonly OutcomeRow[]).find((row) => row.account === account);
  if (recorded !== undefined) {
    if (recorded.ours) await client.query(reaffirm, []);
    return { kind: 'repeated', result: recorded.result as Result };
  }
  const result = await work();
  const written = await client.query('SELECT lanekeeper.record_outcome($1, $2, $3::jsonb) AS recorded', [
    key,
    account,
    JSON.stringify(result ?? null),
  ]);
  if ((written.rows as readonly { readonly recorded: boolean }[])[0]?.recorded !== true) {
    // Only without a transaction can another one get in between: the lock above was gone at once.
    throw new TypeError('once() has to be called inside a transaction: this request was done twice at the same time.');
  }
  return { kind: 'done', result };
}

/** Asked of the database here, and if it does not know of the one where it was recorded if it was. */
export async function outcomeOf<Result>(runtime: Runtime, requestId: string): Promise<Outcome<Result>> {
  const outcome = await outcomeIn<Result>(runtime.run, requestId);
  const { lanes, here, deeds } = runtime;
  if (outcome.kind !== 'unknown' || lanes === null) return outcome;
  const owner = currentBinding()?.owner ?? (runtime.configuration.homes === 'single' ? singleAccount : null);
  const home = owner === null ? undefined : (await deeds.whereIs(owner))?.home;
  if (home === undefined || home === here || !lanes.has(home)) return outcome;
  return outcomeIn((text, values) => lanes.run(home, text, values), requestId);
}

async function outcomeIn<Result>(run: RunSql, requestId: string): Promise<Outcome<Result>> {
  const binding = currentBinding();
  const ask = async (key: string) => (await run(select, [key])) as unknown as readonly OutcomeRow[];
  const rows = await ask(requestId);
  // Request ids are the clients' to choose, so another account's may be the same: nobody learns of results that are not his.
  const mine =
    binding === undefined ? (rows.length === 1 ? rows : []) : rows.filter((row) => row.account === binding.account);
  const row = mine[0] ?? (binding === undefined ? undefined : (await ask(keyWithin(binding, requestId)))[0]);
  if (row === undefined) return { kind: 'unknown' };
  // It is not known whether it will stay: without a lease somebody else may decide that.
  if (row.ours && !(await succeeds(run(reaffirm, [])))) return { kind: 'unknown' };
  return { kind: 'done', result: row.result as Result, dataCenter: row.dc };
}

/** A record is kept under the account whose deed it follows. Where many customers share one, the key says whose it is. */
function keyOf(binding: Binding, requestId: string): string {
  return binding.account === binding.owner ? requestId : keyWithin(binding, requestId);
}

function keyWithin({ account }: Binding, requestId: string): string {
  return JSON.stringify([account, requestId]);
}

async function succeeds(work: Promise<unknown>): Promise<boolean> {
  return work.then(
    () => true,
    () => false,
  );
}
