/** The edge as it is run: `lanekeeper edge` in processes of its own. Its memory, its signals, its mistakes. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import http from 'node:http';
import https from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { createConfiguration, type WrittenConfiguration } from 'lanekeeper/config';
import { createKeyRing, generateKeyPair, issueSession, newSessionId, parseSigningKey } from 'lanekeeper/session';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { ask, startApp, startLink, type TestApp, type TestLink } from '../support/edges.ts';

const command = new URL('../../packages/server/bin/lanekeeper.js', import.meta.url).pathname;

type Process = { readonly child: ChildProcess; readonly url: string };

let directory: string;
let app: TestApp & { readonly server: http.Server };
let toLa: TestLink;
let toNy: TestLink;
let cookie: string;
const pairs = { ny: generateKeyPair('ny'), la: generateKeyPair('la') };
const running: ChildProcess[] = [];

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'lanekeeper-edge-'));
  app = await startApp((request, response) => {
    let bytes = 0;
    request.on('data', (chunk: Buffer) => {
      bytes += chunk.length;
    });
    request.on('end', () => {
      const answer = () =>
        response.end(
          JSON.stringify({
            bytes,
            via: request.headers['lanekeeper-via'],
            proto: request.headers['x-forwarded-proto'],
          }),
        );
      if (request.url === '/slow') setTimeout(answer, 600);
      else answer();
    });
  });
  [toLa, toNy] = await Promise.all([startLink(), startLink()]);
  const dataCenter = (name: string, edge: string) => ({
    place: name,
    faultDomain: name,
    database: `postgres://127.0.0.1:1/${name}`,
    url: `http://${name}.shop.localhost`,
    edge,
    applications: [app.url],
  });
  const written: WrittenConfiguration = {
    cluster: 'shop',
    approach: 'full-active-active',
    dataCenters: { ny: dataCenter('ny', toNy.url), la: dataCenter('la', toLa.url) },
    leases: { url: 'postgres://127.0.0.1:3/witness' },
    tables: { 'public.accounts': { class: 'system-of-record', account: 'id', root: true } },
    sessions: { domain: 'shop.localhost', keys: [pairs.ny.publicJwk, pairs.la.publicJwk] },
  };
  await writeFile(join(directory, 'lanekeeper.json'), JSON.stringify(written));
  const configuration = createConfiguration(written, { here: 'ny' });
  const keys = createKeyRing(configuration, {
    signingKey: parseSigningKey(JSON.stringify(pairs.ny.privateJwk), 'test'),
  });
  const session = { id: newSessionId(), account: 'a1', guest: null, home: 'la', epoch: { term: 1, counter: 0 } };
  cookie = `__Secure-lanekeeper=${issueSession(keys, session, { nowMs: Date.now(), maxAgeMs: 3_600_000 })}`;
});
afterAll(async () => {
  for (const child of running) child.kill('SIGKILL');
  await Promise.all([app?.stop(), toLa?.stop(), toNy?.stop()]);
  await rm(directory, { recursive: true, force: true });
});

const start = (dc: 'ny' | 'la', ...args: string[]): Promise<Process> => startWith({}, dc, ...args);

async function startWith(env: NodeJS.ProcessEnv, dc: 'ny' | 'la', ...args: string[]): Promise<Process> {
  const child = spawn(process.execPath, [command, 'edge', '--listen', '127.0.0.1:0', '--json', ...args], {
    cwd: directory,
    env: { ...process.env, ...env, LANEKEEPER_DC: dc, LANEKEEPER_SIGNING_KEY: JSON.stringify(pairs[dc].privateJwk) },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  running.push(child);
  let said = '';
  child.stderr?.on('data', (chunk) => {
    said += chunk;
  });
  const lines = createInterface({ input: child.stdout as NonNullable<typeof child.stdout> });
  const line = await Promise.race([once(lines, 'line'), once(child, 'exit').then(() => null)]);
  const ready = line === null ? null : (JSON.parse(line[0] as string).ready as { url: string } | undefined);
  if (!ready) throw new Error(`The edge did not start: ${line?.[0]} ${said}`);
  return { child, url: ready.url };
}

/** Memory of a process that is not shared with others, in bytes: now, and the most it ever had. */
async function memoryOf({ child }: Process): Promise<{ nowBytes: number; peakBytes: number }> {
  const status = await readFile(`/proc/${child.pid}/status`, 'utf8');
  const kilobytes = (name: string) => Number(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(status)?.[1]);
  return { nowBytes: kilobytes('VmRSS') * 1024, peakBytes: kilobytes('VmHWM') * 1024 };
}

function upload(url: string, bytes: number): Promise<{ bytes: number; via: string }> {
  const { hostname, port } = new URL(url);
  const headers = { host: 'ny.shop.localhost', cookie, 'content-length': bytes };
  return new Promise((resolve, reject) => {
    const request = http.request(
      { hostname, port, method: 'POST', path: '/', headers, agent: false },
      async (response) => {
        let body = '';
        for await (const chunk of response) body += chunk;
        resolve(JSON.parse(body));
      },
    );
    request.on('error', reject);
    const chunk = Buffer.alloc(64 * 1024);
    let left = bytes;
    const more = (): void => {
      while (left > 0) {
        const piece = chunk.subarray(0, Math.min(left, chunk.length));
        left -= piece.length;
        if (!request.write(piece)) {
          request.once('drain', more);
          return;
        }
      }
      request.end();
    };
    more();
  });
}

test('uploads of 30 MB, eight at a time, through two edges: their memory does not grow with them', async () => {
  const [ny, la] = await Promise.all([start('ny'), start('la')]);
  toLa.target = la.url;
  toNy.target = ny.url;
  const eight = (bytes: number) => Promise.all(Array.from({ length: 8 }, () => upload(ny.url, bytes)));
  // The first ones pay for compiled code and for pools of buffers.
  await eight(3_000_000);
  const before = await Promise.all([memoryOf(ny), memoryOf(la)]);
  const sent = 30_000_000;
  const results = await eight(sent);
  expect(results).toEqual(Array.from({ length: 8 }, () => ({ bytes: sent, via: 'la', proto: 'http' })));
  const after = await Promise.all([memoryOf(ny), memoryOf(la)]);
  for (const [i, { peakBytes }] of after.entries()) {
    // 240 MB went through each.
    expect(peakBytes - (before[i]?.nowBytes ?? 0)).toBeLessThan(80_000_000);
  }
  for (const { child } of [ny, la]) {
    child.kill('SIGTERM');
    expect(await once(child, 'exit')).toEqual([0, null]);
  }
});

test('SIGTERM: what is in flight is finished, then it is gone', async () => {
  const ny = await start('ny');
  const slow = ask(ny.url, '/slow', { headers: { host: 'a' } });
  await expect.poll(async () => (await ask(ny.url, '/lanekeeper/metrics')).body).toMatch(/instance_busy\{[^}]+\} 1$/m);
  ny.child.kill('SIGTERM');
  expect(await slow).toMatchObject({ status: 200, headers: { connection: 'close' } });
  expect(await once(ny.child, 'exit')).toEqual([0, null]);
});

test('https, from clients and from edge to edge: certificates are checked, and the applications hear that it was', async () => {
  const [cert, key] = [join(directory, 'cert.pem'), join(directory, 'key.pem')];
  const subject = ['-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost'];
  const newKey = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', key];
  execFileSync('openssl', ['req', '-x509', ...newKey, '-out', cert, '-days', '1', ...subject], { stdio: 'ignore' });
  const written = JSON.parse(await readFile(join(directory, 'lanekeeper.json'), 'utf8'));
  written.dataCenters.la.edge = toLa.url.replace('http://127.0.0.1', 'https://localhost');
  const config = join(directory, 'tls.json');
  await writeFile(config, JSON.stringify(written));
  const [ny, la, distrustful] = await Promise.all([
    startWith({ NODE_EXTRA_CA_CERTS: cert }, 'ny', '--config', config),
    start('la', '--config', config, '--tls-cert', cert, '--tls-key', key),
    start('ny', '--config', config),
  ]);
  toLa.target = la.url;
  await toLa.heal();
  expect(la.url).toMatch(/^https:/);
  const { port } = new URL(la.url);
  const body = await new Promise<string>((resolve, reject) => {
    const ca = readFileSync(cert);
    https
      .get({ host: '127.0.0.1', servername: 'localhost', port, path: '/', ca, agent: false }, async (response) => {
        let text = '';
        for await (const chunk of response) text += chunk;
        resolve(text);
      })
      .on('error', reject);
  });
  expect(JSON.parse(body)).toMatchObject({ via: 'la', proto: 'https' });
  const headers = { host: 'ny.shop.localhost', cookie };
  await expect.poll(async () => (await ask(ny.url, '/', { headers })).status, { timeout: 8_000 }).toBe(200);
  // The customer came to ny by plain http, and that is what counts.
  expect(JSON.parse((await ask(ny.url, '/', { headers })).body)).toMatchObject({ via: 'la', proto: 'http' });
  expect((await ask(distrustful.url, '/', { headers })).status).toBe(307);
  for (const { child } of [ny, la, distrustful]) {
    child.kill('SIGTERM');
    expect(await once(child, 'exit')).toEqual([0, null]);
  }
});

test('without a key, and on an address that is taken: said, with an exit code', async () => {
  await expect(start('ny', '--listen', new URL(app.url).host)).rejects.toThrow('EADDRINUSE');
  const child = spawn(process.execPath, [command, 'edge', '--json'], {
    cwd: directory,
    env: { ...process.env, LANEKEEPER_DC: 'ny', LANEKEEPER_SIGNING_KEY: '', LANEKEEPER_SIGNING_KEY_FILE: '' },
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  running.push(child);
  let said = '';
  child.stdout?.on('data', (chunk) => {
    said += chunk;
  });
  const [code] = await once(child, 'close');
  expect(code).toBe(3);
  expect(JSON.parse(said)).toMatchObject({ error: { code: 'LK_CONFIG' } });
});
