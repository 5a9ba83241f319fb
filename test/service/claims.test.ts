/** Claims in one database: buckets have homes, a claimed column takes no unclaimed value, and what nobody uses is freed. */
import type { DatabaseError } from 'pg';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { runSql } from '../support/clusters.ts';
import { type FencedDatabase, fencedDatabase, twoDataCenters } from '../support/fenced.ts';

const schema = `
CREATE TABLE accounts (id text PRIMARY KEY, email text UNIQUE);
GRANT SELECT, INSERT, UPDATE, DELETE ON accounts TO lanekeeper_application;`;
const tables = { accounts: { class: 'system-of-record', account: 'id', root: true } } as const;

async function refusal(work: Promise<unknown>): Promise<DatabaseError> {
  const error = await work.then(
    () => null,
    (reason: DatabaseError) => reason,
  );
  if (!error) throw new Error('it went through');
  return error;
}

describe('in buckets', () => {
  let database: FencedDatabase;
  const app = (sql: string, values?: unknown[]) =>
    runSql<Record<string, unknown>>(database.urls.application, sql, values);
  const agent = (sql: string, values?: unknown[]) => runSql<Record<string, unknown>>(database.urls.agent, sql, values);
  const claim = async (value: string, account: string) =>
    (await agent("SELECT lanekeeper.claim_value('email', $1, $2) AS ok", [value, account]))[0]?.ok;

  beforeAll(async () => {
    database = await fencedDatabase(
      schema,
      twoDataCenters({
        tables,
        extra: { claims: { email: { table: 'accounts', column: 'email', normalise: 'lower' } } },
      }),
    );
  });
  afterAll(() => database?.stop());
  beforeEach(async () => {
    await runSql(
      database.urls.superuser,
      `SET session_replication_role = replica; DELETE FROM accounts; DELETE FROM lanekeeper.claim; DELETE FROM lanekeeper.deed;
       INSERT INTO lanekeeper.deed (account, home, term, counter) SELECT 'claim:' || i, 'ny', 1, 0 FROM generate_series(0, 255) i`,
    );
    await database.lease(60_000);
  });

  test('a value that nobody claimed is refused, whoever inserts it; a claimed one is taken once', async () => {
    expect(await refusal(app("INSERT INTO accounts VALUES ('a1', 'Ann@example.org')"))).toMatchObject({
      code: 'LK008',
    });
    expect(await claim('Ann@Example.org', 'a1')).toBe(true);
    expect(await claim('ann@example.org', 'a2')).toBe(false);
    expect(await refusal(app("INSERT INTO accounts VALUES ('a2', 'ann@example.org')"))).toMatchObject({
      code: 'LK008',
    });
    await app("INSERT INTO accounts VALUES ('a1', 'Ann@example.org'), ('a3', NULL)");
    expect(await refusal(app("UPDATE accounts SET email = 'other@example.org' WHERE id = 'a1'"))).toMatchObject({
      code: 'LK008',
    });
    expect(await app("SELECT account FROM lanekeeper.claim_holder('email', 'ANN@example.org')")).toEqual([
      { account: 'a1' },
    ]);
  });

  test('a changed value: claim the new one, change, release the old one', async () => {
    await claim('old@example.org', 'a1');
    await app("INSERT INTO accounts VALUES ('a1', 'old@example.org')");
    await agent("SELECT lanekeeper.release_claim('email', 'old@example.org', 'a1')");
    expect(await claim('old@example.org', 'a2')).toBe(false); // a row still shows it
    await claim('new@example.org', 'a1');
    await app("UPDATE accounts SET email = 'new@example.org' WHERE id = 'a1'");
    await agent("SELECT lanekeeper.release_claim('email', 'old@example.org', 'a1')");
    expect(await claim('old@example.org', 'a2')).toBe(true);
    expect((await agent("SELECT lanekeeper.release_claim('email', 'old@example.org', 'a1') AS ok"))[0]?.ok).toBe(false);
  });

  test('a claim is registered at the home of its bucket only, and moves with the bucket', async () => {
    await runSql(
      database.urls.superuser,
      "UPDATE lanekeeper.deed SET home = 'la', counter = 1 WHERE account LIKE 'claim:%'",
    );
    const error = await refusal(agent("SELECT lanekeeper.claim_value('email', 'x@example.org', 'a1')"));
    expect([error.code, error.dataType]).toEqual(['LK001', 'la']);
  });

  test('the sweep confirms what is used, frees what is not, and a stale claim buys nothing', async () => {
    await claim('used@example.org', 'a1');
    await claim('left@example.org', 'a2');
    await app("INSERT INTO accounts VALUES ('a1', 'used@example.org')");
    expect(await agent('SELECT lanekeeper.sweep_claims() AS freed')).toEqual([{ freed: 0 }]);
    await runSql(database.urls.superuser, "UPDATE lanekeeper.claim SET claimed_at = claimed_at - interval '6 minutes'");
    expect(await refusal(app("INSERT INTO accounts VALUES ('a2', 'left@example.org')"))).toMatchObject({
      code: 'LK008',
    });
    await runSql(
      database.urls.superuser,
      "UPDATE lanekeeper.claim SET claimed_at = claimed_at - interval '10 minutes'",
    );
    expect(await agent('SELECT lanekeeper.sweep_claims() AS freed')).toEqual([{ freed: 1 }]);
    expect(await agent('SELECT value, confirmed FROM lanekeeper.claim')).toEqual([
      { value: 'used@example.org', confirmed: true },
    ]);
    expect(await claim('left@example.org', 'a3')).toBe(true);
  });

  test('the same claim from two data centers is one; two accounts for one value are an incident, not a stop', async () => {
    await claim('twice@example.org', 'a1');
    await runSql(
      database.urls.superuser,
      `SET session_replication_role = replica;
       INSERT INTO lanekeeper.claim (name, value, account) VALUES ('email', 'twice@example.org', 'a1');
       INSERT INTO lanekeeper.claim (name, value, account) VALUES ('email', 'twice@example.org', 'b1');`,
    );
    expect(await agent('SELECT account FROM lanekeeper.claim')).toEqual([{ account: 'a1' }]);
    expect(await agent('SELECT kind FROM lanekeeper.incident')).toEqual([{ kind: 'claimed-twice' }]);
  });

  test('a bucket takes its claims into its digest', async () => {
    const bucket = (await agent("SELECT lanekeeper.claim_bucket('email', 'd@example.org') AS b"))[0]?.b;
    const digest = async () => (await agent('SELECT lanekeeper.digest($1) AS d', [bucket]))[0]?.d;
    const before = await digest();
    await claim('d@example.org', 'a1');
    expect(await digest()).not.toBe(before);
  });
});

describe('in one data center', () => {
  test('only that one registers values; elsewhere the error names it', async () => {
    const extra = {
      claims: { email: { table: 'accounts', column: 'email', normalise: 'none', mode: 'one-dc', dataCenter: 'la' } },
    } as const;
    for (const here of ['ny', 'la']) {
      const database = await fencedDatabase(schema, twoDataCenters({ here, tables, extra }));
      try {
        await database.lease(60_000);
        const insert = runSql(database.urls.application, "INSERT INTO accounts VALUES ('a1', 'x@example.org')");
        if (here === 'la') await insert;
        else expect(await refusal(insert)).toMatchObject({ code: 'LK008', dataType: 'la' });
        await runSql(database.urls.application, "INSERT INTO accounts VALUES ('a2', NULL)");
      } finally {
        await database.stop();
      }
    }
  });
});
