/**
 * The databases of all data centers, under `routing: connection`: where each is, whether it answers, and what is asked of it besides
 * the application's own statements. `routed-pool.ts` has the application's connections.
 */
import pg from 'pg';
import type { AccountId, DataCenterName } from '../model/index.ts';
import type { Whereabouts } from './api.ts';
import { askWhereIs, type RunSql } from './deeds.ts';
import { LaneHealth, laneConnectMs } from './lane-health.ts';

/** For questions of the SDK's own, which are single statements by primary key; by data center. */
const ownConnections = 2;

export type LaneOptions = {
  readonly here: DataCenterName;
  /** Complete URLs, as the application's role. */
  readonly urls: ReadonlyMap<DataCenterName, string>;
  readonly applicationName: string;
  /** Questions to the database here, which go elsewhere than through these connections. */
  readonly runHere: RunSql;
  /** Another data center's database was lost: perhaps somebody has taken over from it. */
  readonly onLost: () => void;
};

export class Lanes {
  readonly here: DataCenterName;
  readonly #options: LaneOptions;
  readonly #pools = new Map<DataCenterName, pg.Pool>();
  readonly #health = new Map<DataCenterName, LaneHealth>();

  constructor(options: LaneOptions) {
    this.here = options.here;
    this.#options = options;
  }

  /** Data centers other than this one. */
  get others(): readonly DataCenterName[] {
    return [...this.#options.urls.keys()].filter((name) => name !== this.here);
  }

  urlOf(dataCenter: DataCenterName): string {
    const url = this.#options.urls.get(dataCenter);
    if (url === undefined) throw new TypeError(`There is no database of ${dataCenter} in the configuration.`);
    return url;
  }

  /** Whether this configuration knows it: a data center may be about to be added. */
  has(dataCenter: DataCenterName): boolean {
    return this.#options.urls.has(dataCenter);
  }

  healthOf(dataCenter: DataCenterName): LaneHealth {
    const known = this.#health.get(dataCenter);
    if (known !== undefined) return known;
    const health = new LaneHealth(
      this.here,
      dataCenter,
      () => this.#tryNew(dataCenter),
      () => this.#options.onLost(),
    );
    this.#health.set(dataCenter, health);
    return health;
  }

  /** One statement on a connection of the SDK's own. @throws {LanekeeperError} `LK_HOME_UNREACHABLE` */
  async run(dataCenter: DataCenterName, text: string, values: unknown[]) {
    if (dataCenter === this.here) return this.#options.runHere(text, values);
    const client = await this.healthOf(dataCenter).reach(() => this.#poolOf(dataCenter).connect());
    let broken = true;
    try {
      const { rows } = await client.query<Record<string, unknown>>(text, values);
      broken = false;
      return rows;
    } finally {
      client.release(broken);
    }
  }

  /** Where the database of `dataCenter` says that the account is written. */
  whereIs(dataCenter: DataCenterName, account: AccountId): Promise<Whereabouts | null> {
    return askWhereIs((text, values) => this.run(dataCenter, text, values), account);
  }

  async close(): Promise<void> {
    await Promise.all([...this.#pools.values()].map((pool) => pool.end()));
  }

  #poolOf(dataCenter: DataCenterName): pg.Pool {
    const known = this.#pools.get(dataCenter);
    if (known !== undefined) return known;
    const pool = new pg.Pool({ ...this.#connection(dataCenter), max: ownConnections, allowExitOnIdle: true });
    pool.on('error', () => {});
    pool.on('connect', (client) => this.healthOf(dataCenter).made(client));
    this.#pools.set(dataCenter, pool);
    return pool;
  }

  async #tryNew(dataCenter: DataCenterName): Promise<void> {
    const client = new pg.Client(this.#connection(dataCenter));
    client.on('error', () => {});
    try {
      await client.connect();
      await client.query('SELECT 1');
    } finally {
      client.end().catch(() => {});
    }
  }

  #connection(dataCenter: DataCenterName): pg.PoolConfig {
    return {
      connectionString: this.urlOf(dataCenter),
      connectionTimeoutMillis: laneConnectMs,
      query_timeout: laneConnectMs,
      keepAlive: true,
      application_name: this.#options.applicationName,
    };
  }
}
