/** Agents on real clusters: who leads, the lease through every kind of loss, claims, status. */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import https from 'node:https';
import { join } from 'node:path';
import { Client } from 'pg';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { type TestAgents, testAgents } from '../support/agents.ts';
import { applyPair } from '../support/applied.ts';
import { runSql } from '../support/clusters.ts';
import { type TestPair, testPair } from '../support/pair.ts';

const schema = `
CREATE TABLE accounts (id text PRIMARY KEY, email text UNIQUE, name text);
GRANT SELECT, INSERT, UPDATE, DELETE ON accounts TO lanekeeper_application;`;
const configuration = {
  tables: { accounts: { class: 'system-of-record', account: 'id', root: true } },
  claims: { email: { table: 'accounts', column: 'email', normalise: 'lower' } },
  leases: { url: '', ttl: '4s', renewEvery: '1s', skew: '500ms' },
} as const;

let pair: TestPair;
let agents: TestAgents;

beforeAll(async () => {
  const { leases, ...rest } = configuration;
  pair = await testPair({ schema, configuration: rest });
  await applyPair(pair);
  agents = await testAgents(pair, {
    change: (written) => ({
      ...written,
      leases: { ...written.leases, ttl: leases.ttl, renewEvery: leases.renewEvery, skew: leases.skew },
    }),
  });
});
afterEach(() => agents?.stop());
afterAll(() => pair?.stop());

const sql = (role: 'application' | 'agent' | 'owner' | 'superuser', dc: string, text: string, values: unknown[] = []) =>
  runSql<Record<string, unknown>>(pair.dc(dc).urls[role], text, values);

let accounts = 0;
async function write(dc: string): Promise<void> {
  await sql('application', dc, 'INSERT INTO accounts (id) VALUES ($1)', [`${dc}_${++accounts}`]);
}

/** Null when the write went through, else the SQLSTATE. */
async function refusal(dc: string): Promise<string | null> {
  return write(dc).then(
    () => null,
    (error: { code?: string }) => error.code ?? String(error),
  );
}

/** Writes again and again on one connection, and keeps what was refused. */
function keepWriting(dc: string) {
  const refused: { readonly code: string; readonly atMs: number }[] = [];
  let stopped = false;
  let writes = 0;
  const done = (async () => {
    const client = new Client({ connectionString: pair.dc(dc).urls.application });
    client.on('error', () => {});
    await client.connect();
    while (!stopped) {
      try {
        await client.query('INSERT INTO accounts (id) VALUES ($1)', [`${dc}_${++accounts}`]);
        writes++;
      } catch (error) {
        refused.push({ code: (error as { code?: string }).code ?? String(error), atMs: performance.now() });
      }
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    await client.end();
  })();
  return {
    refused,
    get writes() {
      return writes;
    },
    async stop() {
      stopped = true;
      await done;
    },
  };
}

async function leaderOf(dc: string): Promise<string | null> {
  const status = await agents.status(dc).catch(() => null);
  return status?.lease.kind === 'held' ? status.instance : null;
}

const until = { timeout: 20_000, interval: 50 };

describe('the lease', () => {
  test('lets a data center write as long as its agent keeps it', async () => {
    expect(await refusal('ny')).toBe('LK003');
    await agents.start('ny');
    await expect.poll(() => refusal('ny'), until).toBeNull();
    const writer = keepWriting('ny');
    await new Promise((resolve) => setTimeout(resolve, 5000));
    await writer.stop();
    expect(writer.refused).toEqual([]);
    expect(writer.writes).toBeGreaterThan(50);
    const { lease, problems } = await agents.status('ny');
    expect(lease).toMatchObject({ kind: 'held', term: 1 });
    expect(problems.join()).toContain("the other data center's agent does not answer");
  });

  test('is released at once when the agent is stopped and there is no other', async () => {
    const agent = await agents.start('ny');
    await expect.poll(() => refusal('ny'), until).toBeNull();
    await agent.close();
    expect(await refusal('ny')).toBe('LK003');
    const rows = await runSql(pair.witness.url, `SELECT released FROM lanekeeper_lease.lease WHERE dc = 'ny'`);
    expect(rows).toEqual([{ released: true }]);
  });

  test('runs out when the witness is lost, and comes back with it', async () => {
    await agents.start('ny');
    await expect.poll(() => refusal('ny'), until).toBeNull();
    const writer = keepWriting('ny');
    const killedMs = performance.now();
    await pair.witness.cluster.kill();
    try {
      await expect.poll(() => writer.refused.length, until).toBeGreaterThan(0);
      const [first] = writer.refused;
      expect(first?.code).toBe('LK003');
      // Not at once, and not later than 4 s after the last renewal, which was before the kill.
      expect((first?.atMs ?? 0) - killedMs).toBeGreaterThan(500);
      expect((first?.atMs ?? 0) - killedMs).toBeLessThan(4500);
      await expect
        .poll(async () => (await agents.status('ny')).problems.join(), until)
        .toContain('lease store does not answer');
    } finally {
      await pair.witness.cluster.start();
    }
    await expect.poll(() => refusal('ny'), until).toBeNull();
    await writer.stop();
  });

  test('is proved anew after a crash of the database, which forgets it', async () => {
    await agents.start('ny');
    await expect.poll(() => refusal('ny'), until).toBeNull();
    await pair.dc('ny').cluster.kill();
    await pair.dc('ny').cluster.start();
    await expect.poll(() => refusal('ny'), until).toBeNull();
    await expect.poll(() => leaderOf('ny'), until).toBe('ny-0');
  });

  test('is taken back when a trigger of the fence is disabled, and comes back with it', async () => {
    await agents.start('ny');
    await expect.poll(() => refusal('ny'), until).toBeNull();
    const [trigger] = await sql(
      'superuser',
      'ny',
      `SELECT tgname FROM pg_trigger WHERE tgrelid = 'accounts'::regclass AND tgname LIKE 'lanekeeper%' AND tgname LIKE '%insert%' LIMIT 1`,
    );
    const name = String(trigger?.tgname);
    await sql('owner', 'ny', `ALTER TABLE accounts DISABLE TRIGGER "${name}"`);
    try {
      await expect
        .poll(async () => (await agents.status('ny')).problems.join(), until)
        .toContain(`${name} on public.accounts is disabled`);
      const [left] = await sql('agent', 'ny', 'SELECT coalesce(lanekeeper.lease_left_ms(), 0) > 0 AS held');
      expect(left).toEqual({ held: false });
    } finally {
      await sql('owner', 'ny', `ALTER TABLE accounts ENABLE TRIGGER "${name}"`);
    }
    await expect.poll(() => refusal('ny'), until).toBeNull();
  });

  test('is not given to a database that is older than what is known of it', async () => {
    const known = `SELECT positions FROM lanekeeper_lease.lease WHERE dc = 'ny'`;
    const agent = await agents.start('ny');
    await expect.poll(() => refusal('ny'), until).toBeNull();
    await agent.close();
    const [before] = await runSql<{ positions: object }>(pair.witness.url, known);
    const set = (positions: unknown) =>
      runSql(pair.witness.url, `UPDATE lanekeeper_lease.lease SET positions = $1 WHERE dc = 'ny'`, [
        JSON.stringify(positions),
      ]);
    await set({ ...before?.positions, log: 'FF/0' });
    try {
      await agents.start('ny');
      await expect
        .poll(async () => (await agents.status('ny').catch(() => null))?.problems.join() ?? '', until)
        .toContain('restored from an old copy');
      expect(await refusal('ny')).toBe('LK003');
    } finally {
      await set(before?.positions);
    }
    await expect.poll(() => refusal('ny'), until).toBeNull();
  });

  test('is not given to a database that is not the one it was', async () => {
    const agent = await agents.start('ny');
    await expect.poll(() => refusal('ny'), until).toBeNull();
    await agent.close();
    const known = `SELECT system_identifier AS id FROM lanekeeper_lease.lease WHERE dc = 'ny'`;
    const [own] = await runSql<{ id: string }>(pair.witness.url, known);
    const set = (id: string | undefined) =>
      runSql(pair.witness.url, `UPDATE lanekeeper_lease.lease SET system_identifier = $1 WHERE dc = 'ny'`, [id]);
    await set('7300000000000000001');
    try {
      await agents.start('ny');
      await expect
        .poll(async () => (await agents.status('ny').catch(() => null))?.problems.join() ?? '', until)
        .toContain('not the one the lease store knows');
      expect(await refusal('ny')).toBe('LK003');
    } finally {
      await set(own?.id);
    }
    await expect.poll(() => refusal('ny'), until).toBeNull();
  });
});

describe('several agents of one data center', () => {
  test('one leads, the other answers through it', async () => {
    await agents.start('ny', 0);
    await expect.poll(() => leaderOf('ny'), until).toBe('ny-0');
    const second = await agents.start('ny', 1);
    const health = async () => (await fetch(new URL('/health', second.url))).json();
    await expect.poll(health, until).toMatchObject({ status: 'PASS', role: 'standby', leader: 'ny-0' });
    const status = await fetch(new URL('/status', second.url));
    expect(status.status).toBe(401);
    await expect
      .poll(async () => (await agents.status('ny')).agents.map(({ instance, leads }) => `${instance} ${leads}`), until)
      .toEqual(['ny-0 true', 'ny-1 false']);
  });

  test('a stopped leader hands over without a gap', async () => {
    const first = await agents.start('ny', 0);
    await expect.poll(() => leaderOf('ny'), until).toBe('ny-0');
    const second = await agents.start('ny', 1);
    await expect.poll(async () => (await agents.status('ny')).agents.length, until).toBe(2);
    const writer = keepWriting('ny');
    for (const [leaving, number, next] of [
      [first, 1, 'ny-1'],
      [second, 0, 'ny-0'],
    ] as const) {
      await leaving.close();
      await expect.poll(() => leaderOf('ny'), until).toBe(next);
      await new Promise((resolve) => setTimeout(resolve, 4500));
      if (number === 1) {
        await agents.start('ny', 0);
        await expect.poll(async () => (await agents.status('ny')).agents.length, until).toBe(2);
      }
    }
    await writer.stop();
    expect(writer.refused).toEqual([]);
  });

  test('a killed leader is replaced without a gap', async () => {
    const killed = await agents.spawn('ny', 0);
    await expect.poll(() => leaderOf('ny'), until).toBe('ny-0');
    await agents.start('ny', 1);
    await expect.poll(async () => (await agents.status('ny')).agents.length, until).toBe(2);
    const writer = keepWriting('ny');
    killed.signal('SIGKILL');
    await killed.exited;
    await expect.poll(() => leaderOf('ny'), until).toBe('ny-1');
    await new Promise((resolve) => setTimeout(resolve, 4500));
    await writer.stop();
    expect(writer.refused).toEqual([]);
  });

  test('a leader that stands still is unseated, and does no harm when it goes on', async () => {
    const frozen = await agents.spawn('ny', 0);
    try {
      await expect.poll(() => leaderOf('ny'), until).toBe('ny-0');
      await agents.start('ny', 1);
      await expect.poll(async () => (await agents.status('ny')).agents.length, until).toBe(2);
      frozen.signal('SIGSTOP');
      await expect.poll(() => refusal('ny'), until).toBe('LK003');
      await expect.poll(() => refusal('ny'), until).toBeNull();
      const led = async () => (await sql('agent', 'ny', 'SELECT instance FROM lanekeeper.leader'))[0]?.instance;
      expect(await led()).toBe('ny-1');
      const writer = keepWriting('ny');
      frozen.signal('SIGCONT');
      await new Promise((resolve) => setTimeout(resolve, 4000));
      await writer.stop();
      expect(writer.refused).toEqual([]);
      expect(await led()).toBe('ny-1');
    } finally {
      frozen.signal('SIGKILL');
      await frozen.exited;
    }
  });
});

describe('what an agent does besides', () => {
  test('ends transactions that have written and are too old, and leaves others alone', async () => {
    await agents.start('ny', 0, { limits: { transactionMs: 500 } });
    await expect.poll(() => refusal('ny'), until).toBeNull();
    const [writing, reading] = [0, 1].map(() => new Client({ connectionString: pair.dc('ny').urls.application }));
    if (writing === undefined || reading === undefined) throw new Error('no clients');
    for (const client of [writing, reading]) client.on('error', () => {});
    await Promise.all([writing.connect(), reading.connect()]);
    await writing.query(`BEGIN; INSERT INTO accounts (id) VALUES ('ny_old')`);
    await reading.query('BEGIN; SELECT count(*) FROM accounts');
    await expect
      .poll(
        () =>
          writing.query('SELECT 1').then(
            () => 'lives',
            () => 'ended',
          ),
        until,
      )
      .toBe('ended');
    expect((await reading.query('SELECT 1 AS one')).rows).toEqual([{ one: 1 }]);
    await Promise.all([writing.end().catch(() => {}), reading.end()]);
    expect(agents.log.some(({ event }) => event === 'ended a transaction that was too old')).toBe(true);
  });

  test('keeps values unique in all data centers, whichever agent is asked', async () => {
    await Promise.all([agents.start('ny'), agents.start('la')]);
    await agents.untilReady('ny', 'la');
    const claim = async (dc: string, value: string, account: string, method: 'POST' | 'DELETE' = 'POST') =>
      (await agents.call(dc, dc, { method, path: '/v1/claims', body: { name: 'email', value, account } })).body;
    for (let n = 0; n < 20; n++) {
      const value = `Someone${n}@example.org`;
      const answers = await Promise.all([claim('ny', value, `ny_c${n}`), claim('la', value.toUpperCase(), `la_c${n}`)]);
      expect(answers.map(({ kind }) => kind).sort()).toEqual(['claimed', 'taken']);
      const winner = answers[0]?.kind === 'claimed' ? `ny_c${n}` : `la_c${n}`;
      expect(await claim('la', value, winner)).toEqual({ kind: 'claimed' });
      expect(await claim('ny', value, winner, 'DELETE')).toEqual({ kind: 'released' });
    }
    expect(await claim('ny', 'x@example.org', 'a', 'POST')).toEqual({ kind: 'claimed' });
    const unknown = await agents.call('ny', 'ny', {
      method: 'POST',
      path: '/v1/claims',
      body: { name: 'phone', value: '1', account: 'a' },
    });
    expect(unknown.body).toMatchObject({ kind: 'unavailable' });
  });

  test('says that a value cannot be claimed while its keeper cannot be reached', async () => {
    await agents.start('ny');
    await expect.poll(() => refusal('ny'), until).toBeNull();
    const kinds = await Promise.all(
      Array.from({ length: 24 }, async (_, n) => {
        const body = { name: 'email', value: `away${n}@example.org`, account: 'ny_a' };
        return (await agents.call('ny', 'ny', { method: 'POST', path: '/v1/claims', body })).body.kind;
      }),
    );
    expect(new Set(kinds)).toEqual(new Set(['claimed', 'unavailable']));
  });

  test('answers over https when it has a certificate', async () => {
    const [cert, key] = ['cert.pem', 'key.pem'].map((name) => join(pair.dc('ny').cluster.dir, name));
    if (cert === undefined || key === undefined) throw new Error('no paths');
    const newKey = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', key];
    execFileSync('openssl', ['req', '-x509', ...newKey, '-out', cert, '-days', '1', '-subj', '/CN=localhost'], {
      stdio: 'ignore',
    });
    const tls = { cert: readFileSync(cert, 'utf8'), key: readFileSync(key, 'utf8') };
    const agent = await agents.start('ny', 0, { tls });
    expect(agent.url).toMatch(/^https:/);
    const answer = await new Promise<string>((resolve, reject) => {
      const { port } = new URL(agent.url);
      const request = { host: '127.0.0.1', servername: 'localhost', port, path: '/health', ca: tls.cert, agent: false };
      https
        .get(request, async (response) => {
          let text = '';
          for await (const chunk of response) text += chunk;
          resolve(text);
        })
        .on('error', reject);
    });
    expect(JSON.parse(answer)).toMatchObject({ dataCenter: 'ny' });
  });

  test('shows what there is to see', async () => {
    const agent = await agents.start('ny');
    await agents.start('la');
    await agents.untilReady('ny', 'la');
    await sql('owner', 'ny', 'CREATE TABLE added_yesterday (id integer PRIMARY KEY)');
    try {
      await expect
        .poll(async () => (await agents.status('ny')).problems, until)
        .toContain('public.added_yesterday is not declared, so nothing fences it');
    } finally {
      await sql('owner', 'ny', 'DROP TABLE added_yesterday');
    }
    await expect.poll(async () => (await agents.status('ny')).problems, until).toEqual([]);
    await write('ny');
    await expect.poll(async () => (await agents.status('ny')).homes?.ny ?? 0, until).toBeGreaterThan(0);
    const status = await agents.status('ny');
    expect(status.configuration.digest).toBe((await agents.status('la')).configuration.digest);
    expect(
      status.streams?.outgoing.map(({ subscriber, stream, active }) => `${subscriber} ${stream} ${active}`),
    ).toEqual(['la homed true', 'la rest true']);
    const read = async () => (await fetch(new URL('/metrics', agent.url))).text();
    for (const line of ['lanekeeper_agent_leads 1', 'lanekeeper_gate_open{peer="la"} 1', 'lanekeeper_problems 0'])
      await expect.poll(read, until).toContain(line);
    const metrics = await read();
    expect(Number(/^lanekeeper_lease_left_seconds (\S+)$/m.exec(metrics)?.[1])).toBeGreaterThan(0);
    // Accounts are counted now and then, so that two looks may differ for a moment.
    const counted = async () => {
      const shown = Number(/^lanekeeper_accounts\{home="ny"\} (\d+)$/m.exec(await read())?.[1]);
      return shown - ((await agents.status('ny')).homes?.ny ?? 0);
    };
    await expect.poll(counted, until).toBe(0);
  });
});
