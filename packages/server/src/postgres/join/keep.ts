/**
 * What only the data center that is about to be emptied has, into the ledger of the one that took it over (R5): its stranded
 * transactions, as a rejoin would (and perhaps has). Where its log can no longer say what those were, the rows do: those that
 * differ of the accounts that were written here, one entry for each account, and one for each row that may have been written by either.
 *
 * A row that its successor has not written since the takeover was changed here: before, it was what the successor has. A row
 * that the successor did write may differ because of either; it is kept too, and only a person can tell. A row that only the
 * successor has was deleted here if it is older than the takeover, and is none of ours if it is younger.
 */
import type { TableName } from 'lanekeeper/config';
import type { Lsn } from '../decode/index.ts';
import { readCatalog } from '../inspect/read-catalog.ts';
import type { Queryable } from '../queryable.ts';
import { type StrandedOrigin, writeStranded } from '../stranded/ledger.ts';
import { type StrandedChange, strandedTransactions } from '../stranded/strand.ts';
import { streamOf } from '../streams/names.ts';
import { type Difference, verifyTables } from '../verify/verify.ts';
import { type JoinSides, type Sessions, SideUnavailable } from './sides.ts';

export type KeepResult =
  /** Rows that differ, in so many entries. */
  | { readonly kind: 'kept'; readonly entries: number; readonly rows: number }
  /** So many changes, out of the log; those that a rejoin has written down before are not counted. */
  | { readonly kind: 'stranded'; readonly changes: number }
  | { readonly kind: 'too-many'; readonly atLeast: number }
  /** What it has of these cannot be told from what its successor has. Nothing was kept. */
  | {
      readonly kind: 'not-comparable';
      readonly tables: readonly { readonly table: TableName; readonly reason: string | null }[];
    };

const keptMax = 50_000;
/** Bookkeeping of moves is decided anew, and a deed goes with its row. */
const ownTablesKept = ['lanekeeper.claim', 'lanekeeper.outcome'];

/** `confirmed`: how far the source had confirmed the target's log, where the lease store knows that. */
export async function keep(
  sessions: Sessions,
  sides: JoinSides,
  origin: StrandedOrigin,
  confirmed: Lsn | undefined,
): Promise<KeepResult> {
  const agent = await sessions.get('target', 'agent');
  const home = await sessions.get('source', 'agent');
  const { rows: rejoining } = await agent.query<{ stage: string }>(
    'SELECT stage FROM lanekeeper.rejoining WHERE term = $1',
    [origin.term],
  );
  // From there on the ledger has them all, and some of the rows may be gone.
  if (rejoining[0] !== undefined && rejoining[0].stage !== 'frozen') return { kind: 'stranded', changes: 0 };
  const { rows: cuts } = await home.query<{ cut: Lsn | null }>(
    "SELECT cuts -> $2 ->> 'homed' AS cut FROM lanekeeper.succession WHERE term = $1",
    [origin.term, origin.dataCenter],
  );
  const cut = cuts[0]?.cut;
  if (cut) {
    const replication = await sessions.get('target', 'replication');
    const successor = sides.source.configuration.here;
    const options = { replication, agent, successor, cut, ...(confirmed === undefined ? {} : { confirmed }) };
    const read = await strandedTransactions(options);
    if (read.kind === 'opened') {
      let changes = 0;
      for await (const batch of read.batches) changes += await writeStranded(home, origin, batch);
      return { kind: 'stranded', changes };
    }
  }
  return keepDifferences(sessions, sides, origin);
}

async function keepDifferences(sessions: Sessions, sides: JoinSides, origin: StrandedOrigin): Promise<KeepResult> {
  const { target, source } = sides;
  const [here, there] = [target.configuration.here, source.configuration.here];
  const compared = await verifyTables({
    configuration: target.configuration,
    here,
    there,
    connect: (dc) => (dc === here ? target : source).connect('agent'),
    differencesMax: keptMax,
    asItIs: true,
  });
  if (compared.kind === 'unavailable') throw new SideUnavailable(compared.dataCenter, 'agent', compared);
  const isKept = (table: TableName) =>
    ownTablesKept.includes(table) || streamOf(target.configuration, table, here) === 'homed';
  const unread = compared.tables.filter(({ table, kind }) => kind === 'not-comparable' && isKept(table));
  if (unread.length > 0) return { kind: 'not-comparable', tables: unread };
  const { differences } = compared;
  if (differences.length >= keptMax) return { kind: 'too-many', atLeast: differences.length };
  const home = await sessions.get('source', 'agent');
  // An earlier run that did not get to its end.
  await home.query("DELETE FROM lanekeeper.stranded WHERE dc = $1 AND generation = $2 AND xid = 0 AND state = 'open'", [
    origin.dataCenter,
    origin.generation,
  ]);
  const depths = await depthsOf(await sessions.get('target', 'agent'));
  const units = new Map<string, Row[]>();
  for (const difference of differences) {
    const { table } = difference;
    if (!isKept(table)) continue;
    const row = await rowOf(sessions, difference, origin.term);
    if (row === null) continue;
    // What nobody can tell, and nobody's rows, stand each for themselves, so that they are not in the way of the others.
    const unit = row.account !== null && row.certain ? row.account : JSON.stringify([table, row.key]);
    units.set(unit, [...(units.get(unit) ?? []), row]);
  }
  const names = await namesFor(await sessions.get('target', 'agent'), units.size);
  let rows = 0;
  for (const [i, unit] of [...units.values()].entries()) {
    const ordered = unit.toSorted((a, b) => order(a, depths) - order(b, depths));
    const changes = ordered.map(({ certain: _, ...row }, sequence) => ({
      ...row,
      end_lsn: names[i] as string,
      sequence,
    }));
    rows += await writeStranded(home, origin, changes);
  }
  return { kind: 'kept', entries: units.size, rows };
}

type Row = Omit<StrandedChange, 'end_lsn' | 'sequence'> & {
  /** Changed here, and not by the successor. */
  readonly certain: boolean;
};

type ReadRow = {
  readonly columns: string[] | null;
  readonly vals: (string | null)[] | null;
  readonly account: string | null;
  readonly old: boolean;
};

async function rowOf(sessions: Sessions, difference: Difference, term: number): Promise<Row | null> {
  const { table, key, kind } = difference;
  const [columns, values] = [Object.keys(key), Object.values(key)];
  const read = async (client: Queryable): Promise<ReadRow | null> => {
    const { rows } = await client.query<ReadRow>(
      `SELECT r.columns, r.vals, CASE WHEN r.columns IS NOT NULL THEN lanekeeper.whose($1, r.columns, r.vals) END AS account,
          coalesce(lanekeeper.was_visible(r.written, (SELECT t.snapshot FROM lanekeeper.takeover t WHERE t.term = $4)), false) AS old
        FROM lanekeeper.read_row($1, $2, $3, false) r`,
      [table, columns, values, term],
    );
    return rows[0]?.columns ? rows[0] : null;
  };
  const ours = await read(await sessions.get('target', 'agent'));
  const theirs = await read(await sessions.get('source', 'agent'));
  if (kind === 'only-there' && theirs?.old !== true) return null;
  const account = ours?.account ?? theirs?.account ?? null;
  // Of an account that is written elsewhere, this is only an older copy.
  if (account !== null && !(await wasHome(await sessions.get('target', 'agent'), account))) return null;
  return {
    certain: theirs === null || theirs.old,
    xid: 0,
    committed_at: new Date().toISOString(),
    relation: table,
    kind: ours === null ? 'delete' : theirs === null ? 'insert' : 'update',
    key_columns: columns,
    key: values,
    old_key: null,
    base_from: null,
    base_columns: null,
    base: null,
    image_columns: ours?.columns ?? null,
    image: ours?.vals ?? null,
    unchanged: [],
    account,
    unresolved: account === null ? 'the row that leads to its account is not there' : null,
  };
}

/** As far as is known here, where the takeover has not arrived. */
async function wasHome(target: Queryable, account: string): Promise<boolean> {
  const { rows } = await target.query<{ ours: boolean }>(
    'SELECT home = lanekeeper.dc() AS ours FROM lanekeeper.where_is($1)',
    [account],
  );
  return rows[0]?.ours === true;
}

/** Places in the log of this data center that no transaction of it will ever have as its end: it is about to be another one. */
async function namesFor(target: Queryable, count: number): Promise<readonly string[]> {
  const { rows } = await target.query<{ lsn: string }>(
    'SELECT (pg_catalog.pg_current_wal_lsn() + n)::text AS lsn FROM generate_series(1, $1) n ORDER BY n',
    [count],
  );
  return rows.map(({ lsn }) => lsn);
}

/** How many foreign keys lead away from a table, at most: parents before children. */
async function depthsOf(client: Queryable): Promise<ReadonlyMap<string, number>> {
  const { tables } = await readCatalog(client);
  const depths = new Map<string, number>();
  const depth = (name: string, below: readonly string[]): number => {
    const known = depths.get(name);
    if (known !== undefined) return known;
    const parents = (tables.get(name)?.foreignKeys ?? []).map(({ references }) => references);
    const found = parents
      .filter((parent) => !below.includes(parent))
      .map((parent) => depth(parent, [...below, name]) + 1);
    depths.set(name, Math.max(0, ...found));
    return depths.get(name) ?? 0;
  };
  for (const name of tables.keys()) depth(name, [name]);
  return depths;
}

/** Claims first; then rows are made and changed from the parents down, and deleted from the children up. */
function order(row: Row, depths: ReadonlyMap<string, number>): number {
  const depth = (depths.get(row.relation) ?? -1) + 1;
  return row.kind === 'delete' ? 1_000 - depth : depth;
}
