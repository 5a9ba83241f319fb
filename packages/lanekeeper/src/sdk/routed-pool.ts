/**
 * `lanekeeper.pool()` under `routing: connection`: a pool of connections to the database here, and one more, opened when it is
 * first needed, for each database elsewhere. Whoever asks for a connection gets one that leads to where his work is written; should
 * that change before he begins a transaction, it follows (`routed-client.ts`).
 *
 * It is pg's Pool: `max` counts for each database, its counts are those of all together, its events those of any.
 */
import { AsyncResource } from 'node:async_hooks';
import pg from 'pg';
import type { DataCenterName } from '../model/index.ts';
import { currentBinding } from './binding.ts';
import { laneConnectMs } from './lane-health.ts';
import type { Lanes } from './lanes.ts';
import { Pool } from './pg.ts';
import { routedClient, settleBorrowed } from './routed-client.ts';

// biome-ignore lint/suspicious/noExplicitAny: pg's overloads are passed through.
type Any = any;

/** Read-only properties of pg's Pool. */
const counts = ['totalCount', 'idleCount', 'waitingCount', 'expiredCount'] as const;
const relayed = ['connect', 'acquire', 'release', 'remove'] as const;

/** The connections of one application's pool that lead to other data centers. */
export class RemotePools {
  readonly #lanes: Lanes;
  readonly #options: pg.PoolConfig;
  readonly #pools = new Map<DataCenterName, pg.Pool>();
  /** A connection to the database here. */
  takeHere: () => Promise<pg.PoolClient> = () => Promise.reject(new TypeError('There is no pool here.'));
  /** Told of what happens in any of them. */
  relay: (event: string, ...given: unknown[]) => void = () => {};
  #ended = false;

  constructor(lanes: Lanes, options: pg.PoolConfig) {
    this.#lanes = lanes;
    this.#options = options;
  }

  get all(): readonly pg.Pool[] {
    return [...this.#pools.values()];
  }

  /** @throws {LanekeeperError} `LK_HOME_UNREACHABLE` */
  async take(dataCenter: DataCenterName): Promise<pg.PoolClient> {
    if (dataCenter === this.#lanes.here) return this.takeHere();
    return this.#lanes.healthOf(dataCenter).reach(() => this.#of(dataCenter).connect());
  }

  async end(): Promise<void> {
    this.#ended = true;
    await Promise.all(this.all.map((pool) => pool.end()));
  }

  #of(dataCenter: DataCenterName): pg.Pool {
    const known = this.#pools.get(dataCenter);
    if (known !== undefined) return known;
    if (this.#ended) throw new Error('Cannot use a pool after calling end on the pool');
    const { host: _host, port: _port, database: _database, user: _user, password: _password, ...rest } = this.#options;
    const pool = new Pool({
      ...rest,
      min: 0,
      keepAlive: true,
      connectionString: this.#lanes.urlOf(dataCenter),
      Client: routedClient({
        lanes: this.#lanes,
        dataCenter,
        borrow: (other) => this.take(other),
        connectTimeoutMs: laneConnectMs,
      }) as Any,
    });
    pool.on('connect', (client) => this.#lanes.healthOf(dataCenter).made(client));
    // A connection that breaks while nobody uses it is no news: whoever needs one next is told if there is none.
    pool.on('error', (...given) => this.relay('error', ...given));
    for (const event of relayed) pool.on(event as 'connect', (...given) => this.relay(event, ...given));
    this.#pools.set(dataCenter, pool);
    return pool;
  }
}

export class RoutedPool extends (Pool as unknown as new (config?: pg.PoolConfig) => pg.Pool) {
  readonly #lanes: Lanes;
  readonly #remote: RemotePools;

  constructor(lanes: Lanes, options: pg.PoolConfig) {
    const remote = new RemotePools(lanes, options);
    const borrow = (dataCenter: DataCenterName) => remote.take(dataCenter);
    super({ ...options, Client: routedClient({ lanes, dataCenter: lanes.here, borrow }) as Any });
    remote.takeHere = () => super.connect();
    this.#lanes = lanes;
    this.#remote = remote;
    for (const count of counts) {
      const get = () =>
        remote.all.reduce((sum, pool) => sum + pool[count], Reflect.get(pg.Pool.prototype, count, this));
      Object.defineProperty(this, count, { get, enumerable: false });
    }
    remote.relay = (event, ...given) => {
      if (event !== 'error' || this.listenerCount('error') > 0)
        this.emit(event as 'error', ...(given as [never, never]));
    };
  }

  override connect(callback?: Any): Any {
    const taken = this.#take(currentBinding()?.lane ?? this.#lanes.here);
    if (callback === undefined) return taken;
    const respond = AsyncResource.bind(callback as (...given: unknown[]) => void);
    taken.then(
      (client) => process.nextTick(respond, undefined, client, client.release),
      (error: unknown) => process.nextTick(respond, error, undefined, () => {}),
    );
    return undefined;
  }

  override end(callback?: Any): Any {
    const ended = Promise.all([super.end(), this.#remote.end()]).then(() => {});
    if (callback === undefined) return ended;
    ended.then(() => callback(), callback);
    return undefined;
  }

  async #take(lane: DataCenterName): Promise<pg.PoolClient> {
    const client = await this.#remote.take(lane);
    const release = client.release;
    client.release = (error) => {
      settleBorrowed(client);
      release(error);
    };
    return client;
  }
}
