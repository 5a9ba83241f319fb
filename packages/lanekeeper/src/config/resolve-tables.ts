/** Tables and claims: what is homed, how a row finds its account, what must be unique. Part of `resolve.ts`. */
import { type DataClass, defaultDurability, type Homes } from '../model/index.ts';
import type { Claim, Table } from './configuration.ts';
import { nearest, oneOf } from './nearest.ts';
import type { Path, Problems } from './problem.ts';
import { checkDataCenterName } from './resolve-data-centers.ts';
import { mergingOf } from './resolve-merging.ts';
import type { FilledConfiguration } from './schema.ts';

/** `orders` → `public.orders`; null when it is not one or two names. */
export function qualifiedName(written: string): string | null {
  const parts = written.split('.');
  if (parts.length > 2 || parts.some((part) => part === '' || part.trim() !== part || Buffer.byteLength(part) > 63))
    return null;
  return parts.length === 1 ? `public.${written}` : written;
}

const systemSchema = /^(lanekeeper|pg_.*|information_schema)\./;

export function resolveTables(written: FilledConfiguration, homes: Homes, problems: Problems): Record<string, Table> {
  const resolved: Record<string, Table> = Object.create(null);
  const writtenAs = new Map<string, string>();
  for (const [writtenName, table] of Object.entries(written.tables)) {
    const path: Path = ['tables', writtenName];
    const name = qualifiedName(writtenName);
    if (name === null) {
      problems.error(path, `\`${writtenName}\` is not the name of a table`, 'Write `table` or `schema.table`.', 'key');
      continue;
    }
    if (systemSchema.test(name)) {
      problems.error(path, `\`${name}\` is not a table of the application`, 'Remove it.', 'key');
      continue;
    }
    const other = writtenAs.get(name);
    if (other !== undefined) {
      problems.error(path, `\`${other}\` and \`${writtenName}\` are the same table`, 'Remove one of them.', 'key');
      continue;
    }
    writtenAs.set(name, writtenName);
    resolved[name] = {
      name,
      class: table.class,
      account: accountPath(table, path, homes, problems),
      root: homes === 'per-account' && table.root,
      nullAccount: homes === 'per-account' ? (table.nullAccount ?? null) : null,
      ...mergingOf(table, path, written, problems),
      ...safetyOf(table, written.classes[table.class]),
    };
    checkSafety(table, table.class, path, resolved[name].durability, problems);
    if (table.cached && resolved[name].durability === 'remote')
      problems.warn(
        [...path, 'cached'],
        'Commits that announce a change are made one after another, and those of a remote table each wait for another data center: some tens a second at most',
        'Cache tables that change seldom, or write `durability: local`.',
      );
  }
  for (const [name, safety] of Object.entries(written.classes)) {
    const named = name as DataClass;
    checkSafety(safety, named, ['classes', name], safety.durability ?? defaultDurability[named], problems);
  }
  if (homes === 'per-account') checkRoots(written, problems);
  return resolved;
}

type WrittenTable = FilledConfiguration['tables'][string];
type WrittenSafety = Pick<WrittenTable, 'durability' | 'whenAlone' | 'stranded'>;

/** What the table says, else its class. What a class says of `remote` tables is not for one that is `local`. */
function safetyOf(
  table: WrittenTable,
  ofClass: WrittenSafety | undefined,
): Pick<Table, 'durability' | 'whenAlone' | 'stranded'> {
  const durability = table.durability ?? ofClass?.durability ?? defaultDurability[table.class];
  const whenAlone = durability === 'local' ? 'accept' : (table.whenAlone ?? ofClass?.whenAlone ?? 'accept');
  return { durability, whenAlone, stranded: table.stranded ?? ofClass?.stranded ?? 'keep' };
}

/** These travel in the stream `rest`, which no commit waits for, so that an import of a catalog delays nobody. */
const unawaited: ReadonlySet<DataClass> = new Set(['read-only', 'static-content', 'system-of-reference', 'cache']);

function checkSafety(
  safety: WrittenSafety,
  dataClass: DataClass,
  path: Path,
  durability: Table['durability'],
  problems: Problems,
): void {
  if (safety.durability === 'remote' && dataClass !== 'system-of-record')
    problems.error(
      [...path, 'durability'],
      unawaited.has(dataClass)
        ? `What is ${dataClass} travels in a stream that no commit waits for`
        : `What is ${dataClass} does not leave its data center, so it cannot be durable elsewhere`,
      'Write `local`, or remove it.',
    );
  else if (safety.whenAlone === 'refuse' && durability === 'local')
    problems.error(
      [...path, 'whenAlone'],
      'A `local` write waits for no other data center, so being alone makes no difference to it',
      'Remove `whenAlone`, or write `durability: remote`.',
    );
  if (safety.stranded === 'merge' && dataClass !== 'system-of-record')
    problems.error(
      [...path, 'stranded'],
      'Only writes to homed tables are stranded',
      'Remove `stranded`, or declare the table system-of-record.',
    );
}

function accountPath(table: WrittenTable, path: Path, homes: Homes, problems: Problems): string[] | null {
  if (table.class !== 'system-of-record') {
    for (const key of ['account', 'nullAccount'] as const) {
      if (table[key] !== undefined)
        problems.error(
          [...path, key],
          `A ${table.class} table belongs to no account`,
          `Remove \`${key}\`, or declare it system-of-record.`,
          'key',
        );
    }
    if (table.root)
      problems.error(
        [...path, 'root'],
        `A ${table.class} table cannot hold the accounts`,
        'The table whose rows are the accounts is system-of-record.',
      );
    return null;
  }
  if (homes === 'single' || table.home !== undefined) return null;
  if (table.account === undefined) {
    problems.error(
      [...path, 'account'],
      'How does a row find its account?',
      table.root
        ? 'Name the key column of the accounts: `account: id`.'
        : 'Name the column, `account: account_id`, or a path through foreign keys, `account: order_id.account_id`.',
      'key',
    );
    return null;
  }
  const steps = table.account.split('.');
  if (steps.some((step) => step === '' || step.trim() !== step || Buffer.byteLength(step) > 63)) {
    problems.error(
      [...path, 'account'],
      'This is not a path of columns',
      'Column names with a dot between them: `order_id.account_id`.',
    );
    return null;
  }
  if (table.root && steps.length > 1) {
    problems.error(
      [...path, 'account'],
      'The root table is where every path ends, so it names one column',
      'Name its key column: `account: id`.',
    );
    return null;
  }
  return steps;
}

function checkRoots(written: FilledConfiguration, problems: Problems): void {
  const roots = Object.keys(written.tables).filter((name) => written.tables[name]!.root);
  if (roots.length === 0) {
    problems.error(
      ['tables'],
      'No table holds the accounts',
      'Write `root: true` at the one whose rows are the accounts.',
      'key',
    );
  }
  for (const name of roots.slice(1)) {
    problems.error(
      ['tables', name, 'root'],
      `\`${roots[0]}\` is the root table already`,
      'Deeds are born with the rows of one table only.',
    );
  }
}

export function resolveIgnore(written: FilledConfiguration, problems: Problems): string[] {
  const declared = Object.keys(written.tables).flatMap((name) => qualifiedName(name) ?? []);
  return written.ignore.flatMap((pattern, index) => {
    const name = qualifiedName(pattern);
    const path: Path = ['ignore', index];
    if (name === null) {
      problems.error(
        path,
        'This is not the name of a table',
        'Write `table`, `schema.table` or a pattern, `public.kysely_*`.',
      );
      return [];
    }
    for (const table of declared) {
      if (matchesPattern(name, table))
        problems.error(
          path,
          `This matches \`${table}\`, which is declared in \`tables\``,
          'A table is either declared or ignored.',
        );
    }
    return [name];
  });
}

/** Whether a qualified table name matches a resolved `ignore` entry; `*` stands for any characters within a name. */
export function matchesPattern(pattern: string, table: string): boolean {
  const names = table.split('.');
  const parts = pattern.split('.');
  return parts.length === names.length && parts.every((part, index) => matchesName(part, names[index]!));
}

/** Linear in both lengths for one star, and never worse than their product. */
function matchesName(pattern: string, name: string): boolean {
  const pieces = pattern.split('*');
  if (pieces.length === 1) return pattern === name;
  const first = pieces[0]!;
  const last = pieces.at(-1)!;
  if (name.length < first.length + last.length || !name.startsWith(first) || !name.endsWith(last)) return false;
  let from = first.length;
  const end = name.length - last.length;
  for (const piece of pieces.slice(1, -1)) {
    const found = name.indexOf(piece, from);
    if (found < 0 || found + piece.length > end) return false;
    from = found + piece.length;
  }
  return true;
}

export function resolveClaims(
  written: FilledConfiguration,
  homes: Homes,
  tables: Readonly<Record<string, Table>>,
  problems: Problems,
): Record<string, Claim> {
  const resolved: Record<string, Claim> = Object.create(null);
  for (const [name, claim] of Object.entries(written.claims)) {
    const path: Path = ['claims', name];
    const table = qualifiedName(claim.table);
    const declared = table === null ? undefined : tables[table];
    if (table === null || declared === undefined) {
      const known = Object.keys(written.tables);
      const meant = nearest(claim.table, known);
      problems.error(
        [...path, 'table'],
        `\`${claim.table}\` is not declared in \`tables\``,
        meant === null ? `One of ${oneOf(known)}.` : `Did you mean \`${meant}\`?`,
      );
      continue;
    }
    if (declared.class !== 'system-of-record') {
      problems.error(
        [...path, 'table'],
        `\`${table}\` is ${declared.class}, and only values of system-of-record tables are claimed`,
        'Claim the value in the homed table that holds it.',
      );
    }
    if (declared.home !== null) {
      problems.error(
        [...path, 'table'],
        `\`${table}\` is written in one data center, so that a unique index is enough`,
        'Remove the claim.',
      );
    } else if (homes === 'single') {
      problems.warn(
        path,
        'With one home for all accounts a unique index is enough',
        'Remove the claim, unless you are about to change the approach.',
        'key',
      );
    }
    if (claim.mode === 'one-dc' && claim.dataCenter === undefined) {
      problems.error(
        [...path, 'dataCenter'],
        'Which data center registers the values?',
        `Add \`dataCenter:\` with one of ${oneOf(Object.keys(written.dataCenters))}.`,
        'key',
      );
    }
    if (claim.dataCenter !== undefined) {
      if (claim.mode === 'buckets')
        problems.error(
          [...path, 'dataCenter'],
          'Buckets have a home each, not one data center',
          'Remove `dataCenter`, or write `mode: one-dc`.',
          'key',
        );
      checkDataCenterName(claim.dataCenter, [...path, 'dataCenter'], written, problems);
    }
    if (homes === 'single') continue;
    resolved[name] = {
      name,
      table,
      column: claim.column,
      normalise: claim.normalise,
      mode: claim.mode,
      dataCenter: claim.dataCenter ?? null,
    };
  }
  return resolved;
}
