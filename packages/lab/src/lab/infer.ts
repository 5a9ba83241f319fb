/**
 * For an application without a configuration: what its tables are, guessed from its foreign keys. Pure. The guess is
 * written into the lab's folder and shown, so that a person can correct it and give it back with `--config`.
 *
 * - The accounts are the table called accounts, customers or users.
 * - What reaches it through foreign keys belongs to its accounts, by the shortest path, columns that are never NULL first.
 * - The rest is written by the first data center and read by all: refused loudly elsewhere, rather than different quietly.
 * - A unique index on a homed table that says nothing of the account is registered by the first data center.
 */
import type { Catalog, ForeignKeyInfo, TableInfo } from '@lanekeeper/server/postgres';
import type { WrittenConfiguration } from 'lanekeeper/config';

export type Sections = Pick<WrittenConfiguration, 'tables'> &
  Partial<
    Omit<WrittenConfiguration, 'cluster' | 'dataCenters' | 'leases' | 'roles' | 'enforce' | 'rollout' | 'tables'>
  >;

export type Inferred =
  | { readonly kind: 'inferred'; readonly sections: Sections; readonly remarks: readonly string[] }
  | { readonly kind: 'no-accounts'; readonly tables: readonly string[] };

const rootNames = ['accounts', 'customers', 'users', 'account', 'customer', 'user', 'app_user'];
const ledger =
  /^(_prisma_migrations|sequelizemeta|schema_migrations|mikro_orm_migrations|typeorm_metadata|pgmigrations)$|^_*(knex|kysely|drizzle|flyway|liquibase)|migrations?(_lock)?$/i;
const sessions = /(^|_)sessions?$/i;

export function inferSections(catalog: Catalog, firstDataCenter: string): Inferred {
  const tables = [...catalog.tables.values()].filter(
    (table) => table.schema !== 'lanekeeper' && table.partitionOf === null,
  );
  const ignored = tables.filter((table) => ledger.test(table.relation));
  const declared = tables.filter((table) => !ledger.test(table.relation));
  const root = rootNames
    .map((name) => declared.find((table) => table.relation === name && table.primaryKey.length === 1))
    .find((table) => table !== undefined);
  if (!root) return { kind: 'no-accounts', tables: declared.map((table) => table.name) };

  const key = root.primaryKey[0] as string;
  const paths = findPaths(declared, root, key);
  const remarks: string[] = [];
  const written: Record<string, WrittenConfiguration['tables'][string]> = {};
  const claims: NonNullable<WrittenConfiguration['claims']> = {};
  for (const table of declared) {
    const path = paths.get(table.name);
    if (path) {
      const isRoot = table === root;
      written[table.name] = { class: 'system-of-record', account: path.join('.'), ...(isRoot ? { root: true } : {}) };
      remarks.push(isRoot ? `${table.name}: the accounts, by ${key}` : `${table.name}: belongs to ${path.join('.')}`);
      for (const column of claimed(table, path)) {
        claims[claimName(table, column)] = {
          table: table.name,
          column,
          mode: 'one-dc',
          dataCenter: firstDataCenter,
        };
        remarks.push(
          `${table.name}.${column}: unique everywhere, so new values are registered in ${firstDataCenter} only`,
        );
      }
    } else if (sessions.test(table.relation)) {
      written[table.name] = { class: 'session-state' };
      remarks.push(`${table.name}: session state, stays where it is written`);
    } else {
      written[table.name] = { class: 'system-of-reference', feeder: firstDataCenter };
      remarks.push(`${table.name}: no path to an account, so it is written in ${firstDataCenter} and read everywhere`);
    }
  }
  for (const table of ignored) remarks.push(`${table.name}: left alone`);
  return {
    kind: 'inferred',
    sections: { tables: written, claims, ignore: ignored.map((table) => table.name) },
    remarks,
  };
}

/** Breadth first from the accounts, so that the first path found is a shortest one. */
function findPaths(tables: readonly TableInfo[], root: TableInfo, key: string): Map<string, readonly string[]> {
  const paths = new Map<string, readonly string[]>([[root.name, [key]]]);
  let reached: readonly TableInfo[] = [root];
  while (reached.length > 0) {
    const next: TableInfo[] = [];
    for (const table of tables) {
      if (paths.has(table.name)) continue;
      const step = bestKey(table, reached);
      if (!step) continue;
      // A key that holds the account's own key needs no further step.
      const direct = step.references === root.name && step.referencedColumns[0] === key && step.columns.length === 1;
      const name = step.columns.length === 1 ? (step.columns[0] as string) : step.name;
      paths.set(table.name, direct ? [name] : [name, ...(paths.get(step.references) as readonly string[])]);
      next.push(table);
    }
    reached = next;
  }
  return paths;
}

function bestKey(table: TableInfo, reached: readonly TableInfo[]): ForeignKeyInfo | undefined {
  const names = new Set(reached.map((one) => one.name));
  const candidates = table.foreignKeys.filter((key) => names.has(key.references) && key.references !== table.name);
  const required = (key: ForeignKeyInfo): boolean =>
    key.columns.every((name) => table.columns.find((column) => column.name === name)?.notNull);
  return candidates.find(required) ?? candidates[0];
}

/** Columns that are unique by themselves and are neither the key nor the way to the account. */
function claimed(table: TableInfo, path: readonly string[]): readonly string[] {
  const singles = table.uniqueIndexes
    .filter((index) => !index.primary && !index.partialOrExpression && index.columns.length === 1)
    .map((index) => index.columns[0] as string)
    .filter((column) => column !== path[0] && !table.columns.find((one) => one.name === column)?.generated);
  return [...new Set(singles)];
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
