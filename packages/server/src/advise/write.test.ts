import fc from 'fast-check';
import { checkText } from 'lanekeeper/config';
import { expect, test } from 'vitest';
import type { Catalog, TableInfo } from '../postgres/index.ts';
import { guessTables } from './infer.ts';
import { firstConfigurationOf } from './write.ts';

function table(relation: string, columns: readonly string[], owner: string | null): TableInfo {
  const name = `public.${relation}`;
  return {
    name,
    schema: 'public',
    relation,
    owner: 'owner',
    kind: 'table',
    partitionOf: null,
    unlogged: false,
    replicaIdentity: 'd',
    columns: columns.map((one) => ({ name: one, type: 'text', notNull: true, generated: false, identity: null })),
    primaryKey: [columns[0] as string],
    foreignKeys:
      owner === null
        ? []
        : [
            {
              name: 'fk',
              columns: [columns[1] as string],
              references: owner,
              referencedColumns: ['id'],
              onDelete: 'no-action',
            },
          ],
    uniqueIndexes:
      columns[2] === undefined
        ? []
        : [{ name: `${relation}_key`, columns: [columns[2]], primary: false, partialOrExpression: false }],
    indexes: [],
    triggers: [],
    estimatedRows: 0,
  } as TableInfo;
}

function catalogOf(tables: readonly TableInfo[]): Catalog {
  return { serverVersion: 180_004, tables: new Map(tables.map((one) => [one.name, one])), sequences: new Map() };
}

function written(catalog: Catalog, database = 'shop'): string {
  const guess = guessTables(catalog, { dataCenter: 'main' });
  return firstConfigurationOf(guess, {
    cluster: 'shop',
    dataCenter: 'main',
    database: `postgres://db.example:5432/${database}`,
    owner: 'shop owner: #1',
    basis: 'It rests on nothing.',
  });
}

function check(text: string) {
  const result = checkText(text, { file: 'lanekeeper.yaml', env: {}, directory: '/' });
  if (result.kind === 'invalid')
    throw new Error(`${result.diagnostics.map(({ message }) => message).join('\n')}\n${text}`);
  return result.configuration;
}

test('whatever tables and columns are called, what is written is a configuration that names them', () => {
  const identifier = fc
    .oneof(
      fc.string({ unit: 'binary', minLength: 1, maxLength: 15 }),
      fc.constantFrom(
        'a\nignore: [x]',
        'null',
        'yes',
        ['$', '{HOME}'].join(''),
        "it's",
        '- a',
        '{}',
        '#',
        'a: b',
        '"',
        '\\',
        '*',
        '!x',
        '1',
      ),
    )
    .filter((name) => !/[.\0]/.test(name) && name.trim() === name && Buffer.from(name).toString() === name);
  fc.assert(
    fc.property(identifier, identifier, identifier, (relation, owner, code) => {
      fc.pre(relation !== 'customers' && new Set(['id', owner, code]).size === 3);
      const own = [table('customers', ['id'], null), table(relation, ['id', owner, code], 'public.customers')];
      const { tables, claims, roles } = check(written(catalogOf(own)));
      const name = `public.${relation}`;
      expect(Object.keys(tables).concat(Object.values(claims).map(({ table: of }) => of))).toContain(name);
      expect(roles.owner).toBe('shop owner: #1');
      // A table with a name of configuration or of a migration tool is not among random ones.
      if (tables[name]?.class === 'system-of-record' && tables[name].account !== null)
        expect(tables[name].account).toEqual([owner]);
      for (const claim of Object.values(claims)) expect(claim.column).toBe(code);
    }),
    { numRuns: 300 },
  );
});

test('every guess stands under its reason, what a person must decide under that', () => {
  const text = written(catalogOf([table('customers', ['id'], null), table('things', ['id'], null)]));
  expect(text).toContain(
    '  # the accounts: by its name\n  public.customers: { class: system-of-record, account: id, root: true }\n',
  );
  expect(text).toContain(
    '  # belongs to no account: published by one data center\n  public.things: { class: read-only, feeder: main }\n',
  );
  expect(check(text)).toMatchObject({ enforce: 'observe', approach: 'full-active-active' });
  expect(check(written(catalogOf([table('things', ['id'], null)])))).toMatchObject({ homes: 'single' });
});

test('a name that a configuration cannot hold is left out, so that it shows as undeclared', () => {
  const odd = { ...table('a.b', ['id'], null), name: 'public.a.b' };
  expect(Object.keys(check(written(catalogOf([table('customers', ['id'], null), odd]))).tables)).toEqual([
    'public.customers',
  ]);
});
