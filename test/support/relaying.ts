/**
 * Three data centers in full-active-active, without agents, and what theirs would do for each other: `la` keeps for `fra` what it has
 * applied of `ny`; `ny` fails; `fra` fetches what it lacks.
 */
import {
  advanceRelaySlot,
  beginSample,
  coveredSample,
  ensureRelaySlots,
  finishSample,
  freezeStreams,
  noteHeard,
  type PeerTails,
  type RelaySample,
  type ReplayResult,
  readTails,
  replayTail,
  type TailPlace,
} from '@lanekeeper/server/postgres';
import { expect } from 'vitest';
import { connectAs } from './applied.ts';
import { runSql } from './clusters.ts';
import { using } from './taken-over.ts';
import { testTrio } from './trio.ts';

/** In which `ny` is taken over. */
export const takeoverTerm = 2;

const schema = `
  CREATE TABLE accounts (id text PRIMARY KEY, name text, note text);
  ALTER TABLE accounts ALTER note SET STORAGE EXTERNAL;
  CREATE TABLE orders (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, account text NOT NULL REFERENCES accounts ON DELETE CASCADE,
    amount numeric NOT NULL, doubled numeric GENERATED ALWAYS AS (amount * 2) STORED, at timestamptz NOT NULL DEFAULT clock_timestamp(), tags text[]);
  CREATE TABLE visits (id bigint PRIMARY KEY, account text NOT NULL, "when" date NOT NULL, length interval, rate float8);
  ALTER TABLE visits REPLICA IDENTITY FULL;
  CREATE TABLE parts (account text NOT NULL, n int NOT NULL, body text, PRIMARY KEY (n, account)) PARTITION BY HASH (n);
  CREATE TABLE parts_0 PARTITION OF parts FOR VALUES WITH (MODULUS 2, REMAINDER 0);
  CREATE TABLE parts_1 PARTITION OF parts FOR VALUES WITH (MODULUS 2, REMAINDER 1);
  CREATE TABLE products (id int PRIMARY KEY, title text);
  CREATE TABLE reviews (id int PRIMARY KEY, body text);
`;

const compared = [
  ...['accounts', 'orders', 'visits', 'parts', 'products', 'reviews'].map((name) => `public.${name}`),
  ...['deed', 'acceptance', 'outcome', 'claim', 'adoption'].map((name) => `lanekeeper.${name}`),
];

export const pause = (ms = 50): Promise<unknown> => new Promise((resolve) => setTimeout(resolve, ms));

export type Relaying = Awaited<ReturnType<typeof relaying>>;

export async function relaying() {
  const trio = await testTrio({
    schema,
    approach: 'full-active-active',
    tables: {
      accounts: { class: 'system-of-record', account: 'id', root: true },
      orders: { class: 'system-of-record', account: 'account' },
      visits: { class: 'system-of-record', account: 'account' },
      parts: { class: 'system-of-record', account: 'account' },
      products: { class: 'read-only', feeder: 'ny' },
      reviews: { class: 'system-of-reference', policy: 'timestamp-weight' },
    },
  });
  const urls = (name: string) => trio.dc(name).urls;
  const write = (name: string, sql: string) => runSql(urls(name).application, sql);
  const feed = (sql: string) => runSql(urls('ny').owner, `BEGIN; SELECT lanekeeper.publishing(); ${sql}; COMMIT`);

  /** Of one stream out of `from`: until `reader` has confirmed what was written so far. */
  async function arrived(from: string, reader: string): Promise<void> {
    const [row] = await runSql<{ lsn: string }>(
      urls(from).superuser,
      "SELECT pg_logical_emit_message(true, 'test', 'arrived')::text AS lsn",
    );
    for (let attempt = 0; attempt < 600; attempt += 1) {
      const rows = await runSql(
        urls(from).superuser,
        'SELECT FROM pg_replication_slots WHERE slot_name = ANY ($1) AND confirmed_flush_lsn > $2::pg_lsn',
        [[`lanekeeper_${reader}_homed`, `lanekeeper_${reader}_rest`], row?.lsn],
      );
      if (rows.length === 2) return;
      await pause();
    }
    throw new Error(`what ${from} wrote did not arrive in ${reader}`);
  }

  async function everywhere(): Promise<void> {
    for (const from of trio.names) for (const reader of trio.names) if (from !== reader) await arrived(from, reader);
  }

  /** `fra` hears nothing more of `ny`. */
  async function cutOff(streams = ['homed', 'rest']): Promise<void> {
    for (const stream of streams) await runSql(urls('fra').agent, `ALTER SUBSCRIPTION lanekeeper_ny_${stream} DISABLE`);
  }

  /** The sessions of `name`'s agent, as it has them. */
  async function sessionsOf<T>(
    name: string,
    work: (sessions: Parameters<typeof advanceRelaySlot>[0]) => Promise<T>,
  ): Promise<T> {
    return using(urls(name).agent, (agent) =>
      using(urls(name).replication, (replication) => work({ agent, replication })),
    );
  }

  async function ensureSlots(name = 'la'): Promise<readonly string[]> {
    const outcomes = await sessionsOf(name, (sessions) => ensureRelaySlots(sessions, trio.dc(name).configuration));
    return outcomes.map(({ peer, kind, message }) => (kind === 'failed' ? message : `${peer} ${kind}`));
  }

  async function tailsOf(name: string): Promise<PeerTails> {
    const others = trio.names.filter((one) => one !== name);
    return using(urls(name).agent, async (client) => {
      await noteHeard(client, others);
      const tails: Record<string, Record<string, string>> = {};
      for (const { publisher, stream, tail } of await readTails(client, others)) {
        tails[publisher] = { ...tails[publisher], [stream]: tail };
      }
      return tails;
    });
  }

  async function sampleOf(name: string): Promise<RelaySample> {
    const others = trio.names.filter((one) => one !== name);
    return using(urls(name).agent, async (client) => {
      const begun = await beginSample(client);
      for (;;) {
        const sample = await finishSample(client, begun, others);
        if (sample !== null) return sample;
        await pause(10);
      }
    });
  }

  async function advance(samples: readonly RelaySample[], keeper = 'la', peer = 'fra'): Promise<RelaySample | null> {
    const covered = coveredSample(samples, peer, await tailsOf(peer));
    if (covered !== null) await sessionsOf(keeper, (sessions) => advanceRelaySlot(sessions, peer, covered));
    return covered;
  }

  async function fail(): Promise<Readonly<Record<string, TailPlace>>> {
    await trio.dc('ny').database.cluster.kill();
    const tails: Record<string, TailPlace> = {};
    for (const name of ['la', 'fra']) {
      tails[name] = await using(urls(name).agent, (client) => freezeStreams(client, 'ny', takeoverTerm, 60_000));
    }
    return tails;
  }

  function replay(upTo: TailPlace, withinMs?: number): Promise<ReplayResult> {
    return replayTail({
      here: { name: 'fra', agent: connectAs(trio.dc('fra'), 'agent') },
      there: {
        name: 'la',
        agent: connectAs(trio.dc('la'), 'agent'),
        replication: connectAs(trio.dc('la'), 'replication'),
      },
      of: 'ny',
      term: takeoverTerm,
      upTo,
      ...(withinMs === undefined ? {} : { withinMs }),
    });
  }

  async function rowsOf(name: string): Promise<Record<string, unknown>> {
    const rows: Record<string, unknown> = {};
    for (const table of compared) {
      const found = await runSql<{ row: string }>(
        urls(name).superuser,
        `SELECT CASE WHEN length(t::text) < 200 THEN t::text ELSE left(t::text, 60) || md5(t::text) END AS row
        FROM ${table} t ORDER BY t::text COLLATE "C"`,
      );
      rows[table] = found.map(({ row }) => row);
    }
    const versions = await runSql<{ row: string }>(
      urls(name).superuser,
      'SELECT ROW(relation, key, stamp, root, deleted)::text AS row FROM lanekeeper.version ORDER BY 1',
    );
    rows.versions = versions.map(({ row }) => row);
    return rows;
  }

  async function same(): Promise<void> {
    const [la, fra] = [await rowsOf('la'), await rowsOf('fra')];
    for (const table of Object.keys(la)) expect(fra[table], table).toEqual(la[table]);
  }

  /** What there was before anything failed. */
  async function stock(): Promise<void> {
    await write(
      'ny',
      `INSERT INTO accounts SELECT 'a' || n, 'name ' || n, repeat(md5(n::text), 200) FROM generate_series(1, 40) n;
      INSERT INTO orders (account, amount, tags) SELECT 'a' || n, n, ARRAY['x', NULL, 'y "z"'] FROM generate_series(1, 40) n;
      INSERT INTO visits SELECT n, 'a' || n, date '2024-02-03' + n, interval '1 mon -1 day', 0.1 * n FROM generate_series(1, 40) n;
      INSERT INTO parts SELECT 'a' || n, n, 'part ' || n FROM generate_series(1, 40) n;
      INSERT INTO reviews SELECT n, 'review ' || n FROM generate_series(1, 20) n;`,
    );
    await feed(`INSERT INTO products SELECT n, 'product ' || n FROM generate_series(1, 20) n`);
    await everywhere();
  }

  try {
    for (const name of trio.names) {
      await runSql(urls(name).agent, 'SELECT lanekeeper.set_lease(wall_ms + 600000) FROM lanekeeper.clock()');
    }
  } catch (error) {
    await trio.stop();
    throw error;
  }
  return {
    trio,
    urls,
    write,
    feed,
    arrived,
    everywhere,
    cutOff,
    ensureSlots,
    sampleOf,
    advance,
    fail,
    replay,
    same,
    stock,
  };
}
