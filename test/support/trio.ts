/**
 * Two or three data centers with the merge log between all of them, each a real cluster, and no agents. With agents, and links:
 * `testPair` with `dataCenters: ['ny', 'la', 'fra']`.
 */
import { createConfiguration, type WrittenConfiguration } from 'lanekeeper/config';
import { generateKeyPair } from 'lanekeeper/session';
import { applyPair } from './applied.ts';
import { runSql, type TestCluster, type TestDatabase, testCluster, testPasswords, testRoleNames } from './clusters.ts';
import type { TestDataCenter } from './pair.ts';

export type TrioOptions = {
  /** Run in every data center, as the owner. The application may do everything with the tables. */
  readonly schema: string;
  /** 2 or 3. Default 3. */
  readonly size?: 2 | 3;
  readonly tables: WrittenConfiguration['tables'];
  /** For locality-weight, of all three. Default 100 each. */
  readonly weights?: Readonly<Record<string, number>>;
  /** Default `active-passive`. */
  readonly approach?: WrittenConfiguration['approach'];
  /** For application-weight. */
  readonly applications?: Readonly<Record<string, number>>;
};

export type Trio = {
  readonly names: readonly string[];
  dc(name: string): Pick<TestDataCenter, 'name' | 'urls' | 'configuration' | 'env' | 'database'>;
  /** By name, for `test/support/merging.ts`. */
  readonly superusers: Readonly<Record<string, string>>;
  stop(): Promise<void>;
};

const places = { ny: 'New York', la: 'Los Angeles', fra: 'Frankfurt' } as const;

export async function testTrio({
  schema,
  size = 3,
  tables,
  weights = {},
  applications = {},
  approach = 'active-passive',
}: TrioOptions): Promise<Trio> {
  const names = Object.keys(places).slice(0, size);
  const passwords = testPasswords();
  const clusters: TestCluster[] = [];
  const stop = async () => {
    await Promise.all(clusters.splice(0).map((cluster) => cluster.stop()));
  };
  try {
    const databases = new Map<string, TestDatabase>();
    for (const name of names) {
      // Subscriptions go off and on all the time here; and what a vacuum locks for a moment is merged a moment later.
      const settings = { wal_retrieve_retry_interval: '50ms', autovacuum: 'off' };
      const cluster = await testCluster({ passwords, settings });
      clusters.push(cluster);
      const database = await cluster.database({ schema });
      const application = testRoleNames.application;
      await runSql(database.urls.owner, `GRANT ALL ON ALL TABLES IN SCHEMA public TO ${application}`);
      databases.set(name, database);
    }
    const data = (name: string) => databases.get(name) as TestDatabase;
    const written: WrittenConfiguration = {
      cluster: 'shop',
      approach,
      dataCenters: Object.fromEntries(names.map((name, index) => [name, writtenDataCenter(name, index, data(name))])),
      leases: { url: 'postgres://127.0.0.1:1/witness' },
      roles: testRoleNames,
      sessions: { keys: names.map((name) => generateKeyPair(name).publicJwk), domain: 'shop.localhost' },
      tables,
      merge: {
        weights: Object.fromEntries(Object.entries(weights).filter(([name]) => names.includes(name))),
        applications,
      },
    };
    const dcs = new Map(
      names.map((name) => [
        name,
        {
          name,
          database: data(name),
          urls: data(name).urls,
          configuration: createConfiguration(written, { here: name }),
          env: { LANEKEEPER_DC: name, LANEKEEPER_REPLICATION_PASSWORD: passwords.replication },
        },
      ]),
    );
    const trio: Trio = {
      names,
      dc(name) {
        const found = dcs.get(name);
        if (found === undefined) throw new Error(`There is no data center ${name} here`);
        return found;
      },
      superusers: Object.fromEntries(names.map((name) => [name, data(name).urls.superuser])),
      stop,
    };
    await applyPair(trio);
    return trio;
  } catch (error) {
    await stop();
    throw error;
  }
}

function writtenDataCenter(name: string, index: number, { cluster, name: database }: TestDatabase) {
  return {
    place: places[name as keyof typeof places],
    faultDomain: `region-${index + 1}`,
    database: `postgres://${cluster.host}:${cluster.port}/${database}`,
    url: `http://${name}.shop.localhost:8080`,
  };
}
