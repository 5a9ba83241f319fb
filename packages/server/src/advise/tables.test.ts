import { createConfiguration, type WrittenConfiguration } from 'lanekeeper/config';
import { expect, test } from 'vitest';
import type { Catalog, Finding, TableInfo } from '../postgres/index.ts';
import { guessTables } from './infer.ts';
import { adviseTables, isAbout, type TableAdvice } from './tables.ts';

function table(relation: string, columns: readonly string[] = ['id']): TableInfo {
  return {
    name: `public.${relation}`,
    schema: 'public',
    relation,
    owner: 'owner',
    kind: 'table',
    partitionOf: null,
    unlogged: false,
    replicaIdentity: 'd',
    columns: columns.map((name) => ({
      name,
      type: /count/.test(name) ? 'integer' : 'text',
      notNull: true,
      generated: false,
      identity: null,
    })),
    primaryKey: ['id'],
    foreignKeys: [],
    uniqueIndexes: [],
    indexes: [],
    triggers: [],
    estimatedRows: 0,
  } as TableInfo;
}

function advice(
  tables: WrittenConfiguration['tables'],
  options: Partial<WrittenConfiguration> & {
    readonly findings?: readonly Finding[];
    readonly infos?: readonly TableInfo[];
  } = {},
): (name: string) => TableAdvice | undefined {
  const { findings = [], infos = [], ...rest } = options;
  const all = [
    ...infos,
    ...Object.keys(tables)
      .filter((name) => !infos.some((one) => one.relation === name))
      .map((name) => table(name)),
  ];
  const catalog: Catalog = {
    serverVersion: 180_004,
    tables: new Map(all.map((one) => [one.name, one])),
    sequences: new Map(),
  };
  const configuration = createConfiguration(
    {
      cluster: 'shop',
      approach: 'full-active-active',
      dataCenters: {
        ny: { place: 'ny', faultDomain: 'ny', database: 'postgres://a.example:5432/s', url: 'https://ny.example.com' },
      },
      leases: { url: 'postgres://witness.example:5432/witness' },
      fixed: { desk: 'ny' },
      tables,
      ...rest,
    },
    { here: 'ny' },
  );
  const guess = guessTables(catalog, { dataCenter: 'ny' });
  const advised = adviseTables(catalog, configuration, guess, findings, true);
  return (name) => advised.find((one) => one.table === `public.${name}`);
}

const root = { customers: { class: 'system-of-record', account: 'id', root: true } } as const;

test.each<[string, WrittenConfiguration['tables'][string], Partial<TableAdvice>]>([
  [
    'a record of an account',
    { class: 'system-of-record', account: 'customer_id' },
    { activeActive: 'yes', pattern: 1 },
  ],
  [
    'a record that may be nobody’s',
    { class: 'system-of-record', account: 'c', nullAccount: 'x' },
    { activeActive: 'with-changes', pattern: 1 },
  ],
  ['a fixed home', { class: 'system-of-record', home: 'desk' }, { activeActive: 'no', pattern: 2 }],
  ['read only', { class: 'read-only', feeder: 'ny' }, { activeActive: 'no', pattern: 3 }],
  ['a fed reference', { class: 'system-of-reference', feeder: 'ny' }, { activeActive: 'no', pattern: 3 }],
  [
    'the latest wins',
    { class: 'system-of-reference' },
    { activeActive: 'with-changes', pattern: null, policy: 'timestamp-weight' },
  ],
  [
    'the heaviest wins',
    { class: 'system-of-reference', policy: 'locality-weight' },
    { activeActive: 'with-changes', pattern: 3, policy: 'locality-weight' },
  ],
  ['direct', { class: 'system-of-reference', writes: 'direct' }, { activeActive: 'with-changes', pattern: 4 }],
  ['buffered', { class: 'cache', writes: 'buffered' }, { activeActive: 'with-changes', pattern: 5 }],
  ['its own cache', { class: 'cache' }, { activeActive: 'yes', pattern: null }],
  [
    'a cache that diverges',
    { class: 'cache', policy: 'last-man-standing', allowDivergence: true },
    { activeActive: 'with-changes', pattern: null },
  ],
  ['session state', { class: 'session-state' }, { activeActive: 'yes', pattern: null }],
])('%s', (_what, written, expected) => {
  const one = advice({ ...root, things: written })('things');
  expect(one).toMatchObject({ declared: written.class, ...expected });
  expect(one?.because).not.toBe('');
  expect(one?.changes.length === 0).toBe(expected.activeActive === 'yes');
});

test('with one home for all the application changes nothing, and only one data center writes', () => {
  const of = advice({ things: { class: 'system-of-record' } }, { approach: 'active-passive' });
  expect(of('things')).toMatchObject({ activeActive: 'no', pattern: 1, changes: [] });
});

test('claims and counters are what the application has to change', () => {
  const of = advice(
    { ...root, stock: { class: 'system-of-reference' } },
    { claims: { email: { table: 'customers', column: 'email' } }, infos: [table('stock', ['id', 'sold_count'])] },
  );
  expect(of('customers')?.changes.join()).toContain("lanekeeper.claim('email', value, { account })");
  expect(of('stock')?.changes.join()).toContain('do not add to a number in place');
});

test('an error about a table is in its way; an undeclared table stays where it is written', () => {
  const finding = { severity: 'error', code: 'x', subject: 'i on public.orders' } as Finding;
  const of = advice(
    { ...root, orders: { class: 'system-of-record', account: 'customer_id' } },
    { findings: [finding], infos: [table('extra')] },
  );
  expect(of('orders')).toMatchObject({ activeActive: 'with-changes', findings: [finding] });
  expect(of('extra')).toMatchObject({ declared: null, activeActive: 'no', pattern: null });
  expect(of('extra')?.because).toContain('not declared');
});

test('a finding is about the table that its subject names, and not about one with a longer name', () => {
  const about = (subject: string) => isAbout({ subject }, { name: 'public.order' });
  expect(['public.order', 'public.order (a, b)', 'public.order.id', 'k on public.order'].map(about)).toEqual([
    true,
    true,
    true,
    true,
  ]);
  expect(['public.order_lines', 'k on public.orders', 'public.orders.id'].map(about)).toEqual([false, false, false]);
});
