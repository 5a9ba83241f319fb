/**
 * Makes the subscriptions of this data center what they should be: two from every other one. Repeatable: what was left
 * half done is finished, what is right is left alone.
 *
 * 1. No row is lost: the slot is made before the subscription, and the fence lets nobody write before every stream is
 *    ready in both directions (the agent's gate). Nothing is copied: both sides start equal, or `verify` says where not.
 * 2. The slot is made on a connection of its own and not by CREATE SUBSCRIPTION: making a slot waits for every running
 *    transaction of the publisher, and two data centers subscribing to each other at once would wait for ever.
 * 3. A slot that is gone, or lost its WAL, is said and not made anew: what it would have carried is missing here.
 *
 * Options of a subscription, and why:
 * - `origin = none`: only what was written there, or else every change would travel in a circle.
 * - `synchronous_commit = local`: the default `off` delays what waits for us by up to 200 ms, `on` waits for our standbys.
 * - `disable_on_error = false`: a broken link is an error too, and nobody would enable it again. A change that cannot be
 *   applied is retried; `status` shows it by its error count.
 * - `binary = false`: arrays of an enum or of a composite carry type numbers that differ from database to database.
 * - `streaming`: large homed transactions are spooled and applied when they have committed, so that their row locks are
 *   held briefly; those of `rest` are applied as they come (`parallel`).
 * - `failover = true` from PostgreSQL 17 on (`slots.ts`). It can only be changed while the subscription is disabled and its
 *   worker gone; an `apply` that dies in between leaves it disabled, and the next one enables it.
 */
import { type Configuration, databaseUrl, type Environment } from 'lanekeeper/config';
import type { DataCenterName } from 'lanekeeper/model';
import type { Client } from 'pg';
import { releaseApplyLock, takeApplyLock } from '../apply-lock.ts';
import { type Connect, connect as connectTo, type Unavailable } from '../connect.ts';
import { quoteName, quoteText } from '../fence/names.ts';
import { quoteList } from '../sql-text.ts';
import { databaseProblem } from '../transaction.ts';
import { hashConnection, isSameConnection, subscriptionConnection } from './connection.ts';
import { absentPeers, joinedPeers, type Members, readMembers } from './members.ts';
import {
  peersOf,
  publicationName,
  publicationNames,
  type StreamName,
  slotName,
  streamNames,
  subscriptionName,
} from './names.ts';
import { readPublishedTables, readSlot, readSubscription, readSubscriptions, type SubscriptionRow } from './rows.ts';
import { createSlot, knowsFailover } from './slots.ts';

export { createSlot };

export type StreamOutcome = {
  readonly publisher: DataCenterName;
  readonly stream: StreamName;
  /**
   * `created`, `changed` and `unchanged` are as they should be; `waiting` is for something that comes by itself or by an
   * `apply` over there; `lost` and `failed` are for a person; `absent`: that data center has not joined yet.
   */
  readonly kind: 'created' | 'changed' | 'unchanged' | 'absent' | 'waiting' | 'lost' | 'failed';
  /** What was done, or what it waits for, or what is wrong; one sentence without secrets. */
  readonly message: string;
};

export type EnsureStreamsResult =
  | { readonly kind: 'ensured'; readonly ready: boolean; readonly streams: readonly StreamOutcome[] }
  | Unavailable
  | { readonly kind: 'busy' };

export type EnsureStreamsOptions = {
  /** As the agent role, to the database of this data center. */
  readonly connect: Connect;
  readonly configuration: Configuration;
  /** Passwords: `LANEKEEPER_REPLICATION_PASSWORD`, or one per data center. */
  readonly env: Environment;
  /** How long to wait for another process that does the same. Default 30000. */
  readonly waitMs?: number;
};

/** Making a slot waits for the publisher's running transactions at most this long. */
const slotTimeoutMs = 20_000;

const streamingOf: Readonly<Record<StreamName, 'on' | 'parallel'>> = { homed: 'on', rest: 'parallel' };

export async function ensureStreams(options: EnsureStreamsOptions): Promise<EnsureStreamsResult> {
  const connected = await options.connect('lanekeeper streams');
  if (connected.kind === 'unavailable') return connected;
  const { client } = connected;
  try {
    const lock = await takeApplyLock(client, options.waitMs ?? 30_000, () => {}, 'streams');
    if (lock.kind === 'held') return { kind: 'busy' };
    if (!(await isApplied(client))) {
      const message = `${options.configuration.here} is not prepared yet: run \`lanekeeper apply\` here`;
      const wanted = peersOf(options.configuration).flatMap((publisher) =>
        streamNames.map((stream): StreamOutcome => ({ publisher, stream, kind: 'waiting', message })),
      );
      return { kind: 'ensured', ready: false, streams: wanted };
    }
    const streams: StreamOutcome[] = [];
    const members = await readMembers(client);
    for (const publisher of joinedPeers(options.configuration, members)) {
      streams.push(...(await ensureFrom(client, options, publisher)));
    }
    for (const publisher of absentPeers(options.configuration, members)) {
      const message = `${publisher} has not joined yet: \`lanekeeper join ${publisher} --from ${options.configuration.here}\``;
      streams.push(...streamNames.map((stream) => ({ publisher, stream, kind: 'absent', message }) as const));
    }
    await tellPublishers(client, options.configuration, members);
    await releaseApplyLock(client, 'streams');
    const ready = streams.every(({ kind }) => ['created', 'changed', 'unchanged', 'absent'].includes(kind));
    return { kind: 'ensured', ready, streams };
  } finally {
    await client.end();
  }
}

async function isApplied(client: Client): Promise<boolean> {
  const { rows } = await client.query<{ there: boolean }>(
    `SELECT to_regclass('lanekeeper.stream') IS NOT NULL AND to_regclass('lanekeeper.subscribed') IS NOT NULL AS there`,
  );
  return rows[0]?.there === true;
}

async function ensureFrom(
  client: Client,
  options: EnsureStreamsOptions,
  publisher: DataCenterName,
): Promise<StreamOutcome[]> {
  const { configuration, env } = options;
  const url = databaseUrl(configuration, publisher, 'replication', env);
  const connected = await connectTo(url, {
    applicationName: 'lanekeeper streams',
    statementTimeoutMs: slotTimeoutMs,
  });
  if (connected.kind === 'unavailable') {
    return streamNames.map((stream) => ({ publisher, stream, kind: 'waiting', message: connected.message }));
  }
  const outcomes: StreamOutcome[] = [];
  try {
    for (const stream of streamNames) {
      const context: Context = { client, peer: connected.client, here: configuration.here, publisher, stream, url };
      outcomes.push({ publisher, stream, ...(await guarded(() => ensureOne(context))) });
    }
  } finally {
    await connected.client.end();
  }
  return outcomes;
}

type Context = {
  /** Here, as the agent. */
  readonly client: Client;
  /** There, as the replication role. */
  readonly peer: Client;
  readonly here: DataCenterName;
  readonly publisher: DataCenterName;
  readonly stream: StreamName;
  readonly url: string;
};

type Outcome = Pick<StreamOutcome, 'kind' | 'message'>;

/** What PostgreSQL refuses becomes an outcome; its message never holds the connection string. */
async function guarded(work: () => Promise<Outcome>): Promise<Outcome> {
  try {
    return await work();
  } catch (thrown) {
    const problem = databaseProblem(thrown);
    if (!problem) throw thrown;
    // query_canceled: the slot waited for a long transaction over there; undefined_table: the migration has yet to run.
    const kind = problem.code === '57014' || problem.code === '42P01' ? 'waiting' : 'failed';
    return { kind, message: `${problem.message}${problem.hint ? ` (${problem.hint})` : ''} [${problem.code}]` };
  }
}

async function ensureOne(context: Context): Promise<Outcome> {
  const { client, peer, here, publisher, stream } = context;
  const published = await readPublishedTables(peer, stream);
  if (published === null) {
    return { kind: 'waiting', message: `${publisher} publishes nothing yet: run \`lanekeeper apply\` there` };
  }
  const slot = slotName(here, stream);
  const subscription = await readSubscription(client, subscriptionName(publisher, stream));
  const present = await readSlot(peer, slot);
  if (present && (!present.ours || present.plugin !== 'pgoutput')) {
    return { kind: 'failed', message: `the slot ${slot} in ${publisher} belongs to something else` };
  }
  if (present?.walStatus === 'lost') {
    return { kind: 'lost', message: `the slot ${slot} in ${publisher} has lost changes that ${here} needs` };
  }
  if (subscription && !present) {
    return {
      kind: 'lost',
      message: `the slot ${slot} in ${publisher} is gone, and with it changes that ${here} needs`,
    };
  }
  if (!subscription) return create(context, present !== null);
  return adjust(context, subscription, published, present?.failover ?? false);
}

async function create(context: Context, slotIsThere: boolean): Promise<Outcome> {
  const { client, peer, here, publisher, stream, url } = context;
  const slot = slotName(here, stream);
  const name = subscriptionName(publisher, stream);
  if (!slotIsThere) await createSlot(peer, slot);
  const failover = await mayFailOver(context);
  const frozen = await client.query('SELECT FROM lanekeeper.frozen WHERE publisher = $1', [publisher]);
  await subscribe(client, {
    name,
    slot,
    stream,
    url,
    publications: publicationNames(stream),
    enabled: frozen.rows.length === 0,
    failover,
  });
  // What was said of an earlier subscription says nothing of this one.
  await client.query('DELETE FROM lanekeeper.subscribed WHERE publisher = $1 AND subscriber = $2', [publisher, here]);
  const how = slotIsThere ? 'with the slot that was there' : 'and its slot';
  return { kind: 'created', message: `subscribed to ${publicationName(stream)} of ${publisher} ${how}` };
}

export type NewSubscription = {
  readonly name: string;
  /** Is there already. */
  readonly slot: string;
  readonly stream: StreamName;
  readonly publications: readonly string[];
  /** Of the replication role, as seen from here, with its password. */
  readonly url: string;
  /** Reads from the start; otherwise it is enabled when it is known from where. Default true. */
  readonly enabled?: boolean;
  /** First copy what the tables hold; only into empty tables. Default false. */
  readonly copyData?: boolean;
  /**
   * Both sides know it (PostgreSQL 17). CREATE SUBSCRIPTION makes the slot what this says, also one that was there.
   * Default: as this side does, for a publisher of the same version.
   */
  readonly failover?: boolean;
};

export async function subscribe(client: Client, subscription: NewSubscription): Promise<void> {
  const { name, slot, stream, publications, url, enabled = true, copyData = false } = subscription;
  const failover = subscription.failover ?? (await knowsFailover(client));
  const connection = subscriptionConnection(url, slot);
  await client.query(`CREATE SUBSCRIPTION ${quoteName(name)} CONNECTION ${quoteText(connection)}
    PUBLICATION ${quoteList(publications)}
    WITH (create_slot = false, slot_name = ${quoteText(slot)}, copy_data = ${copyData}, enabled = ${enabled}, ${optionsOf(stream)}${failover ? ', failover = true' : ''})`);
  await rememberConnection(client, name, connection);
}

function optionsOf(stream: StreamName): string {
  return `origin = none, synchronous_commit = local, disable_on_error = false, binary = false, streaming = ${streamingOf[stream]}`;
}

async function adjust(
  context: Context,
  present: SubscriptionRow,
  published: readonly string[],
  failsOver: boolean,
): Promise<Outcome> {
  const { client, here, publisher, stream } = context;
  const name = quoteName(present.name);
  const changes: string[] = [];
  const right =
    present.origin === 'none' &&
    present.synchronousCommit === 'local' &&
    !present.disableOnError &&
    !present.binary &&
    present.streaming === streamingOf[stream];
  if (!right) {
    await client.query(`ALTER SUBSCRIPTION ${name} SET (${optionsOf(stream)})`);
    changes.push('set its options');
  }
  const connection = subscriptionConnection(context.url, slotName(here, stream));
  const { rows } = await client.query<{ connection: string }>(
    'SELECT connection FROM lanekeeper.stream WHERE subscription = $1',
    [present.name],
  );
  if (!rows[0] || !isSameConnection(connection, rows[0].connection)) {
    await client.query(`ALTER SUBSCRIPTION ${name} CONNECTION ${quoteText(connection)}`);
    await rememberConnection(client, present.name, connection);
    changes.push('set its connection');
  }
  const frozen = await client.query('SELECT FROM lanekeeper.frozen WHERE publisher = $1', [publisher]);
  if (!failsOver && (await mayFailOver(context))) {
    if (present.enabled) await pause(client, present.name);
    try {
      await client.query(`ALTER SUBSCRIPTION ${name} SET (failover = true)`);
      changes.push('made its slot a failover slot');
    } finally {
      if (present.enabled && frozen.rows.length === 0) await client.query(`ALTER SUBSCRIPTION ${name} ENABLE`);
    }
  }
  if (!present.enabled && frozen.rows.length === 0) {
    await client.query(`ALTER SUBSCRIPTION ${name} ENABLE`);
    changes.push('enabled it');
  }
  const publications = publicationNames(stream);
  if (publications.toSorted().join() !== present.publications.join()) {
    await client.query(`ALTER SUBSCRIPTION ${name} SET PUBLICATION ${quoteList(publications)} WITH (refresh = false)`);
    changes.push('set its publications');
  }
  if (present.tables.join('\n') !== published.join('\n')) {
    await client.query(`ALTER SUBSCRIPTION ${name} REFRESH PUBLICATION WITH (copy_data = false)`);
    changes.push(`took over the list of ${published.length} tables`);
  }
  if (changes.length === 0)
    return { kind: 'unchanged', message: `subscribed to ${publicationName(stream)} of ${publisher}` };
  return { kind: 'changed', message: changes.join(', ') };
}

/** Both servers know what a failover slot is. */
async function mayFailOver({ client, peer }: Context): Promise<boolean> {
  return (await knowsFailover(client)) && (await knowsFailover(peer));
}

const pauseMs = 10_000;
const pollMs = 20;

/** Disables it and sees its worker gone; enables it again when that takes too long. */
async function pause(client: Client, subscription: string): Promise<void> {
  await client.query(`ALTER SUBSCRIPTION ${quoteName(subscription)} DISABLE`);
  const deadlineMs = performance.now() + pauseMs;
  for (;;) {
    const { rows } = await client.query(
      'SELECT FROM pg_catalog.pg_stat_subscription WHERE subname = $1 AND pid IS NOT NULL',
      [subscription],
    );
    if (rows.length === 0) return;
    if (performance.now() > deadlineMs) {
      await client.query(`ALTER SUBSCRIPTION ${quoteName(subscription)} ENABLE`);
      throw Object.assign(new Error(`${subscription} does not pause: a transaction holds what it applies`), {
        code: '55006',
        severity: 'ERROR',
      });
    }
    await new Promise((resolve) => setTimeout(resolve, pollMs));
  }
}

/**
 * Says in the stream which tables are read here, for those who keep a table closed until it is. Only once all of
 * them read what is written here: a row from before would never reach them, nor a third one.
 */
async function tellPublishers(client: Client, configuration: Configuration, members: Members): Promise<void> {
  const { here } = configuration;
  const peers = joinedPeers(configuration, members);
  const slots = peers.flatMap((peer) => streamNames.map((stream) => slotName(peer, stream)));
  const { rows } = await client.query<{ n: number }>(
    `SELECT count(*)::int AS n FROM pg_catalog.pg_replication_slots
      WHERE database = current_database() AND slot_name = ANY ($1)`,
    [slots],
  );
  if (rows[0]?.n !== slots.length) return;
  for (const publisher of peers) {
    const subscriptions = await readSubscriptions(
      client,
      streamNames.map((stream) => subscriptionName(publisher, stream)),
    );
    const ready = subscriptions.flatMap(({ tables, notReady }) =>
      tables.filter((table) => !notReady.some((one) => one.table === table)),
    );
    await client.query(
      `INSERT INTO lanekeeper.subscribed (relation, publisher, subscriber) SELECT t, $2, $3 FROM unnest($1::text[]) t
        ON CONFLICT DO NOTHING`,
      [ready, publisher, here],
    );
    await client.query(
      'DELETE FROM lanekeeper.subscribed WHERE publisher = $2 AND subscriber = $3 AND NOT relation = ANY ($1)',
      [ready, publisher, here],
    );
  }
}

async function rememberConnection(client: Client, subscription: string, connection: string): Promise<void> {
  await client.query(
    `INSERT INTO lanekeeper.stream (subscription, connection) VALUES ($1, $2)
      ON CONFLICT (subscription) DO UPDATE SET connection = excluded.connection, at = excluded.at`,
    [subscription, hashConnection(connection)],
  );
}
