/** The fold of successions: the database computes what `resolveHome` says, whatever the history. */
import fc from 'fast-check';
import { resolveHome, type Succession } from 'lanekeeper/model';
import { Client } from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type FencedDatabase, fencedDatabase, twoDataCenters } from '../support/fenced.ts';

const dcs = ['ny', 'la', 'fra'];
let database: FencedDatabase;
let client: Client;

beforeAll(async () => {
  database = await fencedDatabase(
    'CREATE TABLE accounts (id text PRIMARY KEY)',
    twoDataCenters({ tables: { accounts: { class: 'system-of-record', account: 'id', root: true } } }),
  );
  client = new Client({ connectionString: database.urls.superuser });
  await client.connect();
});
afterAll(async () => {
  await client?.end();
  await database?.stop();
});

const histories = fc
  .array(
    fc.record({
      kind: fc.constantFrom('take', 'switch', 'return'),
      from: fc.constantFrom(...dcs),
      to: fc.constantFrom(...dcs),
      undoes: fc.integer({ min: 2, max: 12 }),
    }),
    { minLength: 1, maxLength: 12 },
  )
  .map((drawn) =>
    drawn.map(
      ({ kind, from, to, undoes }, index): Succession => ({
        term: index + 2,
        kind: kind as Succession['kind'],
        from,
        to: to === from ? (dcs[(dcs.indexOf(from) + 1) % dcs.length] as string) : to,
        undoes: kind === 'return' ? undoes : null,
      }),
    ),
  );

async function write(history: readonly Succession[]): Promise<void> {
  for (const { term, kind, from, to, undoes } of history)
    await client.query(
      'INSERT INTO lanekeeper.succession (term, kind, from_dc, to_dc, undoes) VALUES ($1, $2, $3, $4, $5)',
      [term, kind, from, to, undoes],
    );
}

async function resolved(upTo: number): Promise<readonly { home: string; term: number; now: string }[]> {
  const { rows } = await client.query<{ home: string; term: number; now: string }>(
    `SELECT h AS home, t::int AS term, lanekeeper.resolve(h, t) AS now FROM unnest($1::text[]) h, generate_series(1, $2) t ORDER BY 1, 2`,
    [dcs, upTo],
  );
  return rows;
}

test('for every history, also when its rows come in another order', async () => {
  await fc.assert(
    fc.asyncProperty(histories, fc.boolean(), async (history, backwards) => {
      await client.query('BEGIN');
      try {
        await write(backwards ? history.toReversed() : history);
        for (const { home, term, now } of await resolved(history.length + 1))
          expect(now, `${home} ${term}`).toBe(resolveHome(history, { home, term }));
      } finally {
        await client.query('ROLLBACK');
      }
    }),
    { numRuns: 150 },
  );
});

test('what is kept grows with the history, not with the accounts', async () => {
  await client.query('BEGIN');
  const history = Array.from({ length: 60 }, (_, index): Succession => {
    const [from, to] = index % 2 === 0 ? ['ny', 'la'] : ['la', 'ny'];
    return { term: index + 2, kind: 'switch', from: from as string, to: to as string, undoes: null };
  });
  await write(history);
  const { rows } = await client.query('SELECT count(*)::int AS n FROM lanekeeper.lineage');
  expect((rows[0] as { n: number }).n).toBeLessThanOrEqual(2 * history.length);
  await client.query('ROLLBACK');
});
