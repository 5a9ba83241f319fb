/** Whether a join may be done, how far an earlier one came, and what emptying the tables would lose. Changes nothing. */
import type { Configuration, RoleName, TableName } from 'lanekeeper/config';
import type { DataCenterName, LeaseStore } from 'lanekeeper/model';
import type { Unavailable } from '../connect.ts';
import { quoteTable } from '../fence/names.ts';
import { readCatalog } from '../inspect/read-catalog.ts';
import { splitName } from '../sql-text.ts';
import { databaseProblem } from '../transaction.ts';
import { verifyTables } from '../verify/verify.ts';
import { isWhole } from './finish.ts';
import { type JoinSides, type JoinStage, readMark, Sessions, SideUnavailable } from './sides.ts';

export type JoinTable = {
  readonly table: TableName;
  /** In the data center that is seeded; null: not counted. */
  readonly rows: number | null;
  /** That it alone has, and that are different there: lost with the emptying. At most `differencesMax` altogether. */
  readonly lost: number;
};

export type Inspection =
  | {
      readonly kind: 'ready';
      /** What an earlier run has done; null: nothing. */
      readonly resumes: JoinStage | null;
      /** The term in which it was taken over; null: it was never a data center. */
      readonly takenOver: number | null;
      readonly tables: readonly JoinTable[];
      /** It is the database that the lease store knows: what only it has is kept in the ledger. */
      readonly whole: boolean;
      /** Not everything was compared: there is more than `tables` says. */
      readonly more: boolean;
    }
  | { readonly kind: 'refused'; readonly why: string; readonly hint: string | null }
  | (Unavailable & { readonly dataCenter: DataCenterName; readonly role: RoleName });

export type Standing =
  | { readonly kind: 'may'; readonly takenOver: number | null; readonly generation: number | null }
  | { readonly kind: 'may-not'; readonly why: string; readonly hint: string | null };

const differencesMax = 10_000;

/** From the lease store: no account may be at home in `target`. */
export async function standingOf(store: LeaseStore, target: DataCenterName, source: DataCenterName): Promise<Standing> {
  const { leases, successions } = await store.read();
  const [theirs, ours] = [source, target].map((name) => leases.find(({ dataCenter }) => dataCenter === name));
  if (theirs?.takenOver) {
    const why = `${source} was taken over itself and is not back yet`;
    return { kind: 'may-not', why, hint: null };
  }
  if (ours === undefined) return { kind: 'may', takenOver: null, generation: null };
  if (ours.takenOver === null) {
    return {
      kind: 'may-not',
      why: `${target} was not taken over: its accounts are at home there, and what it alone has would be lost`,
      hint: `Stop its agents, then \`lanekeeper failover --from ${target} --to ${source}\`; --force where ${source} may lack something.`,
    };
  }
  const { takenOver } = ours;
  const to = successions.find(({ term }) => term === takenOver)?.to;
  if (to !== source) {
    return { kind: 'may-not', why: `${target} was taken over by ${to}`, hint: `Seed it from there: --from ${to}.` };
  }
  return { kind: 'may', takenOver, generation: ours.incarnation.generation };
}

export async function inspectJoin(options: JoinSides & { readonly store: LeaseStore }): Promise<Inspection> {
  const { target, source, store } = options;
  const [here, there] = [target.configuration.here, source.configuration.here];
  if (Object.keys(target.configuration.dataCenters).length > 2) {
    const why = 'with more than two data centers another one would miss what arrives while it is copied';
    return { kind: 'refused', why, hint: null };
  }
  const sessions = new Sessions(options);
  try {
    const standing = await standingOf(store, here, there);
    if (standing.kind === 'may-not') return { ...standing, kind: 'refused' };
    const { takenOver } = standing;
    const missing = await missingTables(sessions, target.configuration);
    if (missing.length > 0) {
      const hint = "Run the application's migrations there first.";
      return { kind: 'refused', why: `${here} has no ${missing.join(', no ')}`, hint };
    }
    const mark = await readMark(sessions, here, there);
    const started = mark !== null && mark.stage !== 'begun' && mark.stage !== 'kept';
    const found = started ? { tables: [], more: false } : await whatIsLost(sessions, options);
    const whole =
      takenOver !== null && (await isInstalled(sessions)) && (await isWhole(sessions, store, 'target', here));
    return { kind: 'ready', resumes: mark?.stage ?? null, takenOver, whole: whole === true, ...found };
  } catch (thrown) {
    if (!(thrown instanceof SideUnavailable)) throw thrown;
    return { ...thrown.failure, dataCenter: thrown.dataCenter, role: thrown.role };
  } finally {
    await sessions.close();
  }
}

async function isInstalled(sessions: Sessions): Promise<boolean> {
  const client = await sessions.get('target', 'agent');
  const { rows } = await client.query<{ there: boolean }>(
    `SELECT to_regclass('lanekeeper.repair') IS NOT NULL AS there`,
  );
  return rows[0]?.there === true;
}

async function missingTables(sessions: Sessions, configuration: Configuration): Promise<readonly TableName[]> {
  const { tables } = await readCatalog(await sessions.get('target', 'owner'));
  return Object.keys(configuration.tables).filter((name) => !tables.has(name));
}

async function whatIsLost(
  sessions: Sessions,
  { target, source }: JoinSides,
): Promise<{ readonly tables: readonly JoinTable[]; readonly more: boolean }> {
  const [here, there] = [target.configuration.here, source.configuration.here];
  if (!(await isInstalled(sessions))) return { tables: await countAll(sessions, target.configuration), more: false };
  const compared = await verifyTables({
    configuration: target.configuration,
    here,
    there,
    connect: (dc) => (dc === here ? target : source).connect('agent'),
    differencesMax,
    asItIs: true,
  });
  if (compared.kind === 'unavailable') throw new SideUnavailable(compared.dataCenter, 'agent', compared);
  return {
    tables: compared.tables.map(({ table, rowsHere }) => ({
      table,
      rows: rowsHere,
      lost: compared.differences.filter((one) => one.table === table && one.kind !== 'only-there').length,
    })),
    more:
      compared.differences.length >= differencesMax || compared.tables.some(({ kind }) => kind === 'not-comparable'),
  };
}

/** Before the schema `lanekeeper` is there, nothing of it can be compared: all rows count as lost. */
async function countAll(sessions: Sessions, configuration: Configuration): Promise<readonly JoinTable[]> {
  const owner = await sessions.get('target', 'owner');
  const tables: JoinTable[] = [];
  for (const table of Object.keys(configuration.tables).sort()) {
    try {
      const { rows } = await owner.query<{ n: number }>(
        `SELECT count(*)::float8 AS n FROM ${quoteTable(splitName(table))}`,
      );
      tables.push({ table, rows: rows[0]?.n ?? 0, lost: rows[0]?.n ?? 0 });
    } catch (thrown) {
      if (databaseProblem(thrown) === null) throw thrown;
      tables.push({ table, rows: null, lost: 0 });
    }
  }
  return tables;
}
