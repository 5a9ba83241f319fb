/**
 * For how long customers cannot write when a data center is killed, when only its database breaks, and when everything is
 * switched over; seen from outside, by clients that write to the same accounts in all data centers all the time. With a
 * few accounts and with many, since the answer must not depend on that.
 *
 *   npm run bench -- failover [--runs 20] [--accounts 1000000] [--data-centers 3]
 */
import pg from 'pg';
import { dataCenters, lanekeeper, setRoundTrips, untilWell, withLab } from '../lab.js';
import { machine, median, option, printTable } from '../measure.js';

const few = 1000;
const processesOfOne = ['edge', 'app-1', 'app-2', 'agent', 'postgres'];

export async function run(args) {
  const runs = option(args, 'runs', 20);
  const many = option(args, 'accounts', 1_000_000);
  const count = option(args, 'data-centers', 2);
  await withLab(async (described) => {
    console.log(machine());
    await fill(described, 0, few);
    await setRoundTrips(described, 60);
    const names = Object.keys(described.dataCenters);
    const next = (name) => names[(names.indexOf(name) + 1) % names.length];
    const results = [];
    let holder = 'ny';
    const series = async (what, runsOfIt, once_) => {
      const pauses = [];
      for (let i = 0; i < runsOfIt; i++) {
        await untilWell(described);
        const { pause, to } = await once_();
        pauses.push(pause);
        holder = to;
        console.log(`${what} ${i + 1}/${runsOfIt}: ${Math.round(pause)} ms, ${to}`);
      }
      results.push({
        what,
        runs: runsOfIt,
        'median ms': Math.round(median(pauses)),
        'maximum ms': Math.round(Math.max(...pauses)),
      });
    };
    const switched = () =>
      pauseOf(described, holder, () => lanekeeper(described, 'switchover', '--from', holder, '--to', next(holder)));
    const killed = async () => {
      const failed = holder;
      const result = await pauseOf(described, failed, () =>
        Promise.all(processesOfOne.map((name) => command(described, failed, name, 'kill'))),
      );
      for (const name of processesOfOne.toReversed()) await command(described, failed, name, 'start');
      return result;
    };
    const broken = async () => {
      const failed = holder;
      const result = await pauseOf(described, failed, () => command(described, failed, 'postgres', 'kill'));
      await command(described, failed, 'postgres', 'start');
      return result;
    };
    await series(`switchover, ${few} accounts, 60 ms round trip`, runs, switched);
    await series('database killed, agent alive', runs, broken);
    await series(`data center killed, ${few} accounts`, runs, killed);
    if (many > few) {
      await untilWell(described);
      await fill(described, few, many, holder);
      await untilWell(described);
      await series(`switchover, ${many} accounts, 60 ms round trip`, Math.ceil(runs / 4), switched);
      await series(`data center killed, ${many} accounts`, Math.ceil(runs / 10), killed);
    }
    printTable(`${count} data centers: from the last write in the old home to the first one in the new`, results);
  }, dataCenters(count));
}

async function fill(described, from, to, dc = 'ny') {
  const client = new pg.Client({ connectionString: described.dataCenters[dc].databases.application });
  await client.connect();
  for (let at = from; at < to; at += 20_000)
    await client.query("INSERT INTO accounts (id) SELECT 'a' || i FROM generate_series($1::int, $2::int) i", [
      at,
      Math.min(at + 20_000, to) - 1,
    ]);
  await client.end();
}

async function command(described, site, name, action) {
  const { url, token } = described.switchboard;
  const response = await fetch(new URL(`/${site}/${name}/${action}`, url), {
    method: 'POST',
    headers: { authorization: `Bearer ${token}` },
  });
  if (!response.ok) throw new Error(`${action} ${name} in ${site}: ${await response.text()}`);
}

/** From the last write acknowledged in `from` to the first one in another data center, and which that is. */
async function pauseOf(described, from, act) {
  const load = { on: true };
  let last = 0;
  let first = 0;
  let to = '';
  const writer = async (dc, onCommit) => {
    let client = null;
    while (load.on) {
      try {
        if (client === null) {
          client = new pg.Client({
            connectionString: described.dataCenters[dc].databases.application,
            query_timeout: 3000,
          });
          client.on('error', () => {});
          await client.connect();
        }
        await client.query("UPDATE accounts SET name = 'x' WHERE id = 'a1'");
        onCommit(performance.now());
      } catch (error) {
        if (!String(error.code).startsWith('LK') && error.code !== '40001') {
          client?.end().catch(() => {});
          client = null;
        }
      }
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    await client?.end().catch(() => {});
  };
  const writers = [
    writer(from, (at) => {
      if (first === 0) last = at;
    }),
    ...Object.keys(described.dataCenters)
      .filter((name) => name !== from)
      .map((name) =>
        writer(name, (at) => {
          if (first !== 0) return;
          first = at;
          to = name;
        }),
      ),
  ];
  while (last === 0) await new Promise((resolve) => setTimeout(resolve, 1));
  const acted = act();
  for (let i = 0; first === 0 && i < 60_000; i++) await new Promise((resolve) => setTimeout(resolve, 1));
  await acted;
  load.on = false;
  await Promise.all(writers);
  if (first === 0) throw new Error('nobody writes any more');
  return { pause: first - last, to };
}
