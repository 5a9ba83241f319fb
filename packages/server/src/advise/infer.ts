/**
 * What an application's tables are, guessed from keys, names and statistics. Pure. The guess is written down with its
 * reasons, so that a person can correct it; `adopt` and `lab --schema` use it, `advise` compares it with what is declared.
 *
 * - What reaches the accounts through foreign keys belongs to them, by the shortest path, columns that are never NULL first.
 * - What belongs to no account and is counted, or written all the time, has one fixed home: nothing is merged that should not be.
 * - The rest is written by one data center and read by all: refused loudly elsewhere, rather than different quietly.
 */
import { qualifiedName, type WrittenConfiguration } from 'lanekeeper/config';
import {
  type Catalog,
  type Hazards,
  namesConfiguration,
  type Statistics,
  type TableInfo,
  type TableUse,
} from '../postgres/index.ts';
import { type AccountPathGuess, type DeadEnd, deadEnds, guessPaths, guessRoot, type RootGuess } from './accounts.ts';
import { type ClaimGuess, claimsOf } from './claims.ts';
import { isCache, isCounted, isLedger, isLog, isQueue, isSession, isStaff, isTransaction } from './names.ts';

export type WrittenTable = WrittenConfiguration['tables'][string];

export type TableGuess = {
  readonly table: TableInfo;
  readonly written: WrittenTable;
  readonly why: string;
  /** What has to be decided or changed by a person. */
  readonly remark: string | null;
};

export type Guess = {
  /** Null: no table says who a row belongs to, so everything has one home. */
  readonly root: RootGuess | null;
  readonly tables: readonly TableGuess[];
  readonly claims: readonly ClaimGuess[];
  readonly ignored: readonly { readonly name: string; readonly why: string }[];
  /** The fixed home that some tables have; null when none does. */
  readonly fixed: string | null;
};

export type GuessOptions = {
  /** Where what has one place begins. */
  readonly dataCenter: string;
  /** The table of the accounts, qualified, when it is known. Default: guessed. */
  readonly root?: string | null;
  readonly statistics?: Statistics | null;
  readonly hazards?: Pick<Hazards, 'expressions'> | null;
  /** Who answers whether a value is taken. Default: buckets. */
  readonly claims?: 'buckets' | 'one-dc';
  /** `feeder`: whatever belongs to no account is written by the data center, and nothing else is guessed. Default: classes. */
  readonly rest?: 'classes' | 'feeder';
};

export const fixedHome = 'shared';

export function guessTables(catalog: Catalog, options: GuessOptions): Guess {
  const all = [...catalog.tables.values()].filter(
    (table) => table.schema !== 'lanekeeper' && table.partitionOf === null,
  );
  const ignored: { name: string; why: string }[] = [];
  const declared: TableInfo[] = [];
  for (const table of all) {
    // What a configuration cannot name stays undeclared, and `plan` says so.
    if (qualifiedName(table.name) !== table.name) continue;
    if (isLedger(table.relation)) ignored.push({ name: table.name, why: 'belongs to a migration tool' });
    else declared.push(table);
  }
  const root = guessRoot(declared, options.root ?? null);
  const paths = root ? guessPaths(declared, root) : new Map<string, AccountPathGuess>();
  const known: Known = { root, paths, options, all: declared, endOf: deadEnds(declared, paths) };
  const tables: TableGuess[] = [];
  for (const table of declared) {
    const guess = tableGuess(table, known);
    if (guess === 'ignored') ignored.push({ name: table.name, why: configurationWhy });
    else tables.push(guess);
  }
  const used = tables.some(({ written }) => written.home !== undefined);
  const records = tables.filter(({ written }) => written.class === 'system-of-record').map(({ table }) => table);
  const claims = root
    ? claimsOf(catalog, records, paths, {
        mode: options.claims ?? 'buckets',
        expressions: options.hazards?.expressions ?? [],
      })
    : [];
  return { root, tables, claims, ignored, fixed: used ? fixedHome : null };
}

const configurationWhy =
  'looks like configuration: each data center has its own, so that a bad setting stays in one; declare it if it is content';

/** What is known of all tables when one of them is looked at. */
type Known = {
  readonly root: RootGuess | null;
  readonly paths: ReadonlyMap<string, AccountPathGuess>;
  readonly options: GuessOptions;
  readonly all: readonly TableInfo[];
  endOf(table: TableInfo): DeadEnd | null;
};

function tableGuess(table: TableInfo, known: Known): TableGuess | 'ignored' {
  const { root, paths, options } = known;
  const path = paths.get(table.name);
  const guess = (written: WrittenTable, why: string, remark: string | null = null): TableGuess => ({
    table,
    written,
    why,
    remark: remark ?? keyRemark(table),
  });
  const { dataCenter, rest = 'classes' } = options;
  const feeder = (why: string): TableGuess => guess({ class: 'read-only', feeder: dataCenter }, why);
  // What must belong to an account belongs to it, whatever it is called: a task of a customer is no queue.
  if (path && !path.mayBeNull) return homedGuess(table, root as RootGuess, path, guess);
  if (isSession(table.relation) && !isTransaction(table.relation))
    return guess({ class: 'session-state' }, 'session state, stays where it is written');
  if (rest === 'classes' && isQueue(table.schema, table.relation))
    return guess({ class: 'session-state' }, 'work of this data center: each runs its own, so that nothing runs twice');
  if (rest === 'classes' && isCache(table.relation))
    return guess({ class: 'cache' }, 'a cache: each data center fills its own');
  if (path) return homedGuess(table, root as RootGuess, path, guess);
  if (rest === 'feeder') return feeder(`no path to an account, so it is written in ${dataCenter} and read everywhere`);
  // With one home, whoever takes over needs every row there is.
  if (root === null) return guess({ class: 'system-of-record' }, 'one home for everything');
  if (namesConfiguration(table.relation)) return 'ignored';
  return sharedGuess(table, root, known, guess, feeder);
}

type Say = (written: WrittenTable, why: string, remark?: string | null) => TableGuess;

function homedGuess(table: TableInfo, root: RootGuess, path: AccountPathGuess, say: Say): TableGuess {
  const isRoot = table === root.table;
  const written: WrittenTable = {
    class: 'system-of-record',
    account: path.path.join('.'),
    ...(isRoot ? { root: true } : {}),
    ...(path.mayBeNull && !isRoot ? { nullAccount: 'nobody' } : {}),
  };
  const remark = isRoot ? twoColumns(table) : nullRemark(path);
  return say(written, isRoot ? `the accounts: ${root.why}` : path.why, remark);
}

function nullRemark({ path, mayBeNull, parentMayBeNull }: AccountPathGuess): string | null {
  if (mayBeNull)
    return `${path[0]} may be NULL: such rows have one home, that of the account nobody; better, give guests an account`;
  if (parentMayBeNull)
    return `what ${path[0]} refers to may have no account, and then neither has this row, which is refused: give guests an account`;
  return null;
}

/** Claims are of one value. */
function twoColumns(table: TableInfo): string | null {
  const index = table.uniqueIndexes.find(
    (one) => !one.primary && one.columns.length > 1 && !one.columns.some((name) => table.primaryKey.includes(name)),
  );
  if (!index) return null;
  return `${index.columns.join(', ')} together are unique (${index.name}), and a claim is of one column: claim one of them, or a column made of both`;
}

function sharedGuess(
  table: TableInfo,
  root: RootGuess,
  { options, all, endOf }: Known,
  say: Say,
  feeder: (why: string) => TableGuess,
): TableGuess {
  const record = (why: string, remark: string | null = null): TableGuess =>
    say({ class: 'system-of-record', home: fixedHome }, why, remark);
  const use = options.statistics?.tables.get(table.name) ?? null;
  const twin = root.table.foreignKeys.find((key) => key.references === table.name && isUnique(root.table, key.columns));
  if (twin)
    return record(
      `${root.table.name} refers to each row once (${twin.columns.join(', ')}), but a path leads from a row to its account, not back`,
      `a column here that names the account would let it move with the account; until then it is written in one data center`,
    );
  const end = endOf(table);
  if (end)
    return record(
      `${end.column} names ${end.names.name}, but no foreign key says so, and a path to the account needs one`,
      `FOREIGN KEY (${end.column}) REFERENCES ${end.names.name}, or a column with the account: then it moves with its account`,
    );
  const parent = table.foreignKeys.find(
    (key) => key.references !== table.name && isTransaction(relationOf(key.references)),
  );
  if (isTransaction(table.relation) || (parent && !isTransaction(table.relation) && isPart(table, parent.columns)))
    return record(
      'written while customers buy, but nothing in it leads to an account',
      'a column with the account would let it be written where the customer is',
    );
  if (isCounted(table.relation)) return record('counted up and down by everybody: merging two writes would lose one');
  const busy = busyWhy(use);
  if (isLog(table.relation) && (use === null || use.updated + use.deleted <= use.inserted / 10)) {
    if (mergeable(table))
      return say(
        { class: 'system-of-reference', policy: 'timestamp-weight' },
        'rows are added and hardly ever changed, wherever a customer is',
      );
    return record('rows are added everywhere, but it cannot be merged (no primary key, or another unique one)');
  }
  if (isStaff(table.relation))
    return record('people and keys of the back office: changed rarely, in one place, and never merged');
  if (busy !== null) return record(busy, `if one job imports it: class: read-only, feeder: ${options.dataCenter}`);
  const pointed = all.filter((other) => other.foreignKeys.some((key) => key.references === table.name)).length;
  const seen = use === null || use.inserted + use.updated + use.deleted === 0 ? '' : `, ${written(use)}`;
  return feeder(
    `belongs to no account${pointed > 0 ? `, ${pointed} table${pointed === 1 ? ' refers' : 's refer'} to it` : ''}${seen}: published by one data center`,
  );
}

function written({ inserted, updated, deleted, rows }: TableUse): string {
  return `${rows} rows, ${inserted} inserted, ${updated} updated, ${deleted} deleted`;
}

/** Written far more often than it has rows: not a catalogue that somebody publishes. */
function busyWhy(use: TableUse | null): string | null {
  if (use === null) return null;
  const changes = use.updated + use.deleted;
  if (changes < 1_000 || changes < use.rows / 2) return null;
  return `written all the time (${written(use)}), and belongs to no account`;
}

function relationOf(name: string): string {
  return name.slice(name.indexOf('.') + 1);
}

/** A row that cannot be without the other one is a part of it. */
function isPart(table: TableInfo, columns: readonly string[]): boolean {
  return columns.every((name) => table.columns.find((column) => column.name === name)?.notNull);
}

function mergeable(table: TableInfo): boolean {
  return table.primaryKey.length > 0 && table.uniqueIndexes.every((index) => index.primary);
}

function isUnique(table: TableInfo, columns: readonly string[]): boolean {
  return table.uniqueIndexes.some(
    (index) => index.columns.length === columns.length && columns.every((column) => index.columns.includes(column)),
  );
}

function keyRemark(table: TableInfo): string | null {
  return table.primaryKey.length === 0
    ? 'it has no primary key, and needs one before a second data center is there'
    : null;
}
