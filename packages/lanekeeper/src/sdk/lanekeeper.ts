/**
 * The SDK room: what an application does with Lanekeeper.
 *
 * - `api.ts`: the public face · `lanekeeper.ts` (here): puts it together · `runtime.ts`: what the parts share
 * - `binding.ts`: which work the running code is for · `pg.ts` with `refusal.ts`, `uncertain.ts`: connections that follow it
 * - `connections.ts` with `lanes.ts`, `lane-health.ts`, `routed-pool.ts`, `routed-client.ts`, `second-try.ts`, `lane.ts`: those that lead
 *   to other data centers (`routing: connection`)
 * - `http.ts` with `request.ts`, `answer.ts`, `handoff.ts`, `response-head.ts`: requests; `fastify.ts`, `express.ts`: thin adapters
 * - `admission.ts`, `deeds.ts`, `gate.ts`, `flight.ts`, `job.ts`: may this work start here, and who waits for whom
 * - `control.ts`: what the database announces · `successions.ts`: what agents know beyond it · `agent-client.ts`, `moves.ts`, `claims.ts`: what the agents are asked
 * - `application.ts`, `conflicts.ts`: who writes, and what was lost to another write
 * - `one-session.ts`: accounts in one browser at a time · `singleton.ts`: what runs once · `cache.ts`: what is kept until it changes
 * - `everywhere.ts`, `direct.ts`, `agent-buffer.ts`, `databases.ts`: rows that every data center gets without replication
 * - `bookmarks.ts`, `last-write.ts`, `own-writes.ts`: a session reads what it wrote
 * - `outcomes.ts`, `durability.ts`: what became of a commit · `ids.ts`
 *
 * Invariants. 1: nothing here decides who may write; without any of it the fence still does (R1). 2: a refusal says why, where the
 * home is and when to try again, an uncertain outcome is called uncertain (R6). 3: no wait is without a bound.
 */
import { randomBytes, randomUUID } from 'node:crypto';
import pg from 'pg';
import { type Configuration, databaseUrl, loadConfiguration } from '../config/index.ts';
import { type AccountId, type DataCenterName, LanekeeperError, singleAccount } from '../model/index.ts';
import {
  createHandoffMemory,
  createKeyRing,
  createTokenSource,
  type KeyRing,
  mintAgentToken,
} from '../session/index.ts';
import { AgentClient } from './agent-client.ts';
import type { Lanekeeper, LanekeeperOptions } from './api.ts';
import { applicationOf, asApplication } from './application.ts';
import { currentBinding } from './binding.ts';
import { Bookmarks } from './bookmarks.ts';
import { Caches } from './cache.ts';
import { claimValue, releaseValue } from './claims.ts';
import { Conflicts } from './conflicts.ts';
import { type Connections, openConnections } from './connections.ts';
import { ControlConnection, type ControlMessage } from './control.ts';
import { copyAsOf } from './copies.ts';
import { Databases } from './databases.ts';
import { Deeds, type RunSql } from './deeds.ts';
import { durabilityOf } from './durability.ts';
import { tableEverywhere } from './everywhere.ts';
import { DrainGate } from './gate.ts';
import { createIds } from './ids.ts';
import { runForAccount } from './job.ts';
import { requestMove } from './moves.ts';
import { OneSession } from './one-session.ts';
import { once, outcomeOf } from './outcomes.ts';
import { ownerOf, type Runtime, setRuntime } from './runtime.ts';
import { requireHomeOf, Singletons } from './singleton.ts';
import { Successions } from './successions.ts';
import { createTouch } from './touch.ts';

/** For questions of the SDK's own, which are single statements by primary key. */
const ownConnections = 2;
const ownTimeoutMs = 5_000;

/**
 * Makes Lanekeeper ready for one process of the application. The database may still be away: the SDK goes on trying.
 * @throws {LanekeeperError} `LK_CONFIG` when the configuration or the signing key is wrong
 */
export async function createLanekeeper(options: LanekeeperOptions = {}): Promise<Lanekeeper> {
  const env = options.env ?? process.env;
  const configuration = await resolveConfiguration(options.config, env);
  const { here } = configuration;
  const ring = createKeyRing(configuration, { env });
  if (ring.signingKey === null && configuration.sessions.keys.length > 0) {
    throw new LanekeeperError(
      'LK_CONFIG',
      'This process cannot sign sessions: set LANEKEEPER_SIGNING_KEY or LANEKEEPER_SIGNING_KEY_FILE.',
    );
  }
  const instance = options.instance ?? (env.LANEKEEPER_INSTANCE || `${here}-${randomUUID().slice(0, 8)}`);
  const application = applicationOf(options.application, env);
  const ownUrl = options.databaseUrl ?? (env.DATABASE_URL || databaseUrl(configuration, here, 'application', env));
  const queriesUrl = asApplication(ownUrl, application);
  const controlUrl = options.controlUrl ?? (env.LANEKEEPER_CONTROL_URL || ownUrl);

  const own = createOwnPool(queriesUrl, instance);
  const run: RunSql = async (text, values) => (await own.query<Record<string, unknown>>(text, values)).rows;
  const names = Object.keys(configuration.dataCenters);
  const everywhere = new Map(names.map((dc) => [dc, createAgentClient(configuration, ring, dc)]));
  const agents = everywhere.get(here) ?? createAgentClient(configuration, ring, here);
  const successions = new Successions(here, [...everywhere.values()], () => deeds.allChanged());
  const bookmarks = new Bookmarks(here, run);
  const deeds = new Deeds(run, (where) => successions.present(where));
  const gate = new DrainGate((move) => control.reportDrained(move));
  const caches = new Caches(configuration);
  const conflicts = new Conflicts(run);
  const control = new ControlConnection(controlUrl, instance, run, {
    up: () => {
      deeds.live = true;
      caches.live = true;
      bookmarks.forget();
      void successions.learn();
    },
    down: () => {
      deeds.live = false;
      caches.live = false;
      // Whoever waits looks at the database instead.
      gate.openAll();
    },
    message: (message) => {
      if (message.kind === 'succession') bookmarks.forget();
      if (message.kind === 'conflict') void conflicts.hear(message.id);
      else hear(message, gate, deeds, successions);
    },
    ...(caches.wanted ? { changed: (payload) => caches.hear(payload) } : {}),
  });
  const connections = openConnections({
    configuration,
    env,
    instance,
    application,
    url: queriesUrl,
    urls: options.databaseUrls ?? {},
    run,
    onLost: () => void successions.learn(),
  });
  const databases = new Databases({
    here,
    urls: new Map(
      names.map((dc) => [
        dc,
        dc === here ? queriesUrl : (options.databaseUrls?.[dc] ?? databaseUrl(configuration, dc, 'application', env)),
      ]),
    ),
    applicationName: `lanekeeper:${instance}`,
  });
  const runtime: Runtime = {
    configuration,
    databases,
    here,
    ring,
    handoffs: createHandoffMemory(),
    gate,
    deeds,
    agents,
    agentsOf: (dc) => everywhere.get(dc) ?? agents,
    successions,
    run,
    bookmarks,
    lanes: connections.lanes,
    touch: createTouch(here, (at, text, values) => connections.lanes?.run(at, text, values) ?? run(text, values)),
    singletons: new Singletons(controlUrl, instance),
    caches,
    oneSession:
      configuration.sessions.concurrent === 'allow'
        ? null
        : new OneSession(
            here,
            configuration.sessions.stickinessMs,
            (at, text, values) => connections.lanes?.run(at, text, values) ?? run(text, values),
          ),
    conflicts,
  };
  const lanekeeper = createFace(runtime, instance, connections, async () => {
    await runtime.singletons.close();
    await control.close();
    gate.openAll();
    await Promise.all([connections.close(), databases.close()]);
    await own.end();
  });
  await control.start();
  return lanekeeper;
}

function createFace(
  runtime: Runtime,
  instance: string,
  connections: Connections,
  shutDown: () => Promise<void>,
): Lanekeeper {
  const { here, configuration, deeds, run } = runtime;
  let closed: Promise<void> | null = null;
  const forAccount = <Result>(account: AccountId, work: () => Promise<Result>) =>
    currentBinding()?.scope?.forAccount(account, work) ?? runForAccount(runtime, account, work);
  const lanekeeper: Lanekeeper = {
    here,
    instance,
    configuration,
    Client: connections.pg.Client,
    pg: connections.pg,
    pool: connections.pool,
    current: () => currentBinding()?.scope ?? undefined,
    forAccount,
    whereIs: (account) => deeds.whereIsNow(ownerOf(runtime, account)),
    claim: (name, value, { account }) => claimValue(runtime, name, value, account),
    releaseClaim: (name, value, { account }) => releaseValue(runtime, name, value, account),
    id: createIds(here, { nowMs: Date.now, randomBytes }),
    once,
    durabilityOf,
    asOf: (table) => copyAsOf(run, table),
    outcome: (requestId) => outcomeOf(runtime, requestId),
    onConflict: (handler) => runtime.conflicts.on(handler),
    cache: (options = {}) => runtime.caches.create(options),
    singleton: (name, work, options = {}) => {
      requireHomeOf(name, options.scope, configuration.fixed);
      return runtime.singletons.add(name, work, options);
    },
    everywhere: (table) => tableEverywhere(runtime, table),
    move: (account, to, options) => requestMove(runtime, account, to, options),
    close: () => {
      closed ??= shutDown();
      return closed;
    },
  };
  setRuntime(lanekeeper, runtime);
  return lanekeeper;
}

async function resolveConfiguration(
  config: LanekeeperOptions['config'],
  env: NodeJS.ProcessEnv,
): Promise<Configuration> {
  if (typeof config === 'object') return config;
  return (await loadConfiguration({ file: config, env })).configuration;
}

function createOwnPool(connectionString: string, instance: string): pg.Pool {
  const pool = new pg.Pool({
    connectionString,
    max: ownConnections,
    connectionTimeoutMillis: ownTimeoutMs,
    query_timeout: ownTimeoutMs,
    allowExitOnIdle: true,
    application_name: `lanekeeper:${instance}`,
  });
  // An idle connection that breaks is replaced by the next question; without a listener it would end the process.
  pool.on('error', () => {});
  return pool;
}

function createAgentClient({ dataCenters }: Configuration, ring: KeyRing, dataCenter: DataCenterName): AgentClient {
  const token = createTokenSource(ring, mintAgentToken);
  return new AgentClient(dataCenters[dataCenter]?.agents ?? [], () => token(Date.now()));
}

function hear(
  message: Exclude<ControlMessage, { readonly kind: 'conflict' }>,
  gate: DrainGate,
  deeds: Deeds,
  successions: Successions,
): void {
  if (message.kind === 'succession') {
    successions.heard(message);
    // Forget first: whoever waited at the gate shall not be answered by what was so before.
    deeds.allChanged();
    gate.open(singleAccount);
    return;
  }
  const { account } = message;
  if (message.kind === 'drain') {
    gate.drain({ ...message, remainingMs: message.untilMs - Date.now() });
  } else if (message.kind === 'undrain') {
    gate.open(account, message.move);
  } else {
    gate.open(account);
  }
  if (account === singleAccount) deeds.allChanged();
  else deeds.changed(account);
}
