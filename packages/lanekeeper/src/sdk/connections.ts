/** The connections that an application works with: plain ones to the database here, or under `routing: connection` such that follow. */
import type pg from 'pg';
import { type Configuration, databaseUrl } from '../config/index.ts';
import type { DataCenterName } from '../model/index.ts';
import type { PoolOptions } from './api.ts';
import { asApplication, withOptions } from './application.ts';
import type { RunSql } from './deeds.ts';
import { Lanes } from './lanes.ts';
import plainPg, { Pool } from './pg.ts';
import { routedClient } from './routed-client.ts';
import { RemotePools, RoutedPool } from './routed-pool.ts';

export type Connections = {
  /** Null unless `routing: connection`. */
  readonly lanes: Lanes | null;
  /** In the place of `lanekeeper/pg`. */
  readonly pg: typeof pg;
  pool(options?: PoolOptions): pg.Pool;
  /** Not the pools: those are the application's to end. */
  close(): Promise<void>;
};

export type ConnectionsOptions = {
  readonly configuration: Configuration;
  readonly env: NodeJS.ProcessEnv;
  readonly instance: string;
  /** What it calls itself towards those databases; `url` says it already. */
  readonly application: string | null;
  /** For the application's own queries to the database here. */
  readonly url: string;
  /** For those to others, instead of the configuration's. */
  readonly urls: Readonly<Record<DataCenterName, string>>;
  readonly run: RunSql;
  readonly onLost: () => void;
};

export function openConnections(options: ConnectionsOptions): Connections {
  const { configuration, url } = options;
  if (configuration.routing !== 'connection') {
    return {
      lanes: null,
      pg: plainPg as unknown as typeof pg,
      pool: ({ follow: _follow, ...given } = {}) =>
        new Pool({ connectionString: withOptions(url, given.options), ...given }),
      close: async () => {},
    };
  }
  const lanes = createLanes(options);
  // For libraries that make their connections themselves: these belong to nobody's pool.
  const shared = new RemotePools(lanes, { allowExitOnIdle: true });
  const FollowingClient = routedClient({
    lanes,
    dataCenter: lanes.here,
    borrow: (dataCenter) => shared.take(dataCenter),
    unowned: true,
  });
  class FollowingPool extends RoutedPool {
    constructor(given: pg.PoolConfig = {}) {
      super(lanes, given);
    }
  }
  return {
    lanes,
    pg: { ...plainPg, Client: FollowingClient, Pool: FollowingPool } as unknown as typeof pg,
    pool: ({ follow = true, ...given } = {}) => {
      const wanted = { connectionString: withOptions(url, given.options), ...given };
      return follow ? new RoutedPool(lanes, wanted) : new Pool(wanted);
    },
    close: async () => {
      await Promise.all([shared.end(), lanes.close()]);
    },
  };
}

function createLanes({ configuration, env, instance, application, url, urls, run, onLost }: ConnectionsOptions): Lanes {
  const { here, dataCenters } = configuration;
  const all = Object.keys(dataCenters).map((name): readonly [DataCenterName, string] => [
    name,
    name === here
      ? url
      : asApplication(urls[name] ?? databaseUrl(configuration, name, 'application', env), application),
  ]);
  return new Lanes({
    here,
    urls: new Map(all),
    applicationName: `lanekeeper:${instance}`,
    runHere: run,
    onLost,
  });
}
