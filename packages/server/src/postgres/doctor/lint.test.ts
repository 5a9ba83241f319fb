import { type Configuration, createConfiguration, type WrittenConfiguration } from 'lanekeeper/config';
import { describe, expect, test } from 'vitest';
import type { Catalog, ColumnInfo, TableInfo } from '../catalog.ts';
import type { Hazards } from '../inspect/hazards.ts';
import { judgeSchema } from './judge.ts';
import { lintPlaces } from './lint-places.ts';

function column(name: string, type = 'text'): ColumnInfo {
  return { name, type, notNull: true, generated: false, identity: null } as ColumnInfo;
}

function table(relation: string, rest: Partial<TableInfo> = {}): TableInfo {
  return {
    name: `public.${relation}`,
    schema: 'public',
    relation,
    owner: 'owner',
    kind: 'table',
    partitionOf: null,
    unlogged: false,
    replicaIdentity: 'd',
    columns: [column('id')],
    primaryKey: ['id'],
    foreignKeys: [],
    uniqueIndexes: [],
    indexes: [['id'], ['account_id']],
    triggers: [],
    estimatedRows: 0,
    ...rest,
  };
}

const nothing: Hazards = {
  exclusions: [],
  rules: [],
  changingKeys: [],
  inherited: [],
  looseKeys: [],
  localTimes: [],
  expressions: [],
  materializedViews: [],
  foreignTables: [],
  largeObjects: 0,
};

function configuration(
  tables: WrittenConfiguration['tables'],
  rest: Partial<WrittenConfiguration> = {},
): Configuration {
  const dc = (name: string) => ({
    place: name,
    faultDomain: name,
    database: `postgres://${name}.example:5432/shop`,
    url: `https://${name}.shop.example`,
    capacity: { limit: 200, peak: 100 },
  });
  return createConfiguration(
    {
      cluster: 'shop',
      approach: 'full-active-active',
      dataCenters: { ny: dc('ny'), la: dc('la') },
      leases: { url: 'postgres://witness.example:5432/witness' },
      fixed: { desk: 'ny' },
      tables: { accounts: { class: 'system-of-record', account: 'id', root: true }, ...tables },
      ...rest,
    },
    { here: 'ny' },
  );
}

function judged(
  tables: WrittenConfiguration['tables'],
  infos: readonly TableInfo[],
  hazards: Partial<Hazards> = {},
): readonly string[] {
  const all = [table('accounts'), ...infos];
  const catalog: Catalog = {
    serverVersion: 180_004,
    tables: new Map(all.map((info) => [info.name, info])),
    sequences: new Map(),
  };
  return judgeSchema(configuration(tables), catalog, { ...nothing, ...hazards }).map(
    ({ severity, code, subject }) => `${severity} ${code}: ${subject}`,
  );
}

const unique = (name: string, ...columns: string[]) => ({ name, columns, primary: false, partialOrExpression: false });
const homed = { class: 'system-of-record', account: 'account_id' } as const;
const merged = { class: 'system-of-reference', policy: 'timestamp-weight' } as const;
const orders = (rest: Partial<TableInfo>) =>
  table('orders', { columns: [column('id'), column('account_id')], ...rest });

test('a plain schema has nothing to say', () => {
  expect(judged({ orders: homed, reviews: merged }, [orders({}), table('reviews')])).toEqual([]);
});

describe('unique indexes', () => {
  test('of a homed table: what people choose is an error, what is random is not', () => {
    const infos = [
      orders({ uniqueIndexes: [unique('a', 'number'), unique('b', 'token'), unique('c', 'account_id', 'number')] }),
    ];
    expect(judged({ orders: homed }, infos)).toEqual([
      'error unique-without-claim: a on public.orders',
      'advice unique-random: b on public.orders',
    ]);
  });

  test('that name a row: as unique as the row where that belongs to an account, not where it has a home of its own', () => {
    const key = (references: string) => [
      { name: 'k', columns: ['ref'], references, referencedColumns: ['id'], onDelete: 'no-action' as const },
    ];
    const invoices = (references: string) =>
      table('invoices', { foreignKeys: key(references), uniqueIndexes: [unique('u', 'ref')] });
    expect(judged({ orders: homed, invoices: homed }, [orders({}), invoices('public.orders')])).toEqual([
      'warning key-across-accounts: k on public.invoices',
    ]);
    expect(
      judged({ invoices: homed, desks: { class: 'system-of-record', home: 'desk' } }, [
        table('desks'),
        invoices('public.desks'),
      ]),
    ).toEqual([
      'warning unique-without-claim: u on public.invoices',
      'warning key-across-accounts: k on public.invoices',
    ]);
  });

  test('of a merged table: an error, whatever it is', () => {
    expect(judged({ reviews: merged }, [table('reviews', { uniqueIndexes: [unique('a', 'slug')] })])).toEqual([
      'error unique-on-merged: a on public.reviews',
    ]);
  });
});

test('configuration is told from content by its name, where it would be replicated', () => {
  const infos = [table('shop_settings')];
  const found = 'warning table-like-configuration: public.shop_settings';
  expect(judged({ shop_settings: { class: 'read-only', feeder: 'ny' } }, infos)).toEqual([found]);
  expect(judged({ shop_settings: merged }, infos)).toEqual([found]);
  expect(judged({ shop_settings: { class: 'session-state' } }, infos)).toEqual([]);
});

test('exclusion constraints: an error unless one home writes them or they speak of one account', () => {
  const of = (...columns: string[]) => ({ exclusions: [{ table: 'public.orders', name: 'x', columns }] });
  const found = ['error exclusion-across: x on public.orders'];
  expect(judged({ orders: homed }, [orders({})], of('during'))).toEqual(found);
  expect(judged({ orders: homed }, [orders({})], of('during', 'account_id'))).toEqual([]);
  expect(judged({ orders: merged }, [orders({})], of('during'))).toEqual(found);
  expect(judged({ orders: { class: 'system-of-record', home: 'desk' } }, [orders({})], of('during'))).toEqual([]);
  expect(judged({ orders: { class: 'session-state' } }, [orders({})], of('during'))).toEqual([]);
});

test('keys that compare otherwise than their text cannot be merged; elsewhere they may be', () => {
  const hazards = { looseKeys: [{ table: 'public.reviews', name: 'id', kind: 'citext' as const }] };
  expect(judged({ reviews: merged }, [table('reviews')], hazards)).toEqual(['error key-collation: public.reviews.id']);
  expect(judged({ reviews: { class: 'read-only', feeder: 'ny' } }, [table('reviews')], hazards)).toEqual([]);
  const float = table('reviews', { columns: [column('id', 'double precision')] });
  expect(judged({ reviews: merged }, [float])).toEqual(['error key-float: public.reviews.id']);
  expect(judged({ reviews: { class: 'read-only', feeder: 'ny' } }, [float])).toEqual([
    'warning key-float: public.reviews.id',
  ]);
});

test('types, rules, inheritance, large objects and what is not a table', () => {
  const info = orders({
    columns: [column('id'), column('account_id'), column('scan', 'oid'), column('paid', 'money')],
  });
  const part = { table: 'public.orders', name: 'x' };
  const hazards: Partial<Hazards> = {
    rules: [part],
    inherited: [{ table: 'public.orders', parent: 'public.base' }],
    changingKeys: [
      { ...part, references: 'public.accounts' },
      { ...part, name: 'y', references: 'public.accounts' },
    ],
    localTimes: [part, { ...part, name: 'y' }],
    materializedViews: ['public.best'],
    foreignTables: ['public.far'],
    largeObjects: 2,
  };
  expect([...judged({ orders: homed }, [info], hazards)].sort()).toEqual(
    [
      'warning rule-on-table: x on public.orders',
      'warning table-inherited: public.orders',
      'advice key-mutable: x on public.orders and 1 more',
      'warning column-oid: public.orders.scan',
      'warning column-money: public.orders.paid',
      'advice column-local-time: public.orders.x and 1 more',
      'advice materialized-view: public.best',
      'warning foreign-table: public.far',
      'warning large-objects: pg_largeobject',
    ].sort(),
  );
});

describe('data centers', () => {
  const places = (dcs: Readonly<Record<string, { domain?: string }>>) =>
    lintPlaces({
      dataCenters: Object.fromEntries(
        Object.entries(dcs).map(([name, { domain = name }]) => [name, { name, faultDomain: domain }]),
      ) as never,
    }).map(({ code, subject }) => `${code}: ${subject}`);

  test('in one fault domain, or too many of them', () => {
    expect(places({ ny: { domain: 'East' }, la: { domain: 'east' } })).toEqual(['fault-domain-shared: ny and la']);
    expect(places({ a: {}, b: {}, c: {} })).toEqual([]);
    expect(places({ a: {}, b: {}, c: {}, d: {} })).toEqual(['too-many-data-centers: 4 data centers']);
  });
});
