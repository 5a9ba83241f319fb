/**
 * Pattern 1 (many masters, one active) against pattern 2 (one master, many readers): for how long customers cannot write when
 * the data center that has accounts is killed, and when it is switched over. Eight accounts, half of them homed in each data
 * center where each has a home of its own; each is written all the time, wherever that is allowed, and the longest time between
 * two of its commits counts. The same act, the same lab, the same machine.
 *
 *   npm run bench -- patterns [--runs 5]
 */
import pg from 'pg';
import { lanekeeper, untilWell, withLab } from '../lab.js';
import { machine, median, option, printTable } from '../measure.js';

const dcs = ['ny', 'la'];
const accounts = Array.from({ length: 8 }, (_, i) => ({ id: `a${i}`, born: dcs[i % 2] }));
const processesOfOne = ['edge', 'app-1', 'app-2', 'agent', 'postgres'];
const everyMs = 20;
const feltMs = 3000;

export async function run(args) {
  const runs = option(args, 'runs', 5);
  console.log(machine());
  const perAccount = await measurePattern('a home for each account', 'full-active-active', runs);
  const single = await measurePattern('one home for all', 'active-active-apps', runs);
  const rows = ['killed', 'switched over'].flatMap((what) => {
    const [one, two] = [perAccount[what], single[what]];
    const row = (pattern, pauses) => ({
      what,
      pattern,
      runs,
      'mean of all customers, ms': Math.round(median(pauses.map(mean))),
      'longest, ms': Math.round(median(pauses.map((run_) => Math.max(...run_)))),
      [`wait longer than ${feltMs} ms`]: `${Math.round(100 * mean(pauses.flat().map((ms) => (ms > feltMs ? 1 : 0))))} %`,
      'mean, as a ratio': (median(pauses.map(mean)) / median(one.map(mean))).toFixed(2),
    });
    return [row('1: a home for each account', one), row('2: one home for all', two)];
  });
  printTable('For how long customers cannot write, ny fails or is emptied', rows);
}

const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;

async function measurePattern(name, approach, runs) {
  const result = { killed: [], 'switched over': [] };
  await withLab(
    async (described) => {
      await untilWell(described);
      for (const { id, born } of accounts) await insert(described, approach === 'full-active-active' ? born : 'ny', id);
      await lanekeeper(described, 'lab', 'link', 'ny', 'la', '--rtt', '60ms');
      const measure = async (what, act) => {
        await untilWell(described);
        const pauses = await pausesOf(described, act);
        result[what].push(pauses);
        console.log(`${name}, ny ${what}: ${pauses.map(Math.round).join(', ')} ms`);
      };
      const handBack = async () => {
        await untilWell(described);
        await lanekeeper(described, 'switchover', '--from', 'la', '--to', 'ny', '--hand-back');
      };
      for (let i = 0; i < runs; i++) {
        await measure('switched over', () => lanekeeper(described, 'switchover', '--from', 'ny', '--to', 'la'));
        await handBack();
        await measure('killed', () =>
          Promise.all(processesOfOne.map((process_) => command(described, process_, 'kill'))),
        );
        for (const process_ of processesOfOne.toReversed()) await command(described, process_, 'start');
        await handBack();
      }
    },
    ['--approach', approach],
  );
  return result;
}

async function insert(described, dc, id) {
  const client = new pg.Client({ connectionString: described.dataCenters[dc].databases.application });
  await client.connect();
  await client.query('INSERT INTO accounts (id) VALUES ($1)', [id]);
  await client.end();
}

async function command(described, name, action) {
  const { url, token } = described.switchboard;
  const response = await fetch(new URL(`/ny/${name}/${action}`, url), {
    method: 'POST',
    headers: { authorization: `Bearer ${token}` },
  });
  if (!response.ok) throw new Error(`${action} ${name}: ${await response.text()}`);
}

/** The longest time between two commits of each account, from before `act` until all are written in la. */
async function pausesOf(described, act) {
  const load = { on: true };
  const states = accounts.map(() => ({ last: 0, longest: 0, inLa: false }));
  const loops = accounts.flatMap(({ id }, index) => dcs.map((dc) => write(described, dc, id, states[index], load)));
  const until = async (condition) => {
    for (let i = 0; !condition() && i < 60_000; i++) await new Promise((resolve) => setTimeout(resolve, 5));
    if (!condition()) throw new Error('nobody writes any more');
  };
  await until(() => states.every(({ last }) => last > 0));
  for (const state of states) Object.assign(state, { longest: 0, inLa: false });
  const acted = act();
  await until(() => states.every(({ inLa }) => inLa));
  await acted;
  // What la had already shall feel that nobody answers any more.
  await new Promise((resolve) => setTimeout(resolve, 3000));
  load.on = false;
  await Promise.all(loops);
  return states.map(({ longest }) => longest);
}

async function write(described, dc, id, state, load) {
  let client = null;
  while (load.on) {
    try {
      if (client === null) {
        const connectionString = described.dataCenters[dc].databases.application;
        client = new pg.Client({ connectionString, query_timeout: 10_000 });
        client.on('error', () => {});
        await client.connect();
      }
      await client.query("UPDATE accounts SET name = 'x' WHERE id = $1", [id]);
      const now = performance.now();
      if (state.last > 0) state.longest = Math.max(state.longest, now - state.last);
      state.last = now;
      if (dc === 'la') state.inLa = true;
    } catch (error) {
      if (!String(error.code).startsWith('LK') && error.code !== '40001') {
        client?.end().catch(() => {});
        client = null;
      }
    }
    await new Promise((resolve) => setTimeout(resolve, everyMs));
  }
  await client?.end().catch(() => {});
}
