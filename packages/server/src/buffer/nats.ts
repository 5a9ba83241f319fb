/**
 * The log as a stream of NATS JetStream, one for each data center, with a durable consumer for each target. A message leaves the
 * stream when every target has acknowledged it (interest retention). What is not acknowledged within `ackWaitMs` is delivered again.
 *
 * The local PostgreSQL is asked, without writing anything, what a write is: its key, its defaults, its stamp. So a write that is
 * wrong is refused before it is logged, as it is by the log in PostgreSQL.
 */
import {
  AckPolicy,
  type ConsumerMessages,
  JetStreamApiError,
  type JetStreamClient,
  type JetStreamManager,
  type JsMsg,
  jetstream,
  jetstreamManager,
  RetentionPolicy,
  StorageType,
} from '@nats-io/jetstream';
import { connect, type NatsConnection, nanos } from '@nats-io/transport-node';
import type { DataCenterName } from 'lanekeeper/model';
import type { Appended, BufferLog, GivenWrite, Lag, LoggedWrite } from './log.ts';
import { localPool } from './pool.ts';
import { isFault, messageOf } from './sqlstate.ts';

export type NatsLogOptions = {
  readonly servers: readonly string[];
  readonly login: { readonly user: string; readonly password: string } | null;
  readonly cluster: string;
  readonly here: DataCenterName;
  readonly targets: readonly DataCenterName[];
  readonly replicas: 1 | 3 | 5;
  /** The local database as the agent's role. */
  readonly databaseUrl: string;
};

const connectMs = 3_000;
const publishMs = 3_000;
const ackWaitMs = 10_000;
/** How much of a target's backlog is in memory. */
const inHand = 1_000;
const readWaitMs = 150;
const giveBackMs = 300;

type Session = {
  readonly connection: NatsConnection;
  readonly stream: JetStreamClient;
  readonly manager: JetStreamManager;
  connected: boolean;
};

type Message = Pick<LoggedWrite, 'relation' | 'key' | 'image' | 'stamp' | 'dc'>;

/** Messages for one target, from when they are delivered until they are acknowledged or given back. */
type Feed = {
  readonly messages: ConsumerMessages;
  readonly fresh: Map<string, JsMsg>;
  readonly read: Map<string, JsMsg>;
  wake: () => void;
  ended: boolean;
};

export function natsLog(options: NatsLogOptions): BufferLog {
  const { cluster, here, targets, replicas } = options;
  const name = `lanekeeper_${cluster}_${here}`;
  const subject = `lanekeeper.${cluster}.${here}`;
  const pool = localPool(options.databaseUrl, `lanekeeper buffer ${here} nats`, 4);
  const feeds = new Map<DataCenterName, Feed>();
  const durability = replicas === 1 ? 'unsynced' : (`replicated(${replicas})` as const);
  let opening: Promise<Session> | null = null;
  let lastStamp = 0n;

  function session(): Promise<Session> {
    opening ??= open().catch((error: unknown) => {
      opening = null;
      throw error;
    });
    return opening;
  }

  async function open(): Promise<Session> {
    const connection = await connect({
      servers: [...options.servers],
      ...(options.login === null ? {} : { user: options.login.user, pass: options.login.password }),
      name: `lanekeeper ${here}`,
      timeout: connectMs,
      maxReconnectAttempts: -1,
      reconnectTimeWait: 500,
    });
    try {
      const manager = await jetstreamManager(connection, { timeout: publishMs });
      await ensureStream(manager);
      const opened: Session = {
        connection,
        manager,
        stream: jetstream(connection, { timeout: publishMs }),
        connected: true,
      };
      void follow(opened);
      return opened;
    } catch (error) {
      await connection.close();
      throw error;
    }
  }

  async function follow(opened: Session): Promise<void> {
    for await (const { type } of opened.connection.status()) {
      if (type === 'disconnect') opened.connected = false;
      if (type === 'reconnect') opened.connected = true;
    }
  }

  async function ensureStream(manager: JetStreamManager): Promise<void> {
    const wanted = {
      name,
      subjects: [subject],
      retention: RetentionPolicy.Interest,
      storage: StorageType.File,
      num_replicas: replicas,
    };
    const present = await manager.streams.info(name).catch((error: unknown) => {
      if (error instanceof JetStreamApiError && error.status === 404) return null;
      throw error;
    });
    if (present === null) await manager.streams.add(wanted);
    else if (present.config.num_replicas !== replicas) await manager.streams.update(name, wanted);
    for (const target of targets)
      await manager.consumers.add(name, {
        durable_name: target,
        ack_policy: AckPolicy.Explicit,
        ack_wait: nanos(ackWaitMs),
        max_ack_pending: 2 * inHand,
      });
  }

  async function feedOf(target: DataCenterName): Promise<Feed> {
    const known = feeds.get(target);
    if (known !== undefined && !known.ended) return known;
    const { stream } = await session();
    const consumer = await stream.consumers.get(name, target);
    const feed: Feed = {
      messages: await consumer.consume({ max_messages: inHand }),
      fresh: new Map(),
      read: new Map(),
      wake: () => {},
      ended: false,
    };
    feeds.set(target, feed);
    void (async () => {
      try {
        for await (const message of feed.messages) {
          const position = String(message.seq);
          // Delivered again because it took long: whoever has it in hand acknowledges the newer delivery.
          (feed.read.has(position) ? feed.read : feed.fresh).set(position, message);
          feed.wake();
        }
      } catch {
        // The stream or the consumer is gone; the next read finds out.
      }
      feed.ended = true;
      feed.wake();
    })();
    return feed;
  }

  async function giveBack(target: DataCenterName): Promise<void> {
    const feed = feeds.get(target);
    if (feed === undefined) return;
    feeds.delete(target);
    await feed.messages.close();
    // Delayed: nats-server 2.9 would deliver at once, and to this very feed, although nobody is there any more.
    for (const message of [...feed.read.values(), ...feed.fresh.values()]) message.nak(giveBackMs);
    const opened = await opening?.catch(() => null);
    if (opened?.connected) await opened.connection.flush();
  }

  return {
    name: 'nats',
    async append({ table, row, remove }: GivenWrite): Promise<Appended> {
      let prepared: { of_key: string[]; image: unknown; of_stamp: string };
      try {
        const { rows } = await pool.query('SELECT * FROM lanekeeper.buffer_prepare($1, $2, $3)', [
          table,
          JSON.stringify(row),
          remove,
        ]);
        prepared = rows[0];
      } catch (error) {
        if (isFault(error)) return { kind: 'refused', state: error.code, message: error.message };
        return { kind: 'unavailable', reason: messageOf(error) };
      }
      // Also where the clock has gone back.
      const stamp = BigInt(prepared.of_stamp) > lastStamp ? BigInt(prepared.of_stamp) : lastStamp + 1n;
      lastStamp = stamp;
      const message: Message = {
        relation: table,
        key: prepared.of_key,
        image: prepared.image,
        stamp: String(stamp),
        dc: here,
      };
      let opened: Session;
      try {
        opened = await session();
        if (!opened.connected) throw new Error(`NATS at ${options.servers.join(', ')} cannot be reached`);
      } catch (error) {
        return { kind: 'unavailable', reason: messageOf(error) };
      }
      const payload = JSON.stringify(message);
      const maxBytes = opened.connection.info?.max_payload ?? Number.POSITIVE_INFINITY;
      if (Buffer.byteLength(payload) > maxBytes)
        return { kind: 'refused', state: '54000', message: `NATS takes at most ${maxBytes} bytes in one write` };
      try {
        const { seq } = await opened.stream.publish(subject, payload);
        return { kind: 'buffered', durability, position: String(seq) };
      } catch (error) {
        if (error instanceof JetStreamApiError) return { kind: 'unavailable', reason: messageOf(error) };
        return { kind: 'unknown', reason: messageOf(error) };
      }
    },
    async read(target, limit) {
      const feed = await feedOf(target);
      if (feed.fresh.size === 0 && !feed.ended)
        await new Promise<void>((resolve) => {
          const timer = setTimeout(resolve, readWaitMs);
          feed.wake = () => {
            clearTimeout(timer);
            resolve();
          };
        });
      const writes: LoggedWrite[] = [];
      for (const [position, message] of feed.fresh) {
        if (writes.length === limit) break;
        feed.fresh.delete(position);
        feed.read.set(position, message);
        const at = new Date(message.info.timestampNanos / 1_000_000);
        writes.push({ ...message.json<Message>(), position, number: position, at });
      }
      return writes;
    },
    async ack(target, positions) {
      const feed = feeds.get(target);
      for (const position of positions) {
        feed?.read.get(position)?.ack();
        feed?.read.delete(position);
      }
      if (positions.length > 0) await (await session()).connection.flush();
    },
    giveBack,
    async lag() {
      const { manager, connected } = await session();
      if (!connected) throw new Error(`NATS at ${options.servers.join(', ')} cannot be reached`);
      const lags = new Map<DataCenterName, Lag>();
      for (const target of targets) {
        const { num_pending, num_ack_pending, ack_floor } = await manager.consumers.info(name, target);
        const waiting = num_pending + num_ack_pending;
        const oldest =
          waiting === 0
            ? null
            : await manager.streams.getMessage(name, { seq: ack_floor.stream_seq + 1 }).catch(() => null);
        lags.set(target, { waiting, oldestAt: oldest?.time ?? null });
      }
      return lags;
    },
    async close() {
      await Promise.all(targets.map((target) => giveBack(target).catch(() => {})));
      const opened = await opening?.catch(() => null);
      await Promise.all([opened?.connection.close(), pool.end()]);
    },
  };
}
