/**
 * The SDK room: what an application does with Lanekeeper.
 *
 * - `api.ts`: the public face · `lanekeeper.ts` (here): puts it together · `runtime.ts`: what the parts share
 * - `binding.ts`: which work the running code is for · `pg.ts` with `refusal.ts`, `uncertain.ts`: connections that follow it
 * - `http.ts` with `request.ts`, `answer.ts`, `handoff.ts`, `response-head.ts`: requests; `fastify.ts`, `express.ts`: thin adapters
 * - `admission.ts`, `deeds.ts`, `gate.ts`, `flight.ts`, `job.ts`: may this work start here, and who waits for whom
 * - `control.ts`: what the database announces · `successions.ts`: what agents know beyond it · `agent-client.ts`, `moves.ts`, `claims.ts`: what the agents are asked
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
import { currentBinding } from './binding.ts';
import { claimValue, releaseValue } from './claims.ts';
import { ControlConnection, type ControlMessage } from './control.ts';
import { Deeds, type RunSql } from './deeds.ts';
import { durabilityOf } from './durability.ts';
import { DrainGate } from './gate.ts';
import { createIds } from './ids.ts';
import { runForAccount } from './job.ts';
import { requestMove } from './moves.ts';
import { once, outcomeOf } from './outcomes.ts';
import { Client, Pool } from './pg.ts';
import { ownerOf, type Runtime, setRuntime } from './runtime.ts';
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
  const queriesUrl = options.databaseUrl ?? (env.DATABASE_URL || databaseUrl(configuration, here, 'application', env));
  const controlUrl = options.controlUrl ?? (env.LANEKEEPER_CONTROL_URL || queriesUrl);

  const own = createOwnPool(queriesUrl, instance);
  const run: RunSql = async (text, values) => (await own.query<Record<string, unknown>>(text, values)).rows;
  const agents = createAgentClient(configuration, ring, here);
  const everywhere = Object.keys(configuration.dataCenters).map((dc) => createAgentClient(configuration, ring, dc));
  const successions = new Successions(here, everywhere, () => deeds.allChanged());
  const deeds = new Deeds(run, (where) => successions.present(where));
  const gate = new DrainGate((move) => control.reportDrained(move));
  const control = new ControlConnection(controlUrl, instance, run, {
    up: () => {
      deeds.live = true;
      void successions.learn();
    },
    down: () => {
      deeds.live = false;
      // Whoever waits looks at the database instead.
      gate.openAll();
    },
    message: (message) => hear(message, gate, deeds, successions),
  });
  const runtime: Runtime = {
    configuration,
    here,
    ring,
    handoffs: createHandoffMemory(),
    gate,
    deeds,
    agents,
    successions,
    run,
    touch: createTouch(run),
  };
  const lanekeeper = createFace(runtime, instance, queriesUrl, async () => {
    await control.close();
    gate.openAll();
    await own.end();
  });
  await control.start();
  return lanekeeper;
}

function createFace(runtime: Runtime, instance: string, url: string, shutDown: () => Promise<void>): Lanekeeper {
  const { here, configuration, deeds, run } = runtime;
  let closed: Promise<void> | null = null;
  const forAccount = <Result>(account: AccountId, work: () => Promise<Result>) =>
    currentBinding()?.scope?.forAccount(account, work) ?? runForAccount(runtime, account, work);
  const lanekeeper: Lanekeeper = {
    here,
    instance,
    configuration,
    Client,
    pool: (options = {}) => new Pool({ connectionString: url, ...options }),
    current: () => currentBinding()?.scope ?? undefined,
    forAccount,
    whereIs: (account) => deeds.whereIsNow(ownerOf(runtime, account)),
    claim: (name, value, { account }) => claimValue(runtime, name, value, account),
    releaseClaim: (name, value, { account }) => releaseValue(runtime, name, value, account),
    id: createIds(here, { nowMs: Date.now, randomBytes }),
    once,
    durabilityOf,
    outcome: (requestId) => outcomeOf(run, requestId),
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

function hear(message: ControlMessage, gate: DrainGate, deeds: Deeds, successions: Successions): void {
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
