/**
 * Agents of a pair of data centers, in this process or as processes that can be killed; and application instances that
 * take part in drains. Ports are chosen first, so that everybody knows where everybody is.
 */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { freePort, type LeashedProcess, readyUrl, spawnLeashed } from '@lanekeeper/lab';
import {
  type Agent,
  type AgentOptions,
  type AgentStatus,
  type PeerCall,
  Peers,
  startAgent,
} from '@lanekeeper/server/agent';
import { connect } from '@lanekeeper/server/postgres';
import { type Configuration, databaseUrl, type WrittenConfiguration } from 'lanekeeper/config';
import { createKeyRing } from 'lanekeeper/session';
import { Client } from 'pg';
import { openBuffering } from '../../packages/server/src/cli/buffer-service.ts';
import { openLeaseStore } from '../../packages/server/src/cli/lease-store.ts';
import { run } from '../../packages/server/src/cli/main.ts';
import { productVersion } from '../../packages/server/src/cli/version.ts';
import { runSql } from './clusters.ts';
import type { TestPair } from './pair.ts';

export type LogEntry = {
  readonly dc: string;
  readonly instance: string;
  readonly level: string;
  readonly event: string;
  readonly details: Readonly<Record<string, unknown>>;
};

export type TestAgents = {
  readonly log: readonly LogEntry[];
  configuration(dc: string): Configuration;
  /** In this process. `number` tells agents of one dc apart; there is room for two. */
  start(dc: string, number?: 0 | 1, options?: Pick<AgentOptions, 'limits' | 'tls'>): Promise<Agent>;
  /** As `lanekeeper agent`, to be killed. Needs a build. */
  spawn(dc: string, number?: 0 | 1): Promise<LeashedProcess>;
  /** As somebody in `from` with its key; straight to the agents of `dc`. */
  call(
    from: string,
    dc: string,
    call: Omit<PeerCall, 'timeoutMs'>,
  ): Promise<{ readonly status: number; readonly body: Record<string, unknown> }>;
  move(to: string, account: string, more?: Record<string, unknown>): Promise<Record<string, unknown>>;
  status(dc: string): Promise<AgentStatus>;
  /** A command as typed in this data center, in this process. */
  command(
    dc: string,
    ...argv: readonly string[]
  ): Promise<{ readonly exitCode: number; readonly stdout: string; readonly stderr: string }>;
  /** Until the leading agent of every dc named has a lease and open gates. */
  untilReady(...dcs: readonly string[]): Promise<void>;
  stop(): Promise<void>;
};

const program = new URL('../../packages/server/bin/lanekeeper.js', import.meta.url).pathname;

export async function testAgents(
  pair: TestPair,
  options: { readonly change?: (written: WrittenConfiguration) => WrittenConfiguration } = {},
): Promise<TestAgents> {
  const ports = new Map<string, readonly [number, number]>();
  for (const name of pair.names) ports.set(name, [await freePort('127.0.0.1'), await freePort('127.0.0.1')]);
  const portOf = (dc: string, number: 0 | 1) => (ports.get(dc) as readonly [number, number])[number];

  const files = new Map<string, string>();
  const configurations = new Map<string, Configuration>();
  for (const here of pair.names) {
    const addresses = new Map<string, string[]>();
    for (const there of pair.names) {
      const seen = [0, 1].map((number) =>
        pair.address(here, there, { host: '127.0.0.1', port: portOf(there, number as 0 | 1) }),
      );
      addresses.set(
        there,
        (await Promise.all(seen)).map(({ host, port }) => `http://${host}:${port}`),
      );
    }
    const configuration = pair.configure(here, (configured) => {
      for (const [name, dc] of Object.entries(configured.dataCenters)) dc.agents = addresses.get(name) ?? [];
      const changed = options.change?.(configured) ?? configured;
      files.set(here, JSON.stringify(changed));
      return changed;
    });
    configurations.set(here, configuration);
  }
  const configurationOf = (dc: string) => configurations.get(dc) as Configuration;

  const fileOf = async (dc: string): Promise<string> => {
    const file = join(pair.dc(dc).cluster.dir, `agent-${dc}.json`);
    await writeFile(file, files.get(dc) as string);
    return file;
  };

  const log: LogEntry[] = [];
  const running = new Set<Agent>();
  const callers = new Map<string, Peers>();
  const direct = Object.fromEntries(
    pair.names.map((name) => [name, [0, 1].map((number) => `http://127.0.0.1:${portOf(name, number as 0 | 1)}`)]),
  );
  const callerOf = (from: string): Peers => {
    const known = callers.get(from);
    if (known !== undefined) return known;
    const made = new Peers(direct, createKeyRing(configurationOf(from), { env: pair.dc(from).env }));
    callers.set(from, made);
    return made;
  };

  const agents: TestAgents = {
    log,
    configuration: configurationOf,
    async start(dc, number = 0, { limits = {}, ...options } = {}) {
      const configuration = configurationOf(dc);
      const { env } = pair.dc(dc);
      const instance = `${dc}-${number}`;
      const note = (level: LogEntry['level'], event: string, details: LogEntry['details'] = {}) => {
        log.push({ dc, instance, level, event, details });
      };
      const buffering = openBuffering(configuration, env, note);
      const agent = await startAgent({
        configuration,
        keys: createKeyRing(configuration, { env }),
        databaseUrl: databaseUrl(configuration, dc, 'agent', env),
        connect: (to, role) => (applicationName) =>
          connect(databaseUrl(configuration, to, role, env), { applicationName }),
        leaseStore: openLeaseStore(configuration, env),
        host: '127.0.0.1',
        port: portOf(dc, number),
        instance,
        version: productVersion(),
        limits: { observeEveryMs: 500, ...limits },
        ...options,
        ...(buffering === undefined ? {} : { buffering }),
        log: note,
      });
      const close = agent.close.bind(agent);
      const closing = Object.assign(agent, {
        async close() {
          if (running.delete(agent)) await close();
        },
      });
      running.add(closing);
      return closing;
    },
    async spawn(dc, number = 0) {
      const { env } = pair.dc(dc);
      const file = await fileOf(dc);
      const listen = `127.0.0.1:${portOf(dc, number)}`;
      const child = await spawnLeashed(
        process.execPath,
        [program, 'agent', '--config', file, '--listen', listen, '--instance', `${dc}-${number}`, '--json'],
        { env: { ...process.env, ...env }, stdout: 'pipe' },
      );
      await readyUrl(child, 20_000);
      return child;
    },
    async call(from, dc, call) {
      const answer = await callerOf(from).call(dc, { ...call, timeoutMs: 20_000 });
      if (answer.kind !== 'answered') throw new Error(`${call.method} ${call.path} in ${dc}: ${answer.kind}`);
      return { status: answer.status, body: { ...answer.body } };
    },
    async move(to, account, more = {}) {
      const body = { account, to, waitMs: 10_000, ...more };
      return (await agents.call(to, to, { method: 'POST', path: '/v1/moves', body })).body;
    },
    async status(dc) {
      const { status, body } = await agents.call(dc, dc, { method: 'GET', path: '/status' });
      if (status !== 200) throw new Error(`status of ${dc}: ${status} ${JSON.stringify(body)}`);
      return body as unknown as AgentStatus;
    },
    async command(dc, ...argv) {
      const { env, cluster } = pair.dc(dc);
      const said = { stdout: '', stderr: '' };
      const exitCode = await run(argv, {
        env: { ...env, NO_COLOR: '1', LANEKEEPER_CONFIG: await fileOf(dc) },
        directory: cluster.dir,
        stdout: { write: (text: string) => (said.stdout += text) },
        stderr: { write: (text: string) => (said.stderr += text) },
      });
      return { exitCode, ...said };
    },
    async untilReady(...dcs) {
      let seen: unknown;
      for (let attempt = 0; attempt < 500; attempt++) {
        const states = await Promise.all(dcs.map((dc) => agents.status(dc).catch((error: Error) => error.message)));
        seen = states.map((state) => (typeof state === 'string' ? state : state.problems));
        const ready = (state: AgentStatus | string) =>
          typeof state !== 'string' &&
          state.lease.kind === 'held' &&
          Object.values(state.peers).every(({ open }) => open);
        if (states.every(ready)) return;
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
      throw new Error(
        `not ready: ${JSON.stringify(seen)}\n${log
          .slice(-20)
          .map((entry) => JSON.stringify(entry))
          .join('\n')}`,
      );
    },
    async stop() {
      await Promise.all([...running].map((agent) => agent.close()));
      await Promise.all([...callers.values()].map((caller) => caller.close()));
    },
  };
  return agents;
}

export type TestInstance = {
  readonly drains: readonly { readonly account: string; readonly move: number }[];
  readonly undrains: readonly { readonly account: string; readonly move: number }[];
  /** Requests in flight that do not finish: drains are not reported. */
  stuck: boolean;
  close(): Promise<void>;
};

/** An application instance as far as the database can tell: enlisted, listening, answering drains. */
export async function testInstance(url: string, name: string): Promise<TestInstance> {
  const client = new Client({ connectionString: url });
  client.on('error', () => {});
  const drains: { account: string; move: number }[] = [];
  const undrains: { account: string; move: number }[] = [];
  let said: Promise<unknown> = Promise.resolve();
  const instance = {
    drains,
    undrains,
    stuck: false,
    close: async () => {
      await said;
      await client.end();
    },
  };
  client.on('notification', ({ payload = '' }) => {
    const word = JSON.parse(payload) as { kind: string; move: number; account: string };
    if (word.kind === 'undrain') undrains.push({ account: word.account, move: word.move });
    if (word.kind !== 'drain') return;
    drains.push({ account: word.account, move: word.move });
    if (instance.stuck) return;
    said = said.then(() => client.query('SELECT lanekeeper.drained($1, $2)', [word.move, name])).catch(() => {});
  });
  await client.connect();
  await client.query('LISTEN lanekeeper_app');
  await client.query('SELECT lanekeeper.enlist($1)', [name]);
  return instance;
}

/** Where an account is written, as each data center's database says. */
export async function deedsOf(pair: TestPair, account: string) {
  const rows = await Promise.all(
    pair.names.map((dc) =>
      runSql<{ home: string; term: string; counter: string; accepted: boolean }>(
        pair.dc(dc).urls.agent,
        'SELECT home, term, counter, accepted FROM lanekeeper.where_is($1)',
        [account],
      ),
    ),
  );
  return rows.map(([row]) => row && { home: row.home, counter: Number(row.counter), accepted: row.accepted });
}
