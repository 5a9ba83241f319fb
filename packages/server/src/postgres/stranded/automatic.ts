/**
 * Which transactions are merged without asking: all of whose rows are in tables that declare `stranded: merge`, of accounts
 * that nobody has written or moved since the takeover. Accounts that share a transaction are decided together, while their
 * deeds are held, so that no customer writes between the look and the merge. All else waits for a person.
 */
import type { Configuration } from 'lanekeeper/config';
import type { Client } from 'pg';
import type { Queryable } from '../queryable.ts';
import { databaseProblem } from '../transaction.ts';
import { type LedgerEntry, readStranded, type StrandedOrigin, type TransactionName } from './ledger.ts';
import { mergeWithin, resultOf } from './merge.ts';

export type AutomaticReport = {
  readonly merged: number;
  /** Transactions that wait for a person. */
  readonly left: number;
};

const decision = { by: 'lanekeeper', reason: 'stranded: merge' } as const;
const lockTimeoutMs = 2_000;

/** At the home that took over, as the agent, after the rows were sent to the data center that returned. May be repeated. */
export async function mergeAutomatically(
  client: Client,
  configuration: Configuration,
  origin: StrandedOrigin,
): Promise<AutomaticReport> {
  const { transactions, groups } = await readGroups(client, origin);
  let merged = 0;
  for (const group of groups) merged += await mergeGroup(client, configuration, origin, group);
  return { merged, left: transactions - merged };
}

type Group = { readonly accounts: Set<string>; readonly names: TransactionName[] };

/** Open transactions by the accounts that they have in common; oldest first in each. */
async function readGroups(
  client: Queryable,
  { dataCenter, generation }: StrandedOrigin,
): Promise<{ readonly transactions: number; readonly groups: readonly Group[] }> {
  const { rows } = await client.query<{ endLsn: string; accounts: (string | null)[] }>(
    `SELECT end_lsn::text AS "endLsn", array_agg(DISTINCT account) AS accounts FROM lanekeeper.stranded s
      WHERE dc = $1 AND generation = $2 AND state = 'open' GROUP BY end_lsn ORDER BY s.end_lsn`,
    [dataCenter, generation],
  );
  const byAccount = new Map<string, Group>();
  const groups = new Set<Group>();
  for (const { endLsn, accounts } of rows) {
    const known = accounts.filter((account) => account !== null);
    const joined: Group = { accounts: new Set(known), names: [] };
    for (const group of new Set(known.flatMap((account) => byAccount.get(account) ?? []))) {
      for (const account of group.accounts) joined.accounts.add(account);
      joined.names.push(...group.names);
      groups.delete(group);
    }
    joined.names.push({ dataCenter, generation, endLsn });
    for (const account of joined.accounts) byAccount.set(account, joined);
    // Without any account, or with a row that is nobody's, it is for a person.
    groups.add(joined);
  }
  return { transactions: rows.length, groups: [...groups] };
}

async function mergeGroup(
  client: Client,
  configuration: Configuration,
  origin: StrandedOrigin,
  group: Group,
): Promise<number> {
  let merged = 0;
  try {
    await client.query(`BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL lock_timeout = ${lockTimeoutMs}`);
    if (!(await untouched(client, origin, [...group.accounts].sort()))) return 0;
    const names = await inLogOrder(client, group.names);
    for (const name of names) {
      if (!isDeclared(configuration, await readStranded(client, name))) continue;
      await client.query('SAVEPOINT one');
      try {
        const result = await mergeWithin(client, name, decision);
        if (result.kind === 'merged') merged += 1;
        await client.query('RELEASE SAVEPOINT one');
      } catch (thrown) {
        resultOf(thrown);
        await client.query('ROLLBACK TO SAVEPOINT one');
      }
    }
    await client.query('COMMIT');
    return merged;
  } catch (thrown) {
    // A lock that could not be had in time, a lease that ran out: for the next time.
    if (databaseProblem(thrown) === null) throw thrown;
    return 0;
  } finally {
    await client.query('ROLLBACK').catch(() => {});
  }
}

/** Holds the deeds, and looks whether anybody has written or moved these accounts since. */
async function untouched(client: Queryable, { term }: StrandedOrigin, accounts: readonly string[]): Promise<boolean> {
  const { rows: deeds } = await client.query<{ term: string }>(
    'SELECT term FROM lanekeeper.deed WHERE account = ANY ($1) ORDER BY account FOR UPDATE',
    [accounts],
  );
  if (deeds.some((deed) => Number(deed.term) >= term)) return false;
  // What a merge has adopted is written with the decision, in one transaction, and by nobody else.
  const { rows } = await client.query(
    `SELECT FROM lanekeeper.adoption a WHERE a.account = ANY ($1) AND a.term >= $2
        AND NOT EXISTS (SELECT FROM lanekeeper.stranded s WHERE s.account = a.account AND s.state = 'merged' AND s.xmin = a.xmin) LIMIT 1`,
    [accounts, term],
  );
  return rows.length === 0;
}

async function inLogOrder(client: Queryable, names: readonly TransactionName[]): Promise<readonly TransactionName[]> {
  const { rows } = await client.query<{ n: number }>(
    'SELECT (n - 1)::int AS n FROM unnest($1::pg_lsn[]) WITH ORDINALITY x(lsn, n) ORDER BY lsn',
    [names.map(({ endLsn }) => endLsn)],
  );
  return rows.flatMap(({ n }) => names[n] ?? []);
}

function isDeclared(configuration: Configuration, entries: readonly LedgerEntry[]): boolean {
  const open = entries.filter((entry) => entry.state === 'open');
  const merges = (table: string | undefined) =>
    table !== undefined && configuration.tables[table]?.stranded === 'merge';
  const judged = open.map((entry) => {
    if (entry.relation === 'lanekeeper.claim') {
      const name = entry.key[entry.keyColumns.indexOf('name')] ?? '';
      return merges(configuration.claims[name]?.table);
    }
    // Born with a row, or written with it: where the row goes, it goes.
    if (entry.relation.startsWith('lanekeeper.')) return null;
    return merges(entry.relation) && entry.account !== null;
  });
  return judged.some((one) => one === true) && judged.every((one) => one !== false);
}
