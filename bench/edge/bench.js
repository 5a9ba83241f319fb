/**
 * What a request costs at the edge: requests per CPU second of the proxy's process, and p99, against HAProxy (with ES256 and
 * without), nginx and http-proxy-3. 100,000 customers with a signed cookie each, half of them at home here, half in the
 * other data center. `hot`: every cookie was seen before. `cold`: none was.
 *
 * Everything runs on one machine, so requests per second say little and CPU seconds much. Needs haproxy, nginx and wrk.
 *
 *   npm run bench -- edge [--cookies 100000] [--rounds 5] [--seconds 4] [--connections 32] [--profile 1] [--record 1]
 */
import { spawn } from 'node:child_process';
import { createPublicKey } from 'node:crypto';
import { once } from 'node:events';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { createConfiguration } from 'lanekeeper/config';
import { createKeyRing, generateKeyPair, issueSession, newSessionId, parseSigningKey } from 'lanekeeper/session';
import { machine, median, option, printTable, treeCpuSeconds } from '../measure.js';
import { edge, haproxy, nginx, nodeServer, startServers } from './proxies.js';

const script = fileURLToPath(new URL('./load.lua', import.meta.url));
const remarksHeading = '## What limits it';
const resultsFile = new URL('../results/edge.md', import.meta.url);

const variants = [
  { name: 'edge, hot', start: edge },
  { name: 'edge, cold', start: edge, cold: true },
  { name: 'HAProxy, ES256', start: (site) => haproxy({ ...site, verified: true }) },
  { name: 'HAProxy, no verification', start: (site) => haproxy({ ...site, verified: false }) },
  { name: 'nginx, no verification', start: nginx },
  { name: 'http-proxy-3, no verification', start: (site) => nodeServer('node-proxy.js', site) },
  { name: 'node:http and undici, bare, no verification', start: (site) => nodeServer('bare.js', site) },
];

/** Of requests per CPU second, the edge's over the other's. */
const goals = [
  { of: 'edge, hot', over: 'HAProxy, ES256', goal: 1 },
  { of: 'edge, hot', over: 'HAProxy, no verification', goal: 0.4 },
  { of: 'edge, hot', over: 'http-proxy-3, no verification', goal: 1 },
  { of: 'edge, cold', over: 'HAProxy, ES256', goal: null },
  { of: 'edge, cold', over: 'http-proxy-3, no verification', goal: 1 },
  { of: 'edge, hot', over: 'nginx, no verification', goal: null },
  { of: 'edge, hot', over: 'node:http and undici, bare, no verification', goal: null },
  { of: 'node:http and undici, bare, no verification', over: 'HAProxy, no verification', goal: null },
];

export async function run(args = []) {
  const count = option(args, 'cookies', 100_000);
  const rounds = option(args, 'rounds', 5);
  const seconds = option(args, 'seconds', 4);
  const connections = option(args, 'connections', 32);
  const dir = await mkdtemp(join(tmpdir(), 'lanekeeper-bench-edge-'));
  const profile = option(args, 'profile', 0) ? join(dir, 'profile') : undefined;
  const stops = [];
  try {
    const servers = await startServers(dir);
    stops.push(servers.stop);
    const site = { dir, servers, profile, cookies: count + 10_000, ...(await prepare(dir, servers, count)) };
    const load = (port, how) => wrk({ port, cookiesFile: site.cookiesFile, seconds, connections, ...how });
    console.log(`${machine()}; ${count} cookies, ${rounds} rounds of ${seconds} s, ${connections} connections`);

    const running = new Map();
    for (const variant of variants.filter(({ cold }) => !cold)) {
      const proxy = await variant.start(site);
      stops.push(proxy.stop);
      running.set(variant.name, proxy);
    }
    for (const [name, { port }] of running) await prove(name, port, site);
    const hot = running.get('edge, hot');
    await warm(hot.port, count, load);
    for (const [name, { port }] of running) {
      if (name !== 'edge, hot') await load(port, { seconds: 1 });
    }

    const measured = new Map(variants.map(({ name }) => [name, []]));
    for (let round = 0; round < rounds; round++) {
      for (const { name, start, cold } of variants) {
        const proxy = cold ? await start(site) : running.get(name);
        // A process that has just started is compiling; cold means that the cookies are new, not the code.
        if (cold) await load(proxy.port, { seconds: 2, cookiesFile: site.othersFile, first: 0 });
        const before = treeCpuSeconds(proxy.pid);
        const result = await load(proxy.port, { first: cold ? 0 : (round * 19_997) % count });
        const cpuSeconds = treeCpuSeconds(proxy.pid) - before;
        if (cold) await proxy.stop();
        if (result.errors > 0) throw new Error(`${name}: ${result.errors} errors`);
        if (cold && result.requests > count) throw new Error('Not cold any more: more requests than cookies.');
        const calm = cold ? null : await load(proxy.port, { seconds: 1, connections: 2 });
        measured.get(name).push({ ...result, cpuSeconds, perCpuSecond: result.requests / cpuSeconds, calm });
      }
    }
    const rows = variants.map(({ name }) => rowOf(name, measured.get(name), measured.get('HAProxy, no verification')));
    const ratios = goals.map(({ of, over, goal }) => {
      const ratio = median(measured.get(of).map((one, i) => one.perCpuSecond / measured.get(over)[i].perCpuSecond));
      const verdict = goal === null ? '' : ratio >= goal ? 'reached' : 'not reached';
      return { of, over, ratio: ratio.toFixed(2), goal: goal ?? '', verdict };
    });
    printTable('One process, one thread each; medians of the rounds', rows);
    printTable('Ratios of requests per CPU second, in pairs by round', ratios);
    console.log(JSON.stringify({ bench: 'edge', machine: machine(), rows, ratios }));
    if (profile) console.log(`Profiles of the edge, once it has ended: ${await keep(profile)}`);
    if (option(args, 'record', 0)) await record(args, rows, ratios);
  } finally {
    for (const stop of stops.reverse()) await stop();
    if (!profile) await rm(dir, { recursive: true, force: true });
  }
}

function rowOf(name, results, reference) {
  const of = (pick) => median(results.map(pick));
  const ratio = median(results.map((one, i) => one.perCpuSecond / reference[i].perCpuSecond));
  return {
    proxy: name,
    'requests per CPU s': Math.round(of((one) => one.perCpuSecond)),
    'CPU µs each': Number(of((one) => 1e6 / one.perCpuSecond).toFixed(1)),
    'of HAProxy': ratio.toFixed(2),
    'requests/s': Math.round(of((one) => one.requests / one.seconds)),
    'p50 ms': (of((one) => one.p50Us) / 1_000).toFixed(2),
    'p99 ms': (of((one) => one.p99Us) / 1_000).toFixed(2),
    'p99 ms, 2 connections': results[0].calm ? (of((one) => one.calm.p99Us) / 1_000).toFixed(2) : '',
  };
}

/** What is measured does what it says: it sends each customer home, and those that verify believe no forged cookie. */
async function prove(name, port, { samples }) {
  const servedBy = async (cookie) => {
    const response = await fetch(`http://127.0.0.1:${port}/`, { headers: { cookie } });
    await response.text();
    return response.headers.get('x-served-by');
  };
  const plain = name.includes('no verification');
  const forged = samples.la.replace(/\.([^.;]+);/, (_all, signature) => `.${signature.split('').reverse().join('')};`);
  const found = [await servedBy(samples.ny), await servedBy(samples.la), await servedBy(forged), await servedBy('a=b')];
  const expected = ['local', 'peer', plain ? 'peer' : 'local', 'local'];
  if (found.join() !== expected.join()) throw new Error(`${name} routes wrongly: ${found} instead of ${expected}`);
}

/** Every cookie once, so that the edge has verified them all. */
async function warm(port, count, load) {
  let seen = 0;
  while (seen < count) {
    const { requests } = await load(port, { first: seen, seconds: 5 });
    seen += requests;
  }
}

export async function prepare(dir, servers, count) {
  const pair = generateKeyPair('ny');
  const written = {
    cluster: 'bench',
    approach: 'full-active-active',
    dataCenters: {
      ny: {
        place: 'ny',
        faultDomain: 'a',
        database: 'postgres://127.0.0.1:1/bench',
        url: 'http://ny.shop.localhost',
        applications: [`http://127.0.0.1:${servers.local}`],
      },
      la: {
        place: 'la',
        faultDomain: 'b',
        database: 'postgres://127.0.0.1:2/bench',
        url: 'http://la.shop.localhost',
        edge: `http://127.0.0.1:${servers.peer}`,
      },
    },
    leases: { url: 'postgres://127.0.0.1:3/witness' },
    tables: { accounts: { class: 'system-of-record', account: 'id', root: true } },
    sessions: { domain: 'shop.localhost', keys: [pair.publicJwk, generateKeyPair('la').publicJwk] },
  };
  const configFile = join(dir, 'lanekeeper.json');
  const signingKeyFile = join(dir, 'ny.key.json');
  const publicKeyFile = join(dir, 'ny.pem');
  await writeFile(configFile, JSON.stringify(written));
  await writeFile(signingKeyFile, JSON.stringify(pair.privateJwk), { mode: 0o600 });
  const publicKey = createPublicKey({ key: pair.publicJwk, format: 'jwk' });
  await writeFile(publicKeyFile, publicKey.export({ type: 'spki', format: 'pem' }));
  const ring = createKeyRing(createConfiguration(written, { here: 'ny' }), {
    signingKey: parseSigningKey(JSON.stringify(pair.privateJwk), signingKeyFile),
  });
  const nowMs = Date.now();
  const cookies = (from, to) => {
    const lines = [];
    for (let i = from; i < to; i++) {
      const home = i % 2 === 0 ? 'ny' : 'la';
      const session = {
        id: newSessionId(),
        account: `${home}_acc_${i}`,
        guest: null,
        home,
        epoch: { term: 1, counter: i % 7 },
      };
      lines.push(
        `theme=dark; __Secure-lanekeeper=${issueSession(ring, session, { nowMs, maxAgeMs: 86_400_000 })}; home=${home}`,
      );
    }
    return `${lines.join('\n')}\n`;
  };
  const cookiesFile = join(dir, 'cookies');
  const othersFile = join(dir, 'others');
  const all = cookies(0, count);
  const [ny, la] = all.split('\n', 2);
  await writeFile(cookiesFile, all);
  await writeFile(othersFile, cookies(count, count + 2_000));
  return { configFile, signingKeyFile, publicKeyFile, cookiesFile, othersFile, samples: { ny, la } };
}

export async function wrk({ port, cookiesFile, seconds, connections, first = 0 }) {
  const args = ['-t1', `-c${connections}`, `-d${seconds}s`, '--latency', '-s', script, `http://127.0.0.1:${port}/`];
  const child = spawn('wrk', args, {
    env: { ...process.env, COOKIES: cookiesFile, FIRST: String(first) },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let output = '';
  child.stdout.on('data', (chunk) => {
    output += chunk;
  });
  const [code] = await once(child, 'close');
  const line = output.split('\n').find((text) => text.startsWith('{'));
  if (code !== 0 || !line) throw new Error(`wrk failed (${code}): ${output}`);
  return JSON.parse(line);
}

async function keep(profile) {
  await mkdir(profile, { recursive: true });
  return profile;
}

async function record(args, rows, ratios) {
  const table = (list) => {
    const keys = Object.keys(list[0]);
    const line = (cells) => `| ${cells.join(' | ')} |`;
    return [line(keys), line(keys.map(() => '---')), ...list.map((row) => line(keys.map((key) => row[key])))].join(
      '\n',
    );
  };
  const command = [
    'npm run bench -- edge',
    ...args.filter((arg, i) => arg !== '--record' && args[i - 1] !== '--record'),
  ];
  const date = new Date().toISOString().slice(0, 10);
  // What a person wrote about it stays.
  const before = await readFile(resultsFile, 'utf8').catch(() => '');
  const remarks = before.includes(remarksHeading) ? before.slice(before.indexOf(remarksHeading)) : '';
  const head = `# What a request costs at the edge\n\n\`${command.join(' ')}\`, ${date}, ${machine()}`;
  const pairs = `Requests per CPU second, in pairs by round:\n\n${table(ratios)}`;
  await writeFile(resultsFile, `${head}\n\n${table(rows)}\n\n${pairs}\n\n${remarks}`);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await run(process.argv.slice(2));
