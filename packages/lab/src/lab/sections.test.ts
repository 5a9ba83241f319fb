import { expect, test } from 'vitest';
import { feedersOf, fitSections } from './sections.ts';

test('data centers that this lab does not have give their tables and claims to its first one', () => {
  const sections = fitSections(
    {
      tables: {
        accounts: { class: 'system-of-record', account: 'id', root: true },
        products: { class: 'read-only', feeder: 'ny' },
        prices: { class: 'read-only', feeder: 'lon' },
      },
      claims: { email: { table: 'accounts', column: 'email', mode: 'one-dc', dataCenter: 'la' } },
      accounts: { existing: 'ny' },
    },
    ['fra', 'lon'],
  );
  expect(sections.tables).toMatchObject({ products: { feeder: 'fra' }, prices: { feeder: 'lon' } });
  expect(sections.claims).toMatchObject({ email: { dataCenter: 'fra' } });
  expect(sections.accounts).toEqual({ existing: 'fra' });
  expect(feedersOf(sections)).toEqual(['fra', 'lon']);
});
