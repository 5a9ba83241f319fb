import type { Catalog, ForeignKeyInfo, TableInfo } from '@lanekeeper/server/postgres';
import { expect, test } from 'vitest';
import { inferSections } from './infer.ts';

type Sketch = {
  readonly key?: readonly string[];
  readonly columns?: readonly string[];
  /** `column → table` or `column? → table` when it may be NULL. */
  readonly references?: Readonly<Record<string, string>>;
  readonly unique?: readonly (readonly string[])[];
};

function catalog(sketches: Readonly<Record<string, Sketch>>): Catalog {
  const tables = Object.entries(sketches).map(([relation, sketch]): [string, TableInfo] => {
    const references = Object.entries(sketch.references ?? {});
    const foreignKeys = references.map(
      ([column, target]): ForeignKeyInfo => ({
        name: `${relation}_${column.replace('?', '')}_fkey`,
        columns: [column.replace('?', '')],
        references: `public.${target}`,
        referencedColumns: ['id'],
        onDelete: 'no-action',
      }),
    );
    const columns = [
      ...new Set([...(sketch.key ?? ['id']), ...(sketch.columns ?? []), ...references.map(([name]) => name)]),
    ];
    return [
      `public.${relation}`,
      {
        name: `public.${relation}`,
        schema: 'public',
        relation,
        owner: 'owner',
        kind: 'table',
        partitionOf: null,
        unlogged: false,
        replicaIdentity: 'd',
        columns: columns.map((name) => ({
          name: name.replace('?', ''),
          type: 'text',
          notNull: !name.endsWith('?'),
          generated: false,
          identity: null,
        })),
        primaryKey: sketch.key ?? ['id'],
        foreignKeys,
        uniqueIndexes: (sketch.unique ?? []).map((unique, index) => ({
          name: `${relation}_${index}`,
          columns: unique,
          primary: false,
          partialOrExpression: false,
        })),
        indexes: [],
        triggers: [],
        estimatedRows: 0,
      } as TableInfo,
    ];
  });
  return { serverVersion: 180_004, tables: new Map(tables), sequences: new Map() };
}

test('a shop is understood from its foreign keys', () => {
  const inferred = inferSections(
    catalog({
      order_lines: { references: { order_id: 'orders', sku: 'products' } },
      orders: { references: { customer_id: 'customers' } },
      customers: { unique: [['email'], ['tenant', 'number']], columns: ['email'] },
      products: { key: ['sku'] },
      knex_migrations: {},
      knex_migrations_lock: {},
      web_sessions: {},
    }),
    'ny',
  );
  expect(inferred).toMatchObject({
    kind: 'inferred',
    sections: {
      tables: {
        'public.customers': { class: 'system-of-record', account: 'id', root: true },
        'public.orders': { class: 'system-of-record', account: 'customer_id' },
        'public.order_lines': { class: 'system-of-record', account: 'order_id.customer_id' },
        'public.products': { class: 'system-of-reference', feeder: 'ny' },
        'public.web_sessions': { class: 'session-state' },
      },
      claims: { customers_email: { table: 'public.customers', column: 'email', mode: 'one-dc', dataCenter: 'ny' } },
      ignore: ['public.knex_migrations', 'public.knex_migrations_lock'],
    },
  });
});

test('of two ways to an account the one that is never NULL is taken, and the shorter one', () => {
  const inferred = inferSections(
    catalog({
      users: {},
      carts: { references: { 'user_id?': 'users' } },
      notes: { references: { 'cart_id?': 'carts', 'author_id?': 'users', owner_id: 'users' } },
      tree: { references: { parent_id: 'tree', cart_id: 'carts' } },
    }),
    'ny',
  );
  expect(inferred.kind === 'inferred' && inferred.sections.tables).toMatchObject({
    'public.notes': { account: 'owner_id' },
    'public.tree': { account: 'cart_id.user_id' },
  });
});

test('without a table of accounts nothing is guessed', () => {
  expect(inferSections(catalog({ things: {} }), 'ny')).toEqual({ kind: 'no-accounts', tables: ['public.things'] });
});
