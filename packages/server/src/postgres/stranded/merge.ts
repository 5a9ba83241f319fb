/**
 * Does a source transaction again, at the present home of its accounts: one ordinary transaction, through the fence. It is
 * refused as a whole where a row is not as the source transaction found it, where a birth, a claim or a request id collides,
 * or where an earlier stranded transaction that touched the same row is still open.
 */
import type { Client } from 'pg';
import type { Queryable } from '../queryable.ts';
import { databaseProblem } from '../transaction.ts';
import { type LedgerEntry, readStranded, type TransactionName } from './ledger.ts';

export type Decision = {
  /** Who decides, e.g. `ops@example`. */
  readonly by: string;
  readonly reason: string;
};

/**
 * `newer`: a row was written since the takeover, or is not as this transaction found it. `exists`, `gone`: of the row that
 * it inserts, or changes. `birth`, `claim`, `request`: the account, the value, the request is there already. `earlier-open`:
 * decide about an earlier transaction first. `unknown-account`: nobody can say whose a row is. `purged`: the rows were
 * removed. `database`: PostgreSQL refused, e.g. a unique key. `no-lease`, `busy`: try again.
 */
export type MergeRefusal = {
  readonly code:
    | 'newer'
    | 'exists'
    | 'gone'
    | 'birth'
    | 'claim'
    | 'request'
    | 'earlier-open'
    | 'unknown-account'
    | 'purged'
    | 'database'
    | 'no-lease'
    | 'busy';
  /** One sentence for a person. */
  readonly message: string;
  readonly relation: string | null;
  readonly key: readonly string[] | null;
};

export type MergeResult =
  | { readonly kind: 'merged' | 'discarded'; readonly changes: number }
  | { readonly kind: 'refused'; readonly refusal: MergeRefusal }
  /** An account of the transaction is written there: decide there. */
  | { readonly kind: 'elsewhere'; readonly home: string }
  /** Somebody decided already. */
  | { readonly kind: 'decided'; readonly state: 'merged' | 'discarded'; readonly by: string | null }
  | { readonly kind: 'unknown' };

class Refused extends Error {
  readonly result: MergeResult;

  constructor(result: MergeResult) {
    super(result.kind);
    this.result = result;
  }
}

const refuse = (code: MergeRefusal['code'], message: string, entry?: LedgerEntry): never => {
  const refusal = { code, message, relation: entry?.relation ?? null, key: entry?.key ?? null };
  throw new Refused({ kind: 'refused', refusal });
};

/** `client`: at the home, as the agent, not in a transaction. */
export function mergeStranded(client: Client, name: TransactionName, decision: Decision): Promise<MergeResult> {
  return decide(client, () => mergeWithin(client, name, decision));
}

/** Keeps it from being merged, for good; its rows are purged when the retention is over. */
export function discardStranded(client: Client, name: TransactionName, decision: Decision): Promise<MergeResult> {
  return decide(client, async () => {
    const entries = await openEntries(client, name);
    await requireHome(client, entries);
    return { kind: 'discarded', changes: await note(client, name, 'discarded', decision) };
  });
}

async function decide(client: Client, work: () => Promise<MergeResult>): Promise<MergeResult> {
  await client.query('BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL lock_timeout = 5000');
  try {
    const result = await work();
    await client.query('COMMIT');
    return result;
  } catch (thrown) {
    await client.query('ROLLBACK').catch(() => {});
    return resultOf(thrown);
  }
}

/** What ended a merge, as a result; rethrows what is no refusal. */
export function resultOf(thrown: unknown): MergeResult {
  if (thrown instanceof Refused) return thrown.result;
  const problem = databaseProblem(thrown);
  if (problem === null) throw thrown;
  const refused = (code: MergeRefusal['code'], message: string): MergeResult => ({
    kind: 'refused',
    refusal: { code, message, relation: null, key: null },
  });
  if (problem.code === 'LK003') return refused('no-lease', problem.message);
  if (problem.code === 'LK008') return refused('claim', problem.message);
  if (['40001', '40P01', '55P03', 'LK009', 'LK004'].includes(problem.code)) return refused('busy', problem.message);
  const detail = problem.detail === null || problem.code.startsWith('LK') ? '' : ` (${problem.detail})`;
  return refused('database', `${problem.message}${detail} [${problem.code}]`);
}

/** The same inside the caller's transaction, which it leaves to the caller to end; a refusal is thrown (`resultOf`). */
export async function mergeWithin(client: Queryable, name: TransactionName, decision: Decision): Promise<MergeResult> {
  const entries = await openEntries(client, name);
  const stranger = entries.find((entry) => entry.account === null && !entry.relation.startsWith('lanekeeper.'));
  if (stranger) {
    refuse(
      'unknown-account',
      `nobody can say whose row of ${stranger.relation} this is: ${stranger.unresolved}`,
      stranger,
    );
  }
  await requireHome(client, entries);
  await requireNoneEarlier(client, name);
  // What the log printed is read as it was printed; functions of the application see their own settings for all else.
  await client.query(
    "SET LOCAL DateStyle = 'ISO, YMD'; SET LOCAL IntervalStyle = 'postgres'; SET LOCAL xmloption = 'content'",
  );
  for (const entry of entries) if (entry.relation === 'lanekeeper.deed') await requireUnborn(client, entry);
  for (const entry of entries) {
    if (entry.relation === 'lanekeeper.claim') await mergeClaim(client, entry);
    else if (entry.relation === 'lanekeeper.outcome') await mergeOutcome(client, entry);
    else if (!entry.relation.startsWith('lanekeeper.')) await mergeRow(client, entry);
  }
  return { kind: 'merged', changes: await note(client, name, 'merged', decision) };
}

/** Locked, so that nobody else decides meanwhile. */
async function openEntries(client: Queryable, name: TransactionName): Promise<readonly LedgerEntry[]> {
  await client.query(
    'SELECT FROM lanekeeper.stranded WHERE dc = $1 AND generation = $2 AND end_lsn = $3::pg_lsn ORDER BY sequence FOR UPDATE',
    [name.dataCenter, name.generation, name.endLsn],
  );
  const entries = await readStranded(client, name);
  if (entries.length === 0) throw new Refused({ kind: 'unknown' });
  const open = entries.filter((entry) => entry.state === 'open');
  const decided = entries.findLast((entry) => entry.state === 'merged') ?? entries[0];
  if (open.length === 0 && decided && decided.state !== 'open') {
    throw new Refused({ kind: 'decided', state: decided.state, by: decided.decidedBy });
  }
  const purged = open.find((entry) => entry.purgedAt !== null);
  if (purged) refuse('purged', 'the rows of this transaction have been removed from the ledger', purged);
  return open;
}

async function requireHome(client: Queryable, entries: readonly LedgerEntry[]): Promise<void> {
  const accounts = [...new Set(entries.flatMap(({ account }) => (account === null ? [] : [account])))].sort();
  const { rows } = await client.query<{ home: string }>(
    `SELECT w.home FROM unnest($1::text[]) a, lanekeeper.where_is(a) w WHERE w.home <> lanekeeper.dc() LIMIT 1`,
    [accounts],
  );
  if (rows[0]) throw new Refused({ kind: 'elsewhere', home: rows[0].home });
  if (accounts.length > 0) return;
  // Nobody's rows are decided where they were written down.
  const { rows: here } = await client.query<{ dc: string }>('SELECT lanekeeper.dc() AS dc');
  const recordedIn = entries[0]?.recordedIn;
  if (recordedIn !== undefined && recordedIn !== here[0]?.dc)
    throw new Refused({ kind: 'elsewhere', home: recordedIn });
}

async function requireNoneEarlier(client: Queryable, name: TransactionName): Promise<void> {
  const { rows } = await client.query<{ endLsn: string; relation: string }>(
    `SELECT e.end_lsn::text AS "endLsn", e.relation FROM lanekeeper.stranded s JOIN lanekeeper.stranded e
        ON e.dc = s.dc AND e.generation = s.generation AND e.relation = s.relation AND e.end_lsn < s.end_lsn AND e.state = 'open'
          AND (e.key = s.key OR e.key = s.old_key OR e.old_key = s.key OR e.old_key = s.old_key)
      WHERE s.dc = $1 AND s.generation = $2 AND s.end_lsn = $3::pg_lsn AND s.state = 'open' ORDER BY e.end_lsn LIMIT 1`,
    [name.dataCenter, name.generation, name.endLsn],
  );
  const [first] = rows;
  if (!first) return;
  const earlier = `${name.dataCenter}/${name.generation}/${first.endLsn}`;
  refuse('earlier-open', `${earlier} touched the same row of ${first.relation} before: decide about it first`);
}

/** A deed is born with the row of its account; here it only says that the account must be new. */
async function requireUnborn(client: Queryable, entry: LedgerEntry): Promise<void> {
  if (entry.kind !== 'insert') return;
  const { rows } = await client.query('SELECT FROM lanekeeper.deed WHERE account = $1', [entry.key[0]]);
  if (rows.length > 0) refuse('birth', `account ${entry.key[0]} was born here too`, entry);
}

async function mergeClaim(client: Queryable, entry: LedgerEntry): Promise<void> {
  const value = (name: string) => fieldOf(entry, name);
  if (entry.kind === 'insert') {
    const { rows } = await client.query<{ held: boolean }>('SELECT lanekeeper.claim_value($1, $2, $3) AS held', [
      value('name'),
      value('value'),
      value('account'),
    ]);
    if (rows[0]?.held !== true)
      refuse('claim', `the ${value('name')} ${value('value')} has been claimed by somebody else`, entry);
  } else if (entry.kind === 'delete' && value('account') !== null) {
    await client.query('SELECT lanekeeper.release_claim($1, $2, $3)', [
      value('name'),
      value('value'),
      value('account'),
    ]);
  }
}

async function mergeOutcome(client: Queryable, entry: LedgerEntry): Promise<void> {
  if (entry.kind !== 'insert') return;
  const request = fieldOf(entry, 'request_id');
  const { rows: present } = await client.query('SELECT FROM lanekeeper.outcome WHERE request_id = $1', [request]);
  const account = fieldOf(entry, 'account');
  if (present.length > 0) refuse('request', `request ${request} was done again here`, entry);
  await client.query('SELECT lanekeeper.record_outcome($1, $2, $3::jsonb)', [
    request,
    account,
    fieldOf(entry, 'result'),
  ]);
  await client.query(
    'UPDATE lanekeeper.outcome SET dc = $3, at = $4::timestamptz WHERE account = $1 AND request_id = $2',
    [account, request, fieldOf(entry, 'dc'), fieldOf(entry, 'at')],
  );
}

/** From the row as it became, or as it was, or from the key. */
function fieldOf(entry: LedgerEntry, name: string): string | null {
  for (const [columns, values] of [
    [entry.imageColumns, entry.image],
    [entry.baseColumns, entry.base],
    [entry.keyColumns, entry.key],
  ] as const) {
    const place = columns?.indexOf(name) ?? -1;
    if (place >= 0) return values?.[place] ?? null;
  }
  return null;
}

async function mergeRow(client: Queryable, entry: LedgerEntry): Promise<void> {
  const { relation, keyColumns } = entry;
  const key = entry.oldKey ?? entry.key;
  const { rows } = await client.query<{ columns: string[] | null; vals: (string | null)[] | null }>(
    'SELECT columns, vals FROM lanekeeper.read_row($1, $2, $3, true)',
    [relation, keyColumns, key],
  );
  const current = rowMap(rows[0]?.columns ?? null, rows[0]?.vals ?? null);
  const image = rowMap(entry.imageColumns, entry.image);
  // Already so: a cascade or a trigger of the application made it so, once more, in this very transaction.
  const done =
    entry.kind === 'delete' ? current === null : image !== null && current !== null && covers(current, image);
  if (entry.kind === 'insert') {
    if (done) return;
    if (current !== null) refuse('exists', `${relation} has a row with this key already`, entry);
    return write(client, 'insert', entry, key, image ?? new Map());
  }
  if (entry.kind === 'delete' && done) return;
  if (current === null) return refuse('gone', `the row of ${relation} is not there any more`, entry);
  const base = entry.baseFrom === null ? null : rowMap(entry.baseColumns, entry.base);
  if (base === null) return refuse('newer', `the row of ${relation} was written here since the takeover`, entry);
  if (done) return;
  const apart = [...base].filter(([column, value]) => current.has(column) && current.get(column) !== value);
  if (apart.length > 0) {
    const columns = apart.map(([column]) => column).join(', ');
    refuse('newer', `the row of ${relation} is not as this transaction found it: ${columns}`, entry);
  }
  if (entry.kind === 'delete') return write(client, 'delete', entry, key, new Map());
  const changed = new Map([...(image ?? [])].filter(([column, value]) => base.get(column) !== value));
  if (changed.size > 0) await write(client, 'update', entry, key, changed);
}

function covers(current: ReadonlyMap<string, string | null>, image: ReadonlyMap<string, string | null>): boolean {
  return [...image].every(([column, value]) => current.get(column) === value);
}

function rowMap(
  columns: readonly string[] | null,
  values: readonly (string | null)[] | null,
): ReadonlyMap<string, string | null> | null {
  if (columns === null || values === null) return null;
  return new Map(columns.map((column, i) => [column, values[i] ?? null]));
}

async function write(
  client: Queryable,
  kind: LedgerEntry['kind'],
  entry: LedgerEntry,
  key: readonly string[],
  values: ReadonlyMap<string, string | null>,
): Promise<void> {
  const { rows } = await client.query<{ statement: string }>(
    'SELECT lanekeeper.row_statement($1, $2, $3, $4, $5, $6) AS statement',
    [kind, entry.relation, entry.keyColumns, key, [...values.keys()], [...values.values()]],
  );
  const { rowCount } = await client.query((rows[0] as { statement: string }).statement);
  if (rowCount !== 1) refuse('database', `a trigger of ${entry.relation} kept the row from being written`, entry);
}

async function note(
  client: Queryable,
  name: TransactionName,
  state: 'merged' | 'discarded',
  decision: Decision,
): Promise<number> {
  const { rowCount } = await client.query(
    `UPDATE lanekeeper.stranded SET state = $4, decided_by = $5, decided_at = clock_timestamp(), decided_in = lanekeeper.dc(), reason = $6
      WHERE dc = $1 AND generation = $2 AND end_lsn = $3::pg_lsn AND state = 'open'`,
    [name.dataCenter, name.generation, name.endLsn, state, decision.by, decision.reason],
  );
  return rowCount ?? 0;
}
