/**
 * How long an account stands still when it moves, seen from outside: one client writes to it in the old home and one in
 * the new, about every two milliseconds; the pause is from the last commit here to the first one there. Beside it the round trip
 * of the link in the same run. Then moves a second, 16 at a time.
 */
import { databaseUrl, loadConfiguration } from 'lanekeeper/config';
import { createKeyRing, mintAgentToken } from 'lanekeeper/session';
import pg from 'pg';
import { lanekeeper, withLab } from '../lab.js';
import { machine, median, option, percentile, printTable } from '../measure.js';

const sizes = [
  { rows: 50, accounts: 200 },
  { rows: 5000, accounts: 20 },
];

export async function run(args) {
  const moves = option(args, 'moves', 100);
  const parallelMoves = option(args, 'parallel-moves', 320);
  await withLab(async (described) => {
    const control = await open(described);
    await fill(described.dataCenters.ny.databases.application);
    console.log(machine());
    const results = [];
    for (const delayMs of [0, 30]) {
      await lanekeeper(described, 'lab', 'link', 'ny', 'la', '--rtt', `${delayMs * 2}ms`);
      for (const size of sizes) {
        const roundTripMs = await roundTrip(control);
        const pauses = [];
        for (let i = 0; i < (size.rows > 1000 ? Math.ceil(moves / 4) : moves); i++)
          pauses.push(await pause(described, control, `s${size.rows}-${i % size.accounts}`));
        const rate = await moveRate(
          described,
          control,
          size,
          size.rows > 1000 ? Math.ceil(parallelMoves / 8) : parallelMoves,
        );
        results.push({
          'one way ms': delayMs,
          'rows of the account': size.rows,
          'round trip ms': roundTripMs.toFixed(1),
          'pause median ms': median(pauses).toFixed(1),
          'pause p99 ms': percentile(pauses, 0.99).toFixed(1),
          'median beyond a round trip': (median(pauses) - roundTripMs).toFixed(1),
          'moves/s, 16 at a time': rate.toFixed(1),
        });
        console.log(JSON.stringify(results.at(-1)));
      }
    }
    printTable('Moves', results);
  });
}

/** What the bench needs to ask ny's agent, and a connection from ny to la through the link. */
async function open(described) {
  const ny = described.dataCenters.ny;
  const env = { ...process.env, ...ny.environment };
  const { configuration } = await loadConfiguration({ file: ny.config, env, dc: 'ny' });
  const ring = createKeyRing(configuration, { env });
  return { ring, through: databaseUrl(configuration, 'la', 'replication', env), homes: new Map() };
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

async function roundTrip({ through }) {
  const client = new pg.Client({ connectionString: through });
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

async function pause(described, control, account) {
  const from = control.homes.get(account) ?? 'ny';
  const to = from === 'ny' ? 'la' : 'ny';
  const load = { on: true };
  const writer = async (dataCenter, onCommit) => {
    const client = new pg.Client({ connectionString: described.dataCenters[dataCenter].databases.application });
    await client.connect();
    while (load.on) {
      try {
        await client.query({
          name: 'w',
          text: "UPDATE accounts SET name = name || '' WHERE id = $1",
          values: [account],
        });
        onCommit(performance.now());
      } catch (error) {
        if (!['LK001', 'LK004', 'LK009', '40001'].includes(error.code)) throw error;
      }
      // Two cores carry the whole lab: writers that never rest would measure themselves.
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
    await client.end();
  };
  let last = 0;
  let first = 0;
  const writers = [
    writer(from, (at) => {
      last = at;
    }),
    writer(to, (at) => {
      first ||= at;
    }),
  ];
  while (last === 0) await new Promise((resolve) => setTimeout(resolve, 1));
  await move(described, control, account);
  for (let i = 0; first === 0 && i < 5000; i++) await new Promise((resolve) => setTimeout(resolve, 1));
  load.on = false;
  await Promise.all(writers);
  if (first < last) throw new Error(`${account} was written in ${to} before it was given up in ${from}`);
  return first - last;
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
