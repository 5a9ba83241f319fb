import { createConfiguration } from 'lanekeeper/config';
import { parse } from 'libpg-query';
import { describe, expect, it } from 'vitest';
import type { CarriedTables, Catalog, TableInfo } from '../../postgres/index.ts';
import { judgeStatement, schemaDifferences } from './index.ts';

const configuration = createConfiguration(
  {
    cluster: 'shop',
    approach: 'active-passive',
    dataCenters: {
      ny: { place: 'NY', faultDomain: 'east', database: 'postgres://ny/shop', url: 'https://ny.shop.example' },
    },
    leases: { url: 'postgres://w/witness' },
    tables: {
      orders: { class: 'system-of-record' },
      products: { class: 'read-only', feeder: 'ny' },
      visits: { class: 'session-state' },
    },
  },
  { here: 'ny' },
);

async function ways(sql: string): Promise<string[]> {
  const { stmts = [] } = (await parse(sql)) as { stmts?: readonly { stmt?: unknown }[] };
  return stmts.flatMap(({ stmt }) =>
    judgeStatement(configuration, stmt).map(({ way, phase }) => (phase === null ? way : `${way} ${phase}`)),
  );
}

describe('a statement', () => {
  it.each([
    ['ALTER TABLE orders ADD COLUMN note text', 'together expand'],
    ["ALTER TABLE orders ADD COLUMN state text NOT NULL DEFAULT 'new'", 'together expand'],
    ['ALTER TABLE orders ADD COLUMN twice int GENERATED ALWAYS AS (n * 2) STORED', 'together expand'],
    ['ALTER TABLE orders ADD COLUMN note text NOT NULL', 'split'],
    ['ALTER TABLE orders ADD COLUMN at timestamptz DEFAULT now()', 'split'],
    ['ALTER TABLE orders ADD COLUMN at timestamptz DEFAULT CURRENT_TIMESTAMP', 'split'],
    ['ALTER TABLE orders ADD COLUMN n bigserial', 'split'],
    ['ALTER TABLE orders ADD COLUMN n bigint GENERATED ALWAYS AS IDENTITY', 'split'],
    ['ALTER TABLE orders ADD COLUMN code text UNIQUE', 'split'],
    ['ALTER TABLE orders DROP COLUMN note', 'together contract'],
    ['ALTER TABLE orders ALTER COLUMN n TYPE bigint', 'split'],
    ['ALTER TABLE orders ALTER n SET NOT NULL', 'together contract'],
    ['ALTER TABLE orders ALTER n DROP NOT NULL', 'together expand'],
    ['ALTER TABLE orders ALTER n SET DEFAULT 1', 'alone'],
    ['ALTER TABLE orders ADD CHECK (n > 0) NOT VALID', 'together contract'],
    ['ALTER TABLE orders ADD UNIQUE (code)', 'split'],
    ['ALTER TABLE orders ADD PRIMARY KEY (id)', 'refused'],
    ['ALTER TABLE orders DISABLE TRIGGER ALL', 'refused'],
    ['ALTER TABLE orders REPLICA IDENTITY NOTHING', 'refused'],
    ['ALTER TABLE orders SET UNLOGGED', 'refused'],
    ['ALTER TABLE orders RENAME COLUMN note TO remark', 'split'],
    ['ALTER TABLE orders RENAME TO sales', 'split'],
    ['ALTER INDEX i RENAME TO j', 'alone'],
    ['DROP TABLE orders', 'together contract'],
    ['DROP TABLE public.orders', 'together contract'],
    ['DROP INDEX i', 'alone'],
    ['CREATE TABLE gifts (id text PRIMARY KEY)', 'alone expand'],
    ['CREATE INDEX CONCURRENTLY ON orders (note)', 'alone'],
    ['CREATE UNIQUE INDEX ON orders (code)', 'split'],
    ['TRUNCATE orders', 'refused'],
    ["UPDATE orders SET note = ''", 'refused'],
    ['DELETE FROM products', 'refused'],
    ['INSERT INTO visits VALUES (1)', 'alone'],
    ['ALTER TABLE visits ADD COLUMN n int NOT NULL', 'alone'],
    ['ALTER TABLE undeclared DROP COLUMN n', 'alone'],
    ["ALTER TYPE state ADD VALUE 'paid'", 'together expand'],
    ['ALTER SEQUENCE orders_id_seq INCREMENT 1', 'refused'],
    ['ALTER PUBLICATION lanekeeper_homed DROP TABLE orders', 'refused'],
    ['DO $$ BEGIN PERFORM 1; END $$', 'unknown'],
    ['CREATE FUNCTION f() RETURNS int LANGUAGE sql AS $$ SELECT 1 $$', 'alone'],
  ])('%s', async (sql, expected) => {
    expect(await ways(sql)).toEqual([expected]);
  });

  it('is judged part by part, and says nothing where nothing changes', async () => {
    expect(await ways('ALTER TABLE orders ADD COLUMN a int, DROP COLUMN b')).toEqual([
      'together expand',
      'together contract',
    ]);
    expect(await ways("BEGIN; SET lock_timeout = '1s'; SELECT 1; COMMIT")).toEqual([]);
  });
});

describe('differences', () => {
  const table = (columns: Readonly<Record<string, { type?: string; notNull?: boolean; generated?: boolean }>>) =>
    ({
      name: 'public.orders',
      schema: 'public',
      relation: 'orders',
      columns: Object.entries(columns).map(([name, one]) => ({
        name,
        type: 'text',
        notNull: false,
        generated: false,
        identity: null,
        ...one,
      })),
      primaryKey: ['id'],
      uniqueIndexes: [],
    }) as unknown as TableInfo;
  const catalog = (orders: TableInfo | null) =>
    ({ tables: new Map(orders === null ? [] : [['public.orders', orders]]) }) as unknown as Catalog;
  const sending = (...columns: readonly string[]): CarriedTables =>
    new Map([
      ['public.orders', { publications: ['lanekeeper_homed'], columns: columns.length === 0 ? null : columns }],
    ]);
  const found = (catalogs: Record<string, Catalog>, carried: Record<string, CarriedTables> = {}) => {
    const sides = Object.entries(catalogs).map(
      ([dc, one]) => [dc, { catalog: one, carried: carried[dc] ?? sending() }] as const,
    );
    return schemaDifferences(configuration, Object.fromEntries(sides), (name) => `"${name}"`).map(
      ({ table: _, ...rest }) => rest,
    );
  };

  it('are none where nothing differs that counts', () => {
    const one = table({ id: {}, note: {} });
    const other = table({ note: {}, id: {} });
    expect(found({ ny: catalog(one), la: catalog(other), fra: catalog(one) })).toEqual([]);
  });

  it('of a column that one lacks say whose rows wait where, and what mends it', () => {
    const [more, less] = [table({ id: {}, note: {} }), table({ id: {} })];
    expect(found({ ny: catalog(more), la: catalog(less), fra: catalog(more) })).toEqual([
      {
        kind: 'column',
        name: 'note',
        in: { ny: 'text', la: null, fra: 'text' },
        stops: [
          { from: 'ny', at: 'la' },
          { from: 'fra', at: 'la' },
        ],
        closesGate: true,
        next: [
          'in la: ALTER TABLE "public"."orders" ADD COLUMN "note" text;',
          'if it is to go away: that as well, and then `lanekeeper migrate leave-out public.orders note`',
        ],
      },
    ]);
  });

  it('of a column that is left out stop nobody, and name both ways on', () => {
    const [more, less] = [table({ id: {}, note: {} }), table({ id: {} })];
    const half = found({ ny: catalog(more), la: catalog(less) }, { ny: sending('id'), la: sending('id') });
    expect(half).toEqual([
      {
        kind: 'column',
        name: 'note',
        in: { ny: 'text, left out of the streams', la: null },
        stops: [],
        closesGate: true,
        next: [
          'on its way in: in la: ALTER TABLE "public"."orders" ADD COLUMN "note" text; Then `lanekeeper migrate send public.orders note`',
          'on its way out: in ny: ALTER TABLE "public"."orders" DROP COLUMN "note"; Then `lanekeeper apply` in each',
        ],
      },
    ]);
    const [one] = found({ ny: catalog(more), la: catalog(more) }, { ny: sending('id') });
    expect(one).toMatchObject({ kind: 'not-sent', in: { ny: 'text, left out of the streams', la: 'text' }, stops: [] });
    // Whoever does not feed the table sends nothing of it.
    expect(found({ ny: catalog(more), la: catalog(less) }, { ny: new Map() })).toMatchObject([
      { in: { ny: 'text' }, stops: [] },
    ]);
    // All that are there are sent.
    expect(found({ ny: catalog(less), la: catalog(less) }, { ny: sending('id'), la: sending('id') })).toEqual([]);
  });

  it('of what is allowed close no gate', () => {
    const [strict, lax] = [table({ id: {}, note: { notNull: true } }), table({ id: {}, note: {} })];
    expect(found({ ny: catalog(strict), la: catalog(lax) })).toMatchObject([
      { kind: 'not-null', stops: [{ from: 'la', at: 'ny' }], closesGate: false, next: [] },
    ]);
  });

  it('of a type leave the choice to a person', () => {
    const of = (type: string) => catalog(table({ id: {}, n: { type } }));
    expect(found({ ny: of('integer'), la: of('bigint') })).toMatchObject([
      { kind: 'column', closesGate: true, next: [] },
    ]);
    expect(found({ ny: of('integer'), la: catalog(null) })).toMatchObject([{ kind: 'table', closesGate: true }]);
  });
});
