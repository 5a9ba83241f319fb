/** Which table holds the accounts, and how the rows of the others find theirs. Pure. */
import type { ForeignKeyInfo, TableInfo } from '../postgres/index.ts';
import { accountScore, keyColumnOf, namesAuthor, namesContact, namesKeyOf, singularWords, wordsOf } from './names.ts';

export type RootGuess = {
  readonly table: TableInfo;
  readonly key: string;
  readonly why: string;
  /** Other tables that could be it, the likeliest first. */
  readonly others: readonly string[];
  readonly partitioned: ReadonlySet<string>;
};

export type AccountPathGuess = {
  readonly path: readonly string[];
  readonly why: string;
  /** The columns of the row itself that its account depends on may be NULL. */
  readonly mayBeNull: boolean;
  /** A column that has no foreign key says whose the row is. */
  readonly byName: boolean;
  /** A row on the way, after the first step, may have no account: then neither has this one, and it is refused. */
  readonly parentMayBeNull: boolean;
};

/** `named`: qualified, when somebody knows better. */
export function guessRoot(tables: readonly TableInfo[], named: string | null): RootGuess | null {
  const partitioned = new Set(tables.flatMap(({ kind, name }) => (kind === 'partitioned' ? [name] : [])));
  // A dot parts the steps of a path.
  const keyed = tables.filter((table) => table.primaryKey.length === 1 && !table.primaryKey[0]?.includes('.'));
  if (named !== null) {
    const table = keyed.find((one) => one.name === named);
    return table ? { table, key: table.primaryKey[0] as string, why: 'as you said', others: [], partitioned } : null;
  }
  const ranked = keyed
    .map((table) => ({ table, ...rank(table, tables) }))
    .filter(({ score }) => score > 0)
    .sort((a, b) => b.score - a.score || (a.table.name < b.table.name ? -1 : 1));
  const [best, ...rest] = ranked;
  if (!best) return null;
  return {
    table: best.table,
    key: best.table.primaryKey[0] as string,
    why: best.why,
    others: rest
      .filter(({ table }) => accountScore(table.relation) > 0)
      .slice(0, 3)
      .map(({ table }) => table.name),
    partitioned,
  };
}

function rank(table: TableInfo, tables: readonly TableInfo[]): { readonly score: number; readonly why: string } {
  const byName = accountScore(table.relation);
  const contact = table.columns.find(({ name }) => namesContact(name));
  // Without a name, only what has an address and what everything points at is a guess at all.
  if (byName === 0 && !contact) return { score: 0, why: '' };
  const pointing = tables.filter(
    (other) => other !== table && other.foreignKeys.some((key) => key.references === table.name && isOwner(key)),
  ).length;
  const naming = tables.filter(
    (other) =>
      other !== table &&
      other.columns.some(({ name }) => namesKeyOf(name, table.relation, table.primaryKey[0] ?? 'id')),
  ).length;
  const reach = Math.max(pointing, naming);
  if (byName === 0 && pointing < 3) return { score: 0, why: '' };
  // Nothing of theirs anywhere, and a name with more in it: icinga_contactgroup_members are no accounts.
  if (reach === 0 && wordsOf(table.relation).length > 1) return { score: 0, why: '' };
  // A row that must belong to another candidate is something of an account, not the account.
  const belongs = table.foreignKeys.some((key) => {
    const other = tables.find((one) => one.name === key.references);
    return other && other !== table && accountScore(other.relation) > 0 && required(table, key);
  });
  const score = byName + Math.min(40, 3 * reach) + (contact ? 10 : 0) - (belongs ? 60 : 0);
  const parts = [
    ...(byName > 0 ? ['by its name'] : []),
    ...(reach > 0
      ? [
          `${reach} other table${reach === 1 ? '' : 's'} ${pointing >= naming ? 'refer' : 'name it'}${pointing >= naming && reach === 1 ? 's' : ''}${pointing >= naming ? ' to it' : ''}`,
        ]
      : []),
    ...(contact ? [`has ${contact.name}`] : []),
  ];
  return { score, why: parts.join(', ') };
}

function isOwner(key: ForeignKeyInfo): boolean {
  return !key.columns.some(namesAuthor);
}

function required(table: TableInfo, key: ForeignKeyInfo): boolean {
  return key.columns.every((name) => table.columns.find((column) => column.name === name)?.notNull);
}

/** What may be NULL on the way costs more than any number of steps: such rows find no account. Then names, then steps. */
const nullCost = 10_000;
const nameCost = 100;

/** The best path of every table that has one: nothing NULL on the way if that can be, foreign keys before names, few steps. */
export function guessPaths(tables: readonly TableInfo[], root: RootGuess): ReadonlyMap<string, AccountPathGuess> {
  const { table: accounts, key } = root;
  const own: AccountPathGuess = {
    path: [key],
    why: 'the accounts',
    mayBeNull: false,
    byName: false,
    parentMayBeNull: false,
  };
  const paths = new Map<string, AccountPathGuess>();
  const open = new Map<string, Way>([[accounts.name, { cost: 0, guess: own }]]);
  const offer = (table: TableInfo, way: Way): void => {
    if (paths.has(table.name)) return;
    const known = open.get(table.name);
    if (known === undefined || way.cost < known.cost) open.set(table.name, way);
  };
  for (const table of tables) {
    const named = byColumn(table, root);
    if (named && table !== accounts) offer(table, { cost: 1 + nameCost + costOfNull(named), guess: named });
  }
  const children = childrenOf(tables);
  while (open.size > 0) {
    const [name, way] = [...open].reduce((best, one) => (one[1].cost < best[1].cost ? one : best));
    open.delete(name);
    paths.set(name, way.guess);
    for (const { table, key } of children.get(name) ?? []) {
      if (!leadsOn(table, key, root)) continue;
      const guess = byKey(table, key, root, paths);
      offer(table, { cost: way.cost + 1 + costOfNull(guess), guess });
    }
  }
  return paths;
}

/** The best way to an account found so far. */
type Way = { readonly cost: number; readonly guess: AccountPathGuess };

function costOfNull({ mayBeNull }: AccountPathGuess): number {
  return mayBeNull ? nullCost : 0;
}

type Child = { readonly table: TableInfo; readonly key: ForeignKeyInfo };

function childrenOf(tables: readonly TableInfo[]): ReadonlyMap<string, readonly Child[]> {
  const children = new Map<string, Child[]>();
  for (const table of tables) {
    for (const key of table.foreignKeys) {
      const known = children.get(key.references);
      if (known) known.push({ table, key });
      else children.set(key.references, [{ table, key }]);
    }
  }
  return children;
}

function byKey(
  table: TableInfo,
  step: ForeignKeyInfo,
  { table: accounts, key }: RootGuess,
  paths: ReadonlyMap<string, AccountPathGuess>,
): AccountPathGuess {
  // A key that holds the account's own key needs no further step.
  const direct = isDirect(step, accounts.name, key);
  const [only = '', ...more] = step.columns;
  // A column with two foreign keys does not say which way to go; the constraint does.
  const plain = more.length === 0 && table.foreignKeys.filter(({ columns }) => columns.join() === only).length === 1;
  const name = direct || plain ? only : step.name;
  const parent = paths.get(step.references) as AccountPathGuess;
  return {
    path: direct ? [name] : [name, ...parent.path],
    why: direct
      ? `its ${name} refers to ${accounts.name}`
      : `its ${name} refers to ${step.references}, which has an account`,
    mayBeNull: !required(table, step),
    byName: direct ? false : parent.byName,
    parentMayBeNull: !direct && (parent.mayBeNull || parent.parentMayBeNull),
  };
}

/** Services that share a database without foreign keys between them still name each other's keys. */
function byColumn(table: TableInfo, { table: accounts, key }: RootGuess): AccountPathGuess | null {
  const type = accounts.columns.find(({ name }) => name === key)?.type;
  const column = table.columns.find(
    (one) =>
      namesKeyOf(one.name, accounts.relation, key) && one.type === type && !one.generated && !one.name.includes('.'),
  );
  if (!column) return null;
  return {
    path: [column.name],
    why: `${column.name} names ${accounts.name}, though no foreign key says so`,
    mayBeNull: !column.notNull,
    byName: true,
    parentMayBeNull: false,
  };
}

export type DeadEnd = { readonly column: string; readonly names: TableInfo };

/** Finds in a table the column that names a row of a table with an account, where no foreign key leads on. */
export function deadEnds(
  tables: readonly TableInfo[],
  paths: ReadonlyMap<string, AccountPathGuess>,
): (table: TableInfo) => DeadEnd | null {
  const byColumn = new Map(
    tables
      .filter((table) => paths.has(table.name) && table.primaryKey.length === 1)
      .map((table) => [keyColumnOf(table.relation), table]),
  );
  return (table) => {
    for (const { name, type } of table.columns) {
      const names = byColumn.get(singularWords(name));
      const key = names?.columns.find((column) => column.name === names.primaryKey[0]);
      if (names && names !== table && key?.type === type) return { column: name, names };
    }
    return null;
  };
}

function isDirect(step: ForeignKeyInfo, accounts: string, key: string): boolean {
  return step.references === accounts && step.referencedColumns[0] === key && step.columns.length === 1;
}

function leadsOn(table: TableInfo, key: ForeignKeyInfo, root: RootGuess): boolean {
  if (key.references === table.name || !isOwner(key)) return false;
  if ([...key.columns, key.name].some((name) => name.includes('.'))) return false;
  // The fence leads no path through a partitioned table.
  return isDirect(key, root.table.name, root.key) || !root.partitioned.has(key.references);
}
