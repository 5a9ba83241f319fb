/**
 * How long an account stands still when it moves, seen from outside: one client writes to it in the old home and one in
 * the new, about every two milliseconds, or when it was refused as soon as the database speaks of a deed, which is what applications
 * do; the pause is from the last commit here to the first one there. Their writes are
 * `durability: local`, so that it is the move alone; then as many moves with `remote` ones, the first of which is
 * acknowledged a round trip later, as everywhere. Beside it the round trip of the link in the same run, and moves a second,
 * 16 at a time.
 *
 * With `--data-centers 3` the third one is the farthest, and a move between the two near ones waits until it has the deed too;
 * then for how long a commit that is held remotely waits, by whom the sync set has.
 *
 *   npm run bench -- rehome [--moves 100] [--parallel-moves 320] [--data-centers 3] [--one-way 0,30] [--rows 50]
 */
import { databaseUrl, loadConfiguration } from 'lanekeeper/config';
import { createKeyRing, mintAgentToken } from 'lanekeeper/session';
import pg from 'pg';
import { dataCenters, lanekeeper, setRoundTrips, untilWell, withLab } from '../lab.js';
import { machine, median, numbers, option, percentile, printTable } from '../measure.js';

const sizes = [
  { rows: 50, accounts: 200 },
  { rows: 5000, accounts: 20 },
];

const warmUp = 400;

const writes = {
  local: "UPDATE carts SET note = note || '' WHERE account_id = $1",
  remote: "UPDATE accounts SET name = name || '' WHERE id = $1",
};

export async function run(args) {
  const moves = option(args, 'moves', 100);
  const parallelMoves = option(args, 'parallel-moves', 320);
  const count = option(args, 'data-centers', 2);
  await withLab(async (described) => {
    const control = await open(described);
    await fill(described.dataCenters.ny.databases.application);
    await settle(described);
    console.log(machine());
    const results = [];
    const distances = numbers(args, 'one-way', count === 2 ? [0, 30] : [0, 5, 30]);
    const chosen = numbers(
      args,
      'rows',
      sizes.map(({ rows }) => rows),
    );
    for (const delayMs of distances) {
      // Of three, ny and la are 10 ms apart at most, and fra is far from both.
      await setRoundTrips(described, (_a, b) => (b === 'fra' || count === 2 ? delayMs : Math.min(delayMs, 5)) * 2);
      for (const size of sizes.filter(({ rows }) => chosen.includes(rows))) {
        const roundTripMs = Math.max(...(await Promise.all(control.through.map(roundTrip))));
        const measure = async (write) => {
          const pauses = [];
          for (let i = 0; i < (size.rows > 1000 ? Math.ceil(moves / 4) : moves); i++)
            pauses.push(await pause(described, control, `s${size.rows}-${i % size.accounts}`, write));
          return pauses;
        };
        // The first ones find their way: connections, plans, code that is not compiled yet.
        if (results.length === 0) await moveRate(described, control, size, warmUp);
        const pauses = await measure(writes.local);
        const remote = await measure(writes.remote);
        const rate = await moveRate(
          described,
          control,
          size,
          size.rows > 1000 ? Math.ceil(parallelMoves / 8) : parallelMoves,
        );
        results.push({
          'one way to the farthest ms': delayMs,
          'rows of the account': size.rows,
          'round trip ms': roundTripMs.toFixed(1),
          'pause median ms': median(pauses).toFixed(1),
          'pause p99 ms': percentile(pauses, 0.99).toFixed(1),
          'median beyond a round trip': (median(pauses) - roundTripMs).toFixed(1),
          'with remote writes': median(remote).toFixed(1),
          'moves/s, 16 at a time': rate.toFixed(1),
        });
        console.log(JSON.stringify(results.at(-1)));
      }
    }
    printTable(`Moves, ${count} data centers`, results);
    for (const { client } of Object.values(control.writers)) await client.end();
    if (count === 3) await remoteCommits(described, control);
  }, dataCenters(count));
}

/** What the bench needs to ask ny's agent, and connections from ny to the others through the links. */
async function open(described) {
  const ny = described.dataCenters.ny;
  const env = { ...process.env, ...ny.environment };
  const { configuration } = await loadConfiguration({ file: ny.config, env, dc: 'ny' });
  const ring = createKeyRing(configuration, { env });
  const others = Object.keys(described.dataCenters).filter((name) => name !== 'ny');
  const through = others.map((name) => databaseUrl(configuration, name, 'replication', env));
  const writers = Object.fromEntries(
    await Promise.all(
      ['ny', 'la'].map(async (name) => [name, await openWriter(described.dataCenters[name].databases.application)]),
    ),
  );
  return { ring, through, writers, homes: new Map() };
}

async function fill(url) {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  for (const { rows, accounts } of sizes) {
    // One row each in accounts and carts; the rest in equal parts.
    const each = Math.floor((rows - 2) / 4);
    for (let i = 0; i < accounts; i++) {
      const id = `s${rows}-${i}`;
      await client.query('BEGIN');
      await client.query('INSERT INTO accounts (id) VALUES ($1)', [id]);
      await client.query("INSERT INTO carts (id, account_id) VALUES ('c-' || $1, $1)", [id]);
      await client.query(
        "INSERT INTO addresses (account_id, line) SELECT $1, repeat('x', 40) FROM generate_series(1, $2)",
        [id, each],
      );
      await client.query(
        "INSERT INTO cart_lines (cart_id, sku, quantity) SELECT 'c-' || $1, 'sku' || i, 1 FROM generate_series(1, $2) i",
        [id, each],
      );
      await client.query(
        "INSERT INTO orders (id, account_id) SELECT $1 || '-o' || i, $1 FROM generate_series(1, $2) i",
        [id, each],
      );
      await client.query(
        "INSERT INTO order_lines (order_id, sku, quantity) SELECT $1 || '-o' || i, 'sku', 1 FROM generate_series(1, $2) i",
        [id, each],
      );
      await client.query('COMMIT');
    }
  }
  await client.end();
}

/** Every row is everywhere, and counted as autovacuum would within a minute: without statistics the planner reads whole tables. */
async function settle(described) {
  const wanted = sizes.reduce((sum, { rows, accounts }) => sum + accounts * Math.floor((rows - 2) / 4), 0);
  for (const { databases } of Object.values(described.dataCenters)) {
    const client = new pg.Client({ connectionString: databases.superuser });
    await client.connect();
    for (let there = 0; there < wanted; ) {
      const { rows } = await client.query('SELECT count(*)::int AS there FROM order_lines');
      there = rows[0].there;
      if (there < wanted) await new Promise((resolve) => setTimeout(resolve, 250));
    }
    await client.query('VACUUM ANALYZE');
    await client.end();
  }
  await untilWell(described);
}

async function roundTrip(url) {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  const times = [];
  for (let i = 0; i < 21; i++) {
    const start = performance.now();
    await client.query('SELECT 1');
    times.push(performance.now() - start);
  }
  await client.end();
  return median(times);
}

async function move(described, { ring, homes }, account) {
  const to = (homes.get(account) ?? 'ny') === 'ny' ? 'la' : 'ny';
  const response = await fetch(new URL('/v1/moves', described.dataCenters.ny.agent), {
    method: 'POST',
    headers: { authorization: `Bearer ${mintAgentToken(ring, Date.now())}`, 'content-type': 'application/json' },
    body: JSON.stringify({ account, to, waitMs: 20_000, reason: 'bench' }),
  });
  const answer = await response.json();
  if (answer.kind !== 'moved') throw new Error(`${account} to ${to}: ${JSON.stringify(answer)}`);
  homes.set(account, to);
  return to;
}

async function pause(described, control, account, text) {
  const from = control.homes.get(account) ?? 'ny';
  const to = from === 'ny' ? 'la' : 'ny';
  const load = { on: true };
  const write = async ({ client, deeds }, onCommit) => {
    while (load.on) {
      const heard = deeds.heard;
      try {
        await client.query({ name: text, text, values: [account] });
        onCommit(performance.now());
        // Two cores carry the whole lab: writers that never rest would measure themselves.
        await new Promise((resolve) => setTimeout(resolve, 1));
      } catch (error) {
        if (!['LK001', 'LK004', 'LK009', '40001'].includes(error.code)) throw error;
        await deeds.beyond(heard, 20);
      }
    }
  };
  let last = 0;
  let first = 0;
  const writing = [
    write(control.writers[from], (at) => {
      last = at;
    }),
    write(control.writers[to], (at) => {
      first ||= at;
    }),
  ];
  while (last === 0) await new Promise((resolve) => setTimeout(resolve, 1));
  await move(described, control, account);
  for (let i = 0; first === 0 && i < 5000; i++) await new Promise((resolve) => setTimeout(resolve, 1));
  load.on = false;
  await Promise.all(writing);
  if (first < last) throw new Error(`${account} was written in ${to} before it was given up in ${from}`);
  return first - last;
}

/** A connection that writes, as one of an application's pool, and what the database says of deeds on it. */
async function openWriter(connectionString) {
  const client = new pg.Client({ connectionString });
  await client.connect();
  await client.query('LISTEN lanekeeper_app');
  return { client, deeds: news(client) };
}

/** What the database says of deeds to applications. */
function news(client) {
  let wake = () => {};
  const deeds = {
    heard: 0,
    /** When there is more than `heard`, after `ms` in any case. */
    async beyond(heard, ms) {
      if (deeds.heard > heard) return;
      await new Promise((resolve) => {
        const timer = setTimeout(resolve, ms);
        wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    },
  };
  client.on('notification', () => {
    deeds.heard++;
    wake();
  });
  return deeds;
}

async function moveRate(described, control, { rows, accounts }, count) {
  let next = 0;
  const busy = new Set();
  const start = performance.now();
  await Promise.all(
    Array.from({ length: 16 }, async () => {
      while (next < count) {
        const account = `s${rows}-${next++ % accounts}`;
        if (busy.has(account)) continue;
        busy.add(account);
        await move(described, control, account);
        busy.delete(account);
      }
    }),
  );
  return count / ((performance.now() - start) / 1000);
}

/** Of a single-row update in ny that waits for its sync set: both others, then the near one when the far one has left. */
async function remoteCommits(described, { through }) {
  const results = [];
  const client = new pg.Client({ connectionString: described.dataCenters.ny.databases.application });
  await client.connect();
  await client.query("INSERT INTO accounts (id) VALUES ('commits')");
  const measure = async (members) => {
    const times = [];
    for (let i = 0; i < 120; i++) {
      const start = performance.now();
      await client.query("UPDATE accounts SET name = 'x' WHERE id = 'commits'");
      // The first ones find their way.
      if (i >= 20) times.push(performance.now() - start);
    }
    return {
      'remote commits wait for': members,
      'median ms': median(times).toFixed(1),
      'p99 ms': percentile(times, 0.99).toFixed(1),
    };
  };
  const waitsFor = async (members) => {
    for (let i = 0; i < 240; i++) {
      const { stdout } = await lanekeeper(described, 'status', '--json').catch((error) => error);
      const recorded = JSON.parse(stdout || '{}').dataCenters?.ny?.sync.recorded ?? [];
      if (recorded.toSorted().join() === members.toSorted().join()) return;
      await new Promise((resolve) => setTimeout(resolve, 250));
    }
    throw new Error(`ny does not wait for ${members.join(' and ')}`);
  };
  for (const [near, far] of [
    [10, 10],
    [10, 80],
  ]) {
    await setRoundTrips(described, (a, b) => (a === 'ny' && b === 'la' ? near : far));
    await untilWell(described);
    const [toLa, toFra] = await Promise.all(through.map(roundTrip));
    const distance = { 'round trip to la ms': toLa.toFixed(1), 'to fra ms': toFra.toFixed(1) };
    results.push({ ...distance, ...(await measure('la and fra')) });
    await lanekeeper(described, 'lab', 'link', 'ny', 'fra', '--cut');
    await waitsFor(['la']);
    results.push({ ...distance, ...(await measure('la')) });
    await lanekeeper(described, 'lab', 'link', 'ny', 'fra', '--heal');
    await untilWell(described);
  }
  await client.end();
  printTable('Remote commits', results);
}
