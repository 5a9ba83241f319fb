/**
 * What it costs to write a row in every data center, at 60 ms between them: how long the application waits, and how fast a backlog is
 * drained into the other data center. Direct writes against the log in PostgreSQL and in NATS, with one replica and with three; a plain
 * insert that goes nowhere, measured beside each, is the measure.
 *
 * They do not promise the same. Direct: committed in both. The log in PostgreSQL: on the disk here. NATS with one replica: with one
 * server, not on its disk yet. With three: with three servers, here all on this machine.
 */
import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { startLinks } from '@lanekeeper/lab';
import pg from 'pg';
import { machine, median, option, percentile, printTable } from '../measure.js';
import { missingNats, startNats } from './nats.js';
import { startPlaces } from './places.js';

const roundTripMs = 60;

export async function run(args) {
  const seconds = option(args, 'seconds', 3);
  const clients = option(args, 'clients', 8);
  const backlog = option(args, 'backlog', 20_000);
  const dir = await mkdtemp(join(tmpdir(), 'lanekeeper-bench-'));
  await chmod(dir, 0o755);
  const stops = [() => rm(dir, { recursive: true, force: true })];
  try {
    const links = await startLinks({ defaults: { delayMs: roundTripMs / 2 } });
    stops.push(() => links.stop());
    const carry = async (from, to, { host, port }) => {
      const request = { from, to, target: { host, port }, listen: { host: '127.0.0.1', port: 0 } };
      return (await links.client.addRoute(request)).listen;
    };
    const places = await startPlaces(dir, carry);
    stops.push(places.stop);
    console.log(`${machine()}; ${clients} clients, ${seconds} s each, ${roundTripMs} ms`);

    const acknowledged = [];
    const drained = [];
    const plain = new pg.Pool({ connectionString: places.application, max: clients });
    const insert = (id) =>
      plain.query({ name: 'plain', text: 'INSERT INTO plain VALUES ($1, $2)', values: [id, note] });
    // What else this machine does changes from one minute to the next, so a plain insert is measured beside each.
    const measure = async (what, says, work) => {
      const turns = { work: [], plain: [] };
      for (let turn = 0; turn < 2; turn++) {
        turns.plain.push(await load(insert, seconds / 4, clients));
        turns.work.push(await load(work, seconds / 2, clients));
      }
      acknowledged.push(summary(what, says, turns));
      console.log(JSON.stringify(acknowledged.at(-1)));
    };
    stops.push(() => plain.end());

    const backends = [{ name: 'log in PostgreSQL', says: 'local', buffer: {} }];
    const missing = missingNats();
    if (missing !== null) console.log(`Left out: NATS, since ${missing}`);
    else
      for (const replicas of [1, 3]) {
        const nats = await startNats(dir, replicas);
        stops.push(nats.stop);
        const says = replicas === 1 ? 'unsynced' : `replicated(${replicas})`;
        backends.push({
          name: `log in NATS, ${replicas} replica${replicas === 1 ? '' : 's'}`,
          says,
          buffer: { store: 'nats', urls: nats.urls, replicas },
        });
      }

    for (const { name, says, buffer } of backends) {
      const place = await places.open(buffer);
      drained.push(await drain(name, place, places, backlog, clients));
      console.log(JSON.stringify(drained.at(-1)));
      const agent = await place.agent();
      const sdk = await place.sdk();
      try {
        if (name === 'log in PostgreSQL')
          await measure('direct, by the SDK', 'written in both', (id) =>
            expectKind(sdk.everywhere('straight').put({ id, note }), 'written'),
          );
        await measure(`${name}, by the SDK`, says, (id) =>
          expectKind(sdk.everywhere('logged').put({ id, note }), 'buffered'),
        );
      } finally {
        await sdk.close();
        await agent.close();
      }
      if (buffer.store === 'nats') {
        const log = place.log();
        await measure(`${name}, without the agent between`, says, (id) =>
          expectKind(log.append({ table: 'public.logged', row: { id, note }, remove: false }), 'buffered'),
        );
        await log.close();
      }
    }
    printTable('Until the application is told', acknowledged);
    printTable(`A backlog of ${backlog}, drained into both data centers`, drained);
  } finally {
    for (const stop of stops.toReversed()) await stop();
  }
}

const note = 'x'.repeat(100);
let ids = 0;

async function expectKind(work, kind) {
  const result = await work;
  if (result.kind !== kind) throw new Error(JSON.stringify(result));
}

async function load(work, seconds, clients) {
  const latencies = [];
  const one = async (until, kept) => {
    while (performance.now() < until) {
      const at = performance.now();
      await work(`r${++ids}`);
      kept?.push(performance.now() - at);
    }
  };
  const all = (until, kept) => Promise.all(Array.from({ length: clients }, () => one(until, kept)));
  await all(performance.now() + 500, null);
  const start = performance.now();
  await all(start + seconds * 1000, latencies);
  return { latencies, elapsed: (performance.now() - start) / 1000 };
}

async function drain(name, place, places, backlog, clients) {
  const log = place.log();
  let n = 0;
  await Promise.all(
    Array.from({ length: 4 * clients }, async () => {
      while (n++ < backlog)
        await expectKind(
          log.append({ table: 'public.logged', row: { id: `d${++ids}`, note }, remove: false }),
          'buffered',
        );
    }),
  );
  await log.close();
  const counts = Object.fromEntries(
    await Promise.all(Object.entries(places.pools).map(async ([dc, pool]) => [dc, await count(pool)])),
  );
  const service = place.service();
  const start = performance.now();
  service.start(() => true);
  const took = Object.fromEntries(
    await Promise.all(
      Object.entries(places.pools).map(async ([dc, pool]) => {
        while ((await count(pool)) < counts[dc] + backlog) await pause(50);
        return [dc, (performance.now() - start) / 1000];
      }),
    ),
  );
  await service.close();
  return {
    backend: name,
    'here, writes/s': Math.round(backlog / took.ny),
    [`${roundTripMs} ms away, writes/s`]: Math.round(backlog / took.la),
  };
}

async function count(pool) {
  return (await pool.query('SELECT count(*)::int AS n FROM public.logged')).rows[0].n;
}

function summary(what, says, { work, plain }) {
  const latencies = work.flatMap((one) => one.latencies);
  const beside = median(plain.flatMap((one) => one.latencies));
  return {
    write: what,
    'acknowledged when': says,
    'median ms': median(latencies).toFixed(2),
    'p99 ms': percentile(latencies, 0.99).toFixed(2),
    'writes/s': Math.round(latencies.length / work.reduce((sum, one) => sum + one.elapsed, 0)),
    'plain insert beside it ms': beside.toFixed(2),
    'of it': (median(latencies) / beside).toFixed(2),
  };
}
