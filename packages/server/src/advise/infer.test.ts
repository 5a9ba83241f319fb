import { expect, test } from 'vitest';
import type { Catalog, ForeignKeyInfo, Statistics, TableInfo } from '../postgres/index.ts';
import { type GuessOptions, guessTables } from './infer.ts';
import { sectionsOf } from './sections.ts';

function sections(of: Catalog, options: Partial<GuessOptions> = {}) {
  return sectionsOf(guessTables(of, { dataCenter: 'ny', ...options }), 'ny');
}

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

test('a shop is understood from its foreign keys, for the lab', () => {
  const guessed = sections(
    catalog({
      order_lines: { references: { order_id: 'orders', sku: 'products' } },
      orders: { references: { customer_id: 'customers' } },
      customers: { unique: [['email'], ['tenant', 'number']], columns: ['email'] },
      products: { key: ['sku'] },
      stock_levels: {},
      knex_migrations: {},
      knex_migrations_lock: {},
      web_sessions: {},
    }),
    { rest: 'feeder', claims: 'one-dc' },
  );
  expect(guessed).toEqual({
    tables: {
      'public.customers': { class: 'system-of-record', account: 'id', root: true },
      'public.orders': { class: 'system-of-record', account: 'customer_id' },
      'public.order_lines': { class: 'system-of-record', account: 'order_id.customer_id' },
      'public.products': { class: 'read-only', feeder: 'ny' },
      'public.stock_levels': { class: 'read-only', feeder: 'ny' },
      'public.web_sessions': { class: 'session-state' },
    },
    claims: {
      customers_email: {
        table: 'public.customers',
        column: 'email',
        normalise: 'none',
        mode: 'one-dc',
        dataCenter: 'ny',
      },
    },
    ignore: ['public.knex_migrations', 'public.knex_migrations_lock'],
    fixed: {},
  });
});

test('of two ways to an account the one that is never NULL is taken, and the shorter one', () => {
  const { tables } = sections(
    catalog({
      users: {},
      carts: { references: { 'user_id?': 'users' } },
      notes: { references: { 'cart_id?': 'carts', 'author_id?': 'users', owner_id: 'users' } },
      tree: { references: { parent_id: 'tree', cart_id: 'carts' } },
    }),
  );
  expect(tables).toMatchObject({
    'public.carts': { account: 'user_id', nullAccount: 'nobody' },
    'public.notes': { account: 'owner_id' },
    'public.tree': { account: 'cart_id.user_id' },
  });
  expect(tables['public.notes']).not.toHaveProperty('nullAccount');
});

test('a longer path that is never NULL before a shorter one that may be', () => {
  const { tables } = sections(
    catalog({
      customers: {},
      invoices: { references: { customer_id: 'customers' } },
      invoice_lines: { references: { invoice_id: 'invoices' } },
      fees: { references: { 'customer_id?': 'customers', line_id: 'invoice_lines' } },
    }),
  );
  expect(tables['public.fees']).toEqual({ class: 'system-of-record', account: 'line_id.invoice_id.customer_id' });
});

test('no path leads through a partitioned table, but one may begin in it', () => {
  const of = catalog({
    customers: {},
    orders: { references: { customer_id: 'customers' } },
    lines: { references: { order_id: 'orders' } },
  });
  const orders = of.tables.get('public.orders') as TableInfo;
  const partitioned = new Map([...of.tables, ['public.orders', { ...orders, kind: 'partitioned' as const }]]);
  const { tables } = guessTables({ ...of, tables: partitioned }, { dataCenter: 'ny' });
  const written = (name: string) => tables.find(({ table }) => table.relation === name);
  expect(written('orders')?.written.account).toBe('customer_id');
  expect(written('lines')).toMatchObject({
    written: { class: 'system-of-record', home: 'shared' },
    remark: expect.stringContaining('a column with the account'),
  });
});

test('who wrote a row is not to whom it belongs', () => {
  const { tables } = sections(
    catalog({
      users: { columns: ['email'] },
      orders: { references: { user_id: 'users' } },
      products: { references: { created_by: 'users', 'updatedById?': 'users' } },
    }),
  );
  expect(tables['public.products']).toEqual({ class: 'read-only', feeder: 'ny' });
});

test('without foreign keys between services a column that names the account is taken, and that is said', () => {
  const { tables } = guessTables(
    catalog({
      customer: { columns: ['email'] },
      cart: { columns: ['customer_id?'] },
      cart_line: { references: { cart_id: 'cart' } },
      customer_group: {},
    }),
    { dataCenter: 'ny' },
  );
  const of = (name: string) => tables.find(({ table }) => table.relation === name);
  expect(of('cart')).toMatchObject({
    written: { account: 'customer_id', nullAccount: 'nobody' },
    why: 'customer_id names public.customer, though no foreign key says so',
  });
  expect(of('cart')?.remark).toContain('customer_id may be NULL');
  expect(of('cart_line')?.written.account).toBe('cart_id.customer_id');
  expect(of('customer_group')?.written.class).toBe('read-only');
});

test.each([
  // What the credentials of a user are called is account, and it belongs to the user.
  ['user', { user: { columns: ['email'] }, account: { references: { user_id: 'user' } } }],
  // A shop has customers, and users in its back office.
  ['customer', { customer: { columns: ['email'] }, user: { columns: ['email'] }, order: { columns: ['customer_id'] } }],
  ['spree_users', { spree_users: {}, spree_orders: { references: { user_id: 'spree_users' } } }],
  // Nothing but what everything points at, with an address.
  [
    'profile',
    {
      profile: { columns: ['email'] },
      a: { references: { p: 'profile' } },
      b: { references: { p: 'profile' } },
      c: { references: { p: 'profile' } },
    },
  ],
] as const)('the accounts are %s', (name, sketches) => {
  expect(guessTables(catalog(sketches), { dataCenter: 'ny' }).root?.table.relation).toBe(name);
});

test('without a table of accounts everything has one home', () => {
  const guess = guessTables(catalog({ things: {} }), { dataCenter: 'ny' });
  expect(guess.root).toBeNull();
  expect(sectionsOf(guess, 'ny')).toEqual({
    tables: { 'public.things': { class: 'system-of-record' } },
    claims: {},
    ignore: [],
    fixed: {},
  });
  expect(guessTables(catalog({ things: {} }), { dataCenter: 'ny', root: 'public.things' }).root?.why).toBe(
    'as you said',
  );
});

test('what belongs to no account: by what it is called, and by how it was written', () => {
  const use = (inserted: number, updated: number, deleted: number, rows: number) => ({
    inserted,
    updated,
    deleted,
    updatedHot: 0,
    rows,
    bytes: 8192,
  });
  const statistics: Statistics = {
    since: null,
    tables: new Map([
      ['public.tickers', use(50, 90_000, 0, 50)],
      ['public.countries', use(250, 3, 0, 250)],
      ['public.audit_log', use(90_000, 0, 100, 89_900)],
      ['public.event_log', use(90_000, 80_000, 0, 90_000)],
    ]),
  };
  const guessed = sections(
    catalog({
      customers: {},
      orders: { references: { customer_id: 'customers' } },
      tickers: {},
      countries: {},
      audit_log: {},
      event_log: {},
      search_log: { unique: [['term']] },
      stock_items: {},
      shop_settings: {},
      page_cache: {},
      jobs: {},
      admin_users: {},
    }),
    { statistics },
  );
  expect(guessed.tables).toMatchObject({
    'public.tickers': { class: 'system-of-record', home: 'shared' },
    'public.countries': { class: 'read-only', feeder: 'ny' },
    'public.audit_log': { class: 'system-of-reference', policy: 'timestamp-weight' },
    'public.event_log': { class: 'system-of-record', home: 'shared' },
    'public.search_log': { class: 'system-of-record', home: 'shared' },
    'public.stock_items': { class: 'system-of-record', home: 'shared' },
    'public.page_cache': { class: 'cache' },
    'public.jobs': { class: 'session-state' },
    'public.admin_users': { class: 'system-of-record', home: 'shared' },
  });
  expect(guessed.ignore).toEqual(['public.shop_settings']);
  expect(guessed.fixed).toEqual({ shared: 'ny' });
});

test('claims: what people choose, not what is drawn at random, points at a row or comes from a sequence', () => {
  const of = catalog({
    customers: {
      columns: ['email', 'reset_token', 'number', 'profile_id?'],
      unique: [['email'], ['reset_token'], ['number'], ['profile_id']],
    },
    orders: { references: { customer_id: 'customers' }, unique: [['customer_id', 'number']] },
    invoices: { references: { order_id: 'orders' }, unique: [['order_id']] },
  });
  const sequences: Catalog['sequences'] = new Map([
    ['public.s', { table: 'public.customers', column: 'number' } as never],
  ]);
  const { claims = {} } = sections(
    { ...of, sequences },
    { hazards: { expressions: [{ table: 'public.customers', name: 'lower_handle', definition: '' }] } },
  );
  expect(Object.keys(claims)).toEqual(['customers_email', 'customers_profile_id']);
  expect(claims.customers_email).toEqual({ table: 'public.customers', column: 'email', normalise: 'none' });
});

test('a thousand tables are guessed at once, and each by its best path', () => {
  const sketches: Record<string, Sketch> = { customers: {} };
  for (let n = 0; n < 1_000; n += 1) {
    const parent = n < 10 ? 'customers' : `t${Math.floor(n / 10)}`;
    sketches[`t${n}`] = {
      references: { parent_id: parent, 'other_id?': `t${(n * 7) % 1_000}`, 'more_id?': `t${(n * 13 + 1) % 1_000}` },
    };
  }
  const { tables } = guessTables(catalog(sketches), { dataCenter: 'ny' });
  const of = (name: string) => tables.find(({ table }) => table.relation === name)?.written;
  expect(of('t987')?.account).toBe('parent_id.parent_id.parent_id');
  expect(tables.filter(({ written }) => written.nullAccount !== undefined)).toEqual([]);
});
