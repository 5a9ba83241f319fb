/** Whether a join may be done, how far an earlier one came, and what emptying the tables would lose. Changes nothing. */
import type { Configuration, RoleName, TableName } from 'lanekeeper/config';
import type { DataCenterName, LeaseStore } from 'lanekeeper/model';
import type { Unavailable } from '../connect.ts';
import { quoteTable } from '../fence/names.ts';
import { readCatalog } from '../inspect/read-catalog.ts';
import { splitName } from '../sql-text.ts';
import { readMembers } from '../streams/members.ts';
import { tableHashes } from '../streams/schema-hash.ts';
import { databaseProblem } from '../transaction.ts';
import { verifyTables } from '../verify/verify.ts';
import { isWhole } from './finish.ts';
import { type JoinSides, type JoinStage, othersOf, readMark, Sessions, SideUnavailable } from './sides.ts';

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
  | {
      readonly kind: 'may';
      readonly term: number;
      readonly takenOver: number | null;
      /** Of an earlier life. */
      readonly generation: number | null;
    }
  | { readonly kind: 'may-not'; readonly why: string; readonly hint: string | null };

const differencesMax = 10_000;

/** From the lease store: no account may be at home in `target`, and everybody else is there to be read. */
export async function standingOf(store: LeaseStore, target: DataCenterName, source: DataCenterName): Promise<Standing> {
  const view = await store.read();
  const { leases, successions } = view;
  const gone = leases.find(({ dataCenter, takenOver }) => dataCenter !== target && takenOver !== null);
  if (gone?.dataCenter === source) {
    const why = `${source} was taken over itself and is not back yet`;
    return { kind: 'may-not', why, hint: null };
  }
  if (gone !== undefined) {
    const why = `${gone.dataCenter} was taken over and is not back: it would know nothing of ${target} when it comes`;
    const hint = `Bring it back (\`lanekeeper rejoin\`), or take it out for good: \`lanekeeper leave ${gone.dataCenter}\`.`;
    return { kind: 'may-not', why, hint };
  }
  const ours = leases.find(({ dataCenter }) => dataCenter === target);
  if (ours === undefined) {
    return { kind: 'may', term: view.term, takenOver: null, generation: view.departed?.[target] ?? null };
  }
  if (ours.takenOver === null) {
    return {
      kind: 'may-not',
      why: `${target} was not taken over: its accounts are at home there, and what it alone has would be lost`,
      hint: `Stop its agents, then \`lanekeeper failover --from ${target} --to ${source}\`; --force where ${source} may lack something.`,
    };
  }
  // Who took it over may have been taken over since.
  const { takenOver } = ours;
  let to = successions.find(({ term }) => term === takenOver)?.to;
  for (const { term, kind, from, to: next } of successions) {
    if (term > takenOver && kind === 'take' && from === to) to = next;
  }
  if (to !== source) {
    return { kind: 'may-not', why: `${target} was taken over by ${to}`, hint: `Seed it from there: --from ${to}.` };
  }
  return { kind: 'may', term: view.term, takenOver, generation: ours.incarnation.generation };
}

export async function inspectJoin(options: JoinSides & { readonly store: LeaseStore }): Promise<Inspection> {
  const { target, source, store } = options;
  const [here, there] = [target.configuration.here, source.configuration.here];
  const sessions = new Sessions(options);
  try {
    const standing = await standingOf(store, here, there);
    if (standing.kind === 'may-not') return { ...standing, kind: 'refused' };
    const { takenOver } = standing;
    const refusal = await refusalOf(sessions, options);
    if (refusal !== null) return refusal;
    const mark = await readMark(sessions, here, there);
    const started = mark !== null && mark.stage !== 'begun' && mark.stage !== 'kept';
    const emptied = started || (mark !== null && (await isEmptied(sessions, here)));
    const found = emptied ? { tables: [], more: false } : await whatIsLost(sessions, options);
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

type Refusal = Extract<Inspection, { kind: 'refused' }>;

/** Whether everybody is given, and every table is there and has the same shape everywhere. */
export async function refusalOf(sessions: Sessions, sides: JoinSides): Promise<Refusal | null> {
  const { target, source } = sides;
  const [here, there] = [target.configuration.here, source.configuration.here];
  const refused = (why: string, hint: string): Refusal => ({ kind: 'refused', why, hint });
  const members = await readMembers(await sessions.get('source', 'agent'));
  const given = othersOf(sides).map(({ configuration }) => configuration.here);
  const absent = members === null ? [] : [...members].filter((dc) => dc !== here && !given.includes(dc));
  if (absent.length > 0) {
    const hint = `Name ${absent.length === 1 ? 'it' : 'them'} in the configuration of ${here}, or take ${absent.length === 1 ? 'it' : 'them'} out: \`lanekeeper leave\`.`;
    return refused(
      `${absent.join(' and ')} ${absent.length === 1 ? 'takes' : 'take'} part in ${there}, and nobody would tell ${absent.length === 1 ? 'it' : 'them'}`,
      hint,
    );
  }
  if (!(here in source.configuration.dataCenters)) {
    return refused(
      `${there} does not know ${here}`,
      `Name ${here} in the configuration of ${there}, and let its agents have that.`,
    );
  }
  const missing = await missingTables(sessions, target.configuration);
  if (missing.length > 0) {
    return refused(`${here} has no ${missing.join(', no ')}`, "Run the application's migrations there first.");
  }
  const ours = tableHashes(await readCatalog(await sessions.get('target', 'owner')), target.configuration);
  for (const side of othersOf(sides)) {
    const theirs = tableHashes(await readCatalog(await sessions.of(side, 'owner')), target.configuration);
    const differing = Object.keys(ours).filter((name) => theirs[name] !== undefined && theirs[name] !== ours[name]);
    if (differing.length === 0) continue;
    const dc = side.configuration.here;
    const why = `${differing.join(', ')} ${differing.length === 1 ? 'has' : 'have'} other columns or keys in ${here} than in ${dc}`;
    return refused(why, "Run the same of the application's migrations in both first.");
  }
  return null;
}

async function isEmptied(sessions: Sessions, target: DataCenterName): Promise<boolean> {
  const client = await sessions.get('target', 'agent');
  const { rows } = await client.query<{ stage: JoinStage }>('SELECT stage FROM lanekeeper.joining WHERE dc = $1', [
    target,
  ]);
  return rows[0] !== undefined && rows[0].stage !== 'begun' && rows[0].stage !== 'kept';
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
