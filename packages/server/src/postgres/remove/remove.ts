/**
 * Takes Lanekeeper out of a database again. The user's tables and rows stay as they are. Repeatable: what a first run could
 * not reach, a second one finds.
 */
import type { Configuration, RoleName } from 'lanekeeper/config';
import type { Client } from 'pg';
import { type LockHolder, releaseApplyLock, takeApplyLock } from '../apply-lock.ts';
import type { Connect, Unavailable } from '../connect.ts';
import { readCatalog } from '../inspect/read-catalog.ts';
import { readPieces } from '../plan/state.ts';
import { dropSlot, dropSubscription } from '../streams/drop.ts';
import {
  asideSlotName,
  peersOf,
  publicationNames,
  relayPublication,
  relaySlotName,
  slotName,
  streamNames,
  subscriptionName,
} from '../streams/names.ts';
import { membersIn } from '../sync/index.ts';
import { type DatabaseProblem, databaseProblem, inTransaction, type LockPatience } from '../transaction.ts';
import { planRemoval, type Removal, type RemovalState, type RemovalStep } from './plan-removal.ts';

export type RemoveOptions = {
  readonly configuration: Configuration;
  /** To this data center's own database. */
  readonly connect: (role: RoleName) => Connect;
  readonly onProgress?: (step: RemovalStep, remark: string | null) => void;
  readonly patience?: Pick<LockPatience, 'lockTimeoutMs' | 'totalMs'>;
};

export type PlanRemovalResult =
  | { readonly kind: 'planned'; readonly removal: Removal }
  | (Unavailable & { readonly role: RoleName })
  | { readonly kind: 'unreadable'; readonly error: DatabaseProblem };

export type RemoveResult =
  | {
      readonly kind: 'removed';
      readonly done: readonly RemovalStep[];
      /** What is left behind elsewhere, with the statement that takes it away. */
      readonly leftBehind: readonly string[];
      readonly remains: readonly string[];
    }
  | (Unavailable & { readonly role: RoleName })
  | { readonly kind: 'unreadable'; readonly error: DatabaseProblem }
  | { readonly kind: 'busy'; readonly holder: LockHolder | null }
  | { readonly kind: 'blocked'; readonly step: RemovalStep; readonly done: readonly RemovalStep[] }
  | {
      readonly kind: 'failed';
      readonly step: RemovalStep;
      readonly error: DatabaseProblem;
      readonly done: readonly RemovalStep[];
    };

const applicationName = 'lanekeeper remove';

/** What `removeAll` would do; changes nothing. */
export async function planRemovalOf(options: RemoveOptions): Promise<PlanRemovalResult> {
  const connected = await options.connect('owner')(applicationName);
  if (connected.kind === 'unavailable') return { ...connected, role: 'owner' };
  try {
    return await makePlan(connected.client, options.configuration);
  } finally {
    await connected.client.end();
  }
}

async function makePlan(
  client: Client,
  configuration: Configuration,
): Promise<{ kind: 'planned'; removal: Removal } | { kind: 'unreadable'; error: DatabaseProblem }> {
  try {
    return { kind: 'planned', removal: planRemoval(configuration, await readState(client, configuration)) };
  } catch (thrown) {
    const error = databaseProblem(thrown);
    if (!error) throw thrown;
    return { kind: 'unreadable', error };
  }
}

export async function removeAll(options: RemoveOptions): Promise<RemoveResult> {
  const clients = new Map<RoleName, Client>();
  try {
    const connected = await options.connect('owner')(applicationName);
    if (connected.kind === 'unavailable') return { ...connected, role: 'owner' };
    const owner = connected.client;
    clients.set('owner', owner);
    const lock = await takeApplyLock(owner, 30_000, () => {});
    if (lock.kind === 'held') return { kind: 'busy', holder: lock.by };
    const made = await makePlan(owner, options.configuration);
    if (made.kind === 'unreadable') return made;
    const { steps, remains } = made.removal;
    for (const role of new Set(steps.map((step) => step.as))) {
      if (clients.has(role)) continue;
      const other = await options.connect(role)(applicationName);
      if (other.kind === 'unavailable') return { ...other, role };
      clients.set(role, other.client);
    }
    const done: RemovalStep[] = [];
    const leftBehind: string[] = [];
    for (const step of steps) {
      const outcome = await runStep(clients.get(step.as) as Client, step, options.patience ?? {});
      if (outcome.kind === 'failed') return { kind: 'failed', step, error: outcome.error, done };
      if (outcome.kind === 'blocked') return { kind: 'blocked', step, done };
      done.push(step);
      if (outcome.value !== null) leftBehind.push(outcome.value);
      options.onProgress?.(step, outcome.value);
    }
    await releaseApplyLock(owner);
    return { kind: 'removed', done, leftBehind, remains };
  } finally {
    for (const client of clients.values()) await client.end();
  }
}

async function readState(client: Client, configuration: Configuration): Promise<RemovalState> {
  const peers = peersOf(configuration);
  const each = (name: (dc: string, stream: (typeof streamNames)[number]) => string) =>
    peers.flatMap((dc) => streamNames.map((stream) => name(dc, stream)));
  const { rows: there } = await client.query<{ schema: boolean; pieces: boolean; deeds: boolean }>(
    `SELECT to_regnamespace('lanekeeper') IS NOT NULL AS schema, to_regclass('lanekeeper.piece') IS NOT NULL AS pieces,
      to_regclass('lanekeeper.deed') IS NOT NULL AS deeds`,
  );
  const installed = there[0] ?? { schema: false, pieces: false, deeds: false };
  const { rows: subscriptions } = await client.query<{ name: string }>(
    `SELECT s.subname AS name FROM pg_catalog.pg_subscription s JOIN pg_catalog.pg_database d ON d.oid = s.subdbid
      WHERE d.datname = current_database() AND s.subname = ANY ($1) ORDER BY 1`,
    [each(subscriptionName)],
  );
  const { rows: slots } = await client.query<{ name: string; active: boolean }>(
    `SELECT slot_name AS name, active FROM pg_catalog.pg_replication_slots
      WHERE database = current_database() AND slot_name = ANY ($1) ORDER BY 1`,
    [[...each(slotName), ...peers.map(asideSlotName), ...peers.map(relaySlotName)]],
  );
  const { rows: publications } = await client.query<{ name: string }>(
    'SELECT pubname AS name FROM pg_catalog.pg_publication WHERE pubname = ANY ($1) ORDER BY 1',
    [[...streamNames.flatMap(publicationNames), relayPublication]],
  );
  const { rows: standbys } = await client.query<{ names: string }>(
    "SELECT current_setting('synchronous_standby_names') AS names",
  );
  const { rows: deeds } = installed.deeds
    ? await client.query<{ n: number }>('SELECT count(*)::float8 AS n FROM lanekeeper.deed')
    : { rows: [{ n: 0 }] };
  return {
    catalog: await readCatalog(client),
    installed: installed.schema,
    pieces: installed.pieces ? await readPieces(client) : [],
    subscriptions: subscriptions.map((row) => row.name),
    slots,
    publications: publications.map((row) => row.name),
    waitsForUs: membersIn(standbys[0]?.names ?? '') !== null,
    deeds: deeds[0]?.n ?? 0,
  };
}

type StepResult =
  | { readonly kind: 'committed'; readonly value: string | null }
  | { readonly kind: 'blocked' }
  | { readonly kind: 'failed'; readonly error: DatabaseProblem };

async function runStep(client: Client, step: RemovalStep, patience: LockPatience): Promise<StepResult> {
  const { action } = step;
  if (action.do === 'run') {
    return inTransaction(
      client,
      async () => {
        await client.query(step.sql);
        return null;
      },
      patience,
    );
  }
  try {
    if (action.do === 'reset-standbys') {
      // Not in a transaction: PostgreSQL changes a file.
      await client.query('ALTER SYSTEM RESET synchronous_standby_names');
      await client.query('SELECT pg_catalog.pg_reload_conf()');
      return { kind: 'committed', value: null };
    }
    const value =
      action.do === 'drop-subscription'
        ? await dropSubscription(client, action.name)
        : await dropSlot(client, action.name);
    return { kind: 'committed', value };
  } catch (thrown) {
    const error = databaseProblem(thrown);
    if (!error) throw thrown;
    return { kind: 'failed', error };
  }
}
