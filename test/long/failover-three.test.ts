/**
 * Three whole data centers with real agents, one or two of which die under load. Who is left may have heard unequally much of who
 * died, and must hold the same before anything goes on.
 */
import type { LinksClient } from '@lanekeeper/lab';
import { Client, type DatabaseError } from 'pg';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { type TestAgents, testAgents } from '../support/agents.ts';
import { applyPair } from '../support/applied.ts';
import { runSql } from '../support/clusters.ts';
import { eventually as eventuallyOf } from '../support/eventually.ts';
import { type TestPair, testPair } from '../support/pair.ts';

const schema = `
CREATE TABLE accounts (id text PRIMARY KEY, note text NOT NULL DEFAULT '', entries integer NOT NULL DEFAULT 0);
CREATE TABLE entries (id text PRIMARY KEY, account_id text NOT NULL REFERENCES accounts);
CREATE INDEX ON entries (account_id);
GRANT SELECT, INSERT, UPDATE, DELETE ON accounts, entries TO lanekeeper_application;`;

const names = ['ny', 'la', 'fra'] as const;
type Name = (typeof names)[number];

let trio: TestPair;
let agents: TestAgents;
let links: LinksClient;
const running = new Map<string, { close(): Promise<void> }>();

beforeAll(async () => {
  trio = await testPair({
    schema,
    dataCenters: names,
    link: { delayMs: 2 },
    configuration: {
      tables: {
        accounts: { class: 'system-of-record', account: 'id', root: true },
        entries: { class: 'system-of-record', account: 'account_id' },
      },
    },
  });
  await applyPair(trio);
  links = trio.links as LinksClient;
  agents = await testAgents(trio, {
    change: (written) => ({ ...written, leases: { ...written.leases, ttl: '3s', renewEvery: '500ms', skew: '500ms' } }),
  });
  for (const name of names) running.set(name, await agents.start(name));
  await well();
  for (const name of names)
    await runSql(
      trio.dc(name).urls.application,
      `INSERT INTO accounts (id) SELECT $1 || i FROM generate_series(1, 6) i`,
      [`${name}_`],
    );
}, 180_000);
afterAll(async () => {
  await agents?.stop();
  await trio?.stop();
}, 60_000);
beforeEach(() => well(), 150_000);

const sql = <Row extends object>(dc: string, text: string, values: unknown[] = []) =>
  runSql<Row>(trio.dc(dc).urls.superuser, text, values);
const eventually = <T>(what: string, look: () => Promise<T>, withinMs?: number) =>
  eventuallyOf(agents, what, look, withinMs);

/** All hold a lease, wait for each other, keep for each other what a third one may fail to send, and let accounts move. */
async function well(): Promise<void> {
  await eventually(
    'all are well',
    async () => {
      for (const name of names) {
        const { lease, rejoin, sync, peers, relay } = await agents.status(name);
        expect([name, lease.kind, rejoin]).toEqual([name, 'held', null]);
        expect(sync.recorded).toHaveLength(2);
        expect(relay?.slots.map(({ complete }) => complete)).toEqual([true, true]);
        for (const peer of Object.values(peers)) expect([name, peer.reasons]).toEqual([name, []]);
      }
    },
    120_000,
  );
}

async function kill(name: Name): Promise<void> {
  await trio.dc(name).cluster.kill();
  await Promise.race([running.get(name)?.close(), new Promise((resolve) => setTimeout(resolve, 200))]);
}

async function comesBack(name: Name): Promise<void> {
  for (const other of names) if (other !== name) await links.heal(name, other);
  await trio.dc(name).cluster.start();
  running.set(name, await agents.start(name));
}

type Ledger = { readonly acknowledged: string[]; readonly surprises: string[] };

/** Appends entries to the accounts of `home`, in whichever data center has them, until it is told to stop. */
async function writeFor(home: Name, mark: string, load: { readonly on: boolean }): Promise<Ledger> {
  const ledger: Ledger = { acknowledged: [], surprises: [] };
  let at: string = home;
  let client: Client | null = null;
  for (let i = 0; load.on; i += 1) {
    const id = `${mark}-${home}-${i}`;
    try {
      if (client === null) {
        client = new Client({ connectionString: trio.dc(at).urls.application, query_timeout: 5_000 });
        client.on('error', () => {});
        await client.connect();
      }
      await client.query(
        `WITH entry AS (INSERT INTO entries (id, account_id) VALUES ($1, $2))
         UPDATE accounts SET entries = entries + 1 WHERE id = $2`,
        [id, `${home}_${1 + (i % 6)}`],
      );
      ledger.acknowledged.push(id);
    } catch (error) {
      const { code, dataType, message } = error as DatabaseError;
      void client?.end().catch(() => {});
      client = null;
      // Elsewhere: where the refusal says, or, when there is nobody to say it, the next one.
      if (code === 'LK001' && dataType) at = dataType;
      else if (code === undefined || !/^(LK00|40001)/.test(code))
        at = names[(names.indexOf(at as Name) + 1) % 3] as Name;
      if (code?.startsWith('23')) ledger.surprises.push(`${code} ${message}`);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  await client?.end().catch(() => {});
  return ledger;
}

function load(mark: string): { stop(): Promise<readonly Ledger[]> } {
  const going = { on: true };
  const written = names.map((home) => writeFor(home, mark, going));
  return {
    stop() {
      going.on = false;
      return Promise.all(written);
    },
  };
}

/** Everything that was acknowledged is in every data center, or in the ledger, and all are equal (D1, C1). */
async function expectNothingLost(ledgers: readonly Ledger[]): Promise<void> {
  expect(ledgers.flatMap(({ surprises }) => surprises)).toEqual([]);
  const acknowledged = ledgers.flatMap((ledger) => ledger.acknowledged);
  expect(acknowledged.length).toBeGreaterThan(50);
  for (const here of names) {
    const verified = await agents.command(here, 'verify', '--json');
    expect(verified.exitCode, `${here}: ${verified.stdout}${verified.stderr}`).toBe(0);
  }
  const kept = new Set((await sql<{ id: string }>('ny', 'SELECT id FROM entries')).map(({ id }) => id));
  const stranded = new Set(
    (
      await sql<{ id: string }>(
        'la',
        `SELECT image[1] AS id FROM lanekeeper.stranded WHERE relation = 'public.entries'`,
      )
    ).map(({ id }) => id),
  );
  expect(acknowledged.filter((id) => !kept.has(id) && !stranded.has(id))).toEqual([]);
  expect([...stranded].filter((id) => kept.has(id))).toEqual([]);
  for (const here of names) {
    const miscounted = await sql(
      here,
      'SELECT a.* FROM accounts a WHERE entries <> (SELECT count(*) FROM entries e WHERE e.account_id = a.id)',
    );
    expect(miscounted, here).toEqual([]);
  }
}

const holderOf = async (asked: Name, account: string): Promise<string | undefined> => {
  const [row] = await sql<{ home: string }>(asked, 'SELECT home FROM lanekeeper.where_is($1)', [account]);
  return row?.home;
};

test('one of three dies, and fra has heard less of it than la: both hold the same before anything goes on', {
  timeout: 300_000,
}, async () => {
  const customers = load('one');
  await new Promise((resolve) => setTimeout(resolve, 1_000));
  // Less than a peer is waited for: fra stays in the sync set, and ny acknowledges nothing that only la has.
  await links.cut('ny', 'fra');
  await new Promise((resolve) => setTimeout(resolve, 700));
  await kill('ny');
  const successor = await eventually('somebody took over', async () => {
    const homes = [await holderOf('la', 'ny_1'), await holderOf('fra', 'ny_1')];
    expect(homes[0]).toBe(homes[1]);
    expect(homes[0]).not.toBe('ny');
    return homes[0] as Name;
  });
  await eventually('it writes what ny held', () =>
    runSql(trio.dc(successor).urls.application, `UPDATE accounts SET note = 'taken' WHERE id = 'ny_1'`),
  );
  await eventually('the two are equal', async () => {
    const verified = await agents.command('la', 'verify', '--with', 'fra', '--json');
    expect(verified.exitCode, verified.stdout + verified.stderr).toBe(0);
  });
  await comesBack('ny');
  await well();
  await expectNothingLost(await customers.stop());
});

test('two die one after the other, and the last one has what both held; both come back', {
  timeout: 360_000,
}, async () => {
  const customers = load('two');
  await new Promise((resolve) => setTimeout(resolve, 500));
  const first = (await holderOf('fra', 'ny_2')) as Name;
  await kill(first);
  const second = await eventually('somebody took over', async () => {
    const living = names.filter((name) => name !== first);
    const homes = await Promise.all(living.map((name) => holderOf(name, 'ny_2')));
    expect(homes[0]).toBe(homes[1]);
    expect(homes[0]).not.toBe(first);
    return homes[0] as Name;
  });
  const last = names.find((name) => name !== first && name !== second) as Name;
  await eventually('it writes', () =>
    runSql(trio.dc(second).urls.application, `UPDATE accounts SET note = 'second' WHERE id = 'ny_2'`),
  );
  await eventually('the last one stands by', async () => {
    expect((await agents.status(second)).sync.recorded).toEqual([last]);
  });
  await kill(second);
  await eventually('the last one writes for everybody', async () => {
    for (const account of ['ny_2', 'la_2', 'fra_2'])
      await runSql(trio.dc(last).urls.application, `UPDATE accounts SET note = 'last' WHERE id = $1`, [account]);
  });
  await comesBack(second);
  await comesBack(first);
  await well();
  await expectNothingLost(await customers.stop());
});
