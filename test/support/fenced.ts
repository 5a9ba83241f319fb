/** One database with the fence in place, as data center `ny`, and no agent: the test holds the lease itself. */
import { type Configuration, createConfiguration } from 'lanekeeper/config';
import { Client } from 'pg';
import { fencePieces } from '../../packages/server/src/postgres/fence/index.ts';
import { readCatalog } from '../../packages/server/src/postgres/inspect/read-catalog.ts';
import { readMigrations } from '../../packages/server/src/postgres/migrate/files.ts';
import { runSql, type TestDatabase, testDatabase, testRoleNames } from './clusters.ts';

export type WrittenTables = Parameters<typeof createConfiguration>[0]['tables'];

export function twoDataCenters(options: {
  readonly here?: string;
  readonly tables: WrittenTables;
  readonly extra?: Partial<Parameters<typeof createConfiguration>[0]>;
}): Configuration {
  return createConfiguration(
    {
      cluster: 'shop',
      approach: 'full-active-active',
      dataCenters: {
        ny: {
          place: 'New York',
          faultDomain: 'east',
          database: 'postgres://127.0.0.1:1/shop',
          url: 'http://127.0.1.1:1',
        },
        la: {
          place: 'Los Angeles',
          faultDomain: 'west',
          database: 'postgres://127.0.0.1:2/shop',
          url: 'http://127.0.1.2:1',
        },
      },
      leases: { store: 'postgres', url: 'postgres://127.0.0.1:3/witness' },
      roles: testRoleNames,
      tables: options.tables,
      ...options.extra,
    },
    { here: options.here ?? 'ny' },
  );
}

export type FencedDatabase = TestDatabase & {
  /** Lets this data center write for so long, in milliseconds from now; negative: not any more. */
  lease(forMs: number): Promise<void>;
  /** Creates every piece again from the present catalog, as `apply` would. */
  install(): Promise<void>;
  stop(): Promise<void>;
};

export async function fencedDatabase(schema: string, configuration: Configuration): Promise<FencedDatabase> {
  const database = await testDatabase({ schema });
  const { urls } = database;
  for (const { sql } of await readMigrations()) await runSql(urls.owner, sql);
  const fenced: FencedDatabase = Object.assign(database, {
    lease: async (forMs: number) => {
      await runSql(urls.agent, 'SELECT lanekeeper.set_lease(wall_ms + $1) FROM lanekeeper.clock()', [forMs]);
    },
    install: async () => {
      const client = new Client({ connectionString: urls.owner });
      await client.connect();
      try {
        for (const piece of fencePieces(configuration, await readCatalog(client))) await client.query(piece.create);
      } finally {
        await client.end();
      }
    },
  });
  await fenced.install();
  return fenced;
}
