/** Which values of homed tables have to be unique in all data centers, and so be claimed. Pure. */
import { type Catalog, type Hazards, namesRandom, type TableInfo, type UniqueIndexInfo } from '../postgres/index.ts';
import type { AccountPathGuess } from './accounts.ts';
import { namesContact } from './names.ts';

export type ClaimGuess = {
  readonly name: string;
  readonly table: string;
  readonly column: string;
  readonly normalise: 'none' | 'lower';
  readonly mode: 'buckets' | 'one-dc';
  readonly why: string;
};

export function claimsOf(
  catalog: Catalog,
  records: readonly TableInfo[],
  paths: ReadonlyMap<string, AccountPathGuess>,
  { mode, expressions }: { readonly mode: ClaimGuess['mode']; readonly expressions: Hazards['expressions'] },
): readonly ClaimGuess[] {
  const recordNames = new Set(records.map(({ name }) => name));
  const drawn = new Set([...catalog.sequences.values()].map(({ table, column }) => `${table}.${column}`));
  const found = new Map<string, ClaimGuess>();
  for (const table of records) {
    const path = paths.get(table.name)?.path;
    // In a fixed home the index sees every row.
    if (path === undefined) continue;
    for (const index of table.uniqueIndexes) {
      const column = columnOf(table, index, expressions);
      if (column === null) continue;
      const key = `${table.name}.${column.name}`;
      // Numbers from a strided sequence are never drawn twice.
      if (drawn.has(key) || !needsClaim(table, column.name, path, recordNames)) continue;
      const lower =
        column.lower || table.columns.some((one) => one.name === column.name && /(^|\.)citext$/.test(one.type));
      const before = found.get(key);
      if (before && (before.normalise === 'lower' || !lower)) continue;
      found.set(key, {
        name: claimName(table, column.name),
        table: table.name,
        column: column.name,
        normalise: lower ? 'lower' : 'none',
        mode,
        why: `${index.name} keeps it unique in one database only${
          index.partialOrExpression && !column.lower ? ', among some rows: the others must not hold the same value' : ''
        }${namesContact(column.name) && !lower ? '; normalise: lower where case does not count' : ''}`,
      });
    }
  }
  return distinct([...found.values()]);
}

/** The one column of a unique index, plain, partial or under `lower()`. */
function columnOf(
  table: TableInfo,
  index: UniqueIndexInfo,
  expressions: readonly { readonly table: string; readonly name: string; readonly definition: string }[],
): { readonly name: string; readonly lower: boolean } | null {
  if (index.primary) return null;
  const [only, ...more] = index.columns;
  if (only !== undefined && more.length === 0) return { name: only, lower: false };
  if (only !== undefined) return null;
  const text = expressions.find((one) => one.table === table.name && one.name === index.name)?.definition;
  const inside = text === undefined ? null : /\(lower\(\(?"?([^")]+)"?\)?(?:::text)?\)\)/.exec(text);
  return inside?.[1] === undefined ? null : { name: inside[1], lower: true };
}

function needsClaim(table: TableInfo, column: string, path: readonly string[], records: ReadonlySet<string>): boolean {
  const info = table.columns.find((one) => one.name === column);
  if (!info || info.generated || info.identity !== null || info.type === 'uuid' || column === path[0]) return false;
  // At random no two data centers draw the same; what names a row is as unique as that row.
  if (namesRandom(column)) return false;
  return !table.foreignKeys.some(
    (key) => key.columns.length === 1 && key.columns[0] === column && records.has(key.references),
  );
}

function claimName(table: TableInfo, column: string): string {
  return (
    `${table.relation}_${column}`
      .toLowerCase()
      .replace(/[^a-z0-9_]/g, '_')
      .replace(/^[^a-z]+/, '')
      .slice(0, 32) || 'value'
  );
}

/** Two long names may be cut off to the same. */
function distinct(claims: readonly ClaimGuess[]): readonly ClaimGuess[] {
  const taken = new Set<string>();
  return claims.map((claim) => {
    let name = claim.name;
    for (let number = 2; taken.has(name); number += 1)
      name = `${claim.name.slice(0, 32 - String(number).length)}${number}`;
    taken.add(name);
    return { ...claim, name };
  });
}
