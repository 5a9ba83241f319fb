/**
 * What a durable commit costs over a distance: single inserts by several clients, `local` and `remote`, at round trips of 0, 20 and 60 ms
 * over the lab's links. Beside them, in turn and in the same run: a plain table that waits for nobody; a plain table with a
 * synchronous subscription of PostgreSQL's own; MariaDB Galera over the same links, where it can be had.
 *
 * The three do not promise the same. Lanekeeper's `remote` and the synchronous subscription: applied and flushed over there. Galera:
 * received and certified over there, applied later.
 */
import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startLinks } from '@lanekeeper/lab';
import { machine, median, option, percentile, printTable } from '../measure.js';
import { missingGalera, startGalera } from './galera.js';
import { postgresWorks, startPostgres } from './postgres.js';

const galeraWork = 'MariaDB Galera, two nodes';
const baseline = 'plain PostgreSQL, local';

export async function run(args) {
  const seconds = option(args, 'seconds', 3);
  const rounds = option(args, 'rounds', 3);
  const clients = option(args, 'clients', 8);
  const dir = await mkdtemp(join(tmpdir(), 'lanekeeper-bench-'));
  await chmod(dir, 0o755);
  const stops = [() => rm(dir, { recursive: true, force: true })];
  try {
    const links = await startLinks({ defaults: { delayMs: 0 } });
    stops.push(() => links.stop());
    const carry = async (from, to, { host, port }) => {
      const request = { from, to, target: { host, port }, listen: { host: '127.0.0.1', port: 0 } };
      return (await links.client.addRoute(request)).listen;
    };
    const postgres = await startPostgres(dir, carry, clients);
    stops.push(postgres.stop);
    const missing = await missingGalera();
    const galera = missing === null ? await startGalera(dir, carry, clients) : null;
    if (galera) stops.push(galera.stop);
    else console.log(`Left out: ${galeraWork}, since ${missing}`);
    console.log(`${machine()}; ${clients} clients, ${rounds} rounds of ${seconds} s each`);

    const works = [...postgresWorks, ...(galera ? [galeraWork] : [])];
    const load = (work, options) => (work === galeraWork ? galera.load(options) : postgres.load(work, options));
    const rows = [];
    for (const roundTripMs of [0, 20, 60]) {
      await links.client.changeBoth('ny', 'la', { delayMs: roundTripMs / 2 });
      const results = Object.fromEntries(works.map((work) => [work, []]));
      for (const work of works) await load(work, { seconds: 0.3, clients });
      for (let round = 0; round < rounds; round++) {
        for (const work of works) results[work].push(await load(work, { seconds, clients }));
      }
      for (const work of works) rows.push(summary(work, roundTripMs, results[work], results[baseline]));
      for (const row of rows.slice(-works.length)) console.log(JSON.stringify(row));
    }
    if (galera && (await galera.count()) === 0) throw new Error('nothing reached the other node of Galera');
    printTable('One insert, one commit', rows);
  } finally {
    for (const stop of stops.toReversed()) await stop();
  }
}

function summary(work, roundTripMs, own, plain) {
  const latencies = own.flatMap((one) => one.latencies);
  const middle = median(latencies);
  return {
    'round trip ms': roundTripMs,
    work,
    'commit ms, median': middle.toFixed(2),
    'p99 ms': percentile(latencies, 0.99).toFixed(2),
    'beyond the round trip ms': work.endsWith(', local') ? '' : (middle - roundTripMs).toFixed(2),
    'commits/s': Math.round(median(own.map((one) => one.perSecond))),
    'of plain local': median(own.map((one, i) => one.perSecond / plain[i].perSecond)).toFixed(3),
  };
}
