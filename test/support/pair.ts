/**
 * Two data centers (or more) and a witness for tests, each a real cluster: see README.md in this folder. With `link`,
 * everything between them goes through the lab's links, which delay and can be cut.
 */
import type { Cluster, LinksClient, Native, SettingValue } from '@lanekeeper/lab';
import { startLinks } from '@lanekeeper/lab';
import { type Configuration, createConfiguration, type WrittenConfiguration } from 'lanekeeper/config';
import { generateKeyPair, type KeyPair } from 'lanekeeper/session';
import {
  type TestCluster,
  type TestDatabase,
  type TestUrls,
  testCluster,
  testPasswords,
  testRoleNames,
} from './clusters.ts';

export type PairOptions = {
  /** Run in every data center, as the owner. */
  readonly schema: string;
  /** Default `ny` and `la`. */
  readonly dataCenters?: readonly string[];
  /** Laid over the defaults; `tables` and `claims` are what most tests give. */
  readonly configuration?: Partial<Omit<WrittenConfiguration, 'dataCenters'>>;
  /** With it, what one data center sees of another, and of the witness, goes through links. Needs a build. */
  readonly link?: { readonly delayMs?: number; readonly jitterMs?: number };
  /** Settings of every data center's PostgreSQL. */
  readonly settings?: Readonly<Record<string, SettingValue>>;
  /** The PostgreSQL of a data center, where it is not the one that all others run on. */
  readonly natives?: Readonly<Record<string, Native>>;
};

export type TestDataCenter = {
  readonly name: string;
  readonly database: TestDatabase;
  readonly cluster: Cluster;
  /** Direct connection URLs with passwords, not through links. */
  readonly urls: TestUrls;
  readonly key: KeyPair;
  /** As this data center's processes have it. */
  readonly configuration: Configuration;
  /** The same as written, for files that child processes read; secrets are in `env`. */
  readonly written: WrittenConfiguration;
  /** LANEKEEPER_DC, the signing key and all passwords: the environment of this data center's processes. */
  readonly env: Readonly<Record<string, string>>;
};

export type WrittenDataCenter = WrittenConfiguration['dataCenters'][string];

export type TestPair = {
  readonly names: readonly string[];
  dc(name: string): TestDataCenter;
  readonly witness: { readonly cluster: Cluster; readonly url: string };
  /** Only with `link`. */
  readonly links: LinksClient | null;
  /**
   * The configuration of `here` with changes, for addresses that are known late (agents, edges, applications):
   * `change` gets a copy of what was written.
   */
  configure(here: string, change: (written: WrittenConfiguration) => WrittenConfiguration): Configuration;
  /** An address in `from` that leads to `target` in `to`: through a link where there is one, else the target itself. */
  address(from: string, to: string, target: { host: string; port: number }): Promise<{ host: string; port: number }>;
  stop(): Promise<void>;
};

const witnessName = 'witness';

export async function testPair(options: PairOptions): Promise<TestPair> {
  const names = options.dataCenters ?? ['ny', 'la'];
  const passwords = testPasswords();
  const stops: (() => Promise<void>)[] = [];
  const stop = async (): Promise<void> => {
    await Promise.all(stops.splice(0).map((one) => one()));
  };
  try {
    const start = async (name: string): Promise<TestCluster> => {
      const native = options.natives?.[name];
      const { settings } = options;
      const cluster = await testCluster({ passwords, ...(settings && { settings }), ...(native && { native }) });
      stops.push(() => cluster.stop());
      return cluster;
    };
    const startedLinks = options.link ? startLinks({ defaults: options.link }) : null;
    startedLinks?.then(
      (links) => stops.push(() => links.stop()),
      () => {},
    );
    // Let everything settle before a failure stops what did start.
    const started = await Promise.allSettled([...names.map(start), start(witnessName), startedLinks]);
    for (const one of started) if (one.status === 'rejected') throw one.reason;
    const clusters = started.slice(0, -1).map((one) => (one as PromiseFulfilledResult<TestCluster>).value);
    const links = (await startedLinks)?.client ?? null;

    const databases = new Map<string, TestDatabase>();
    await Promise.all(
      names.map(async (name, index) => {
        databases.set(name, await (clusters[index] as TestCluster).database({ schema: options.schema }));
      }),
    );
    const witness = await (clusters[names.length] as TestCluster).database();
    const keys = new Map(names.map((name) => [name, generateKeyPair(name)] as const));
    const routes = new Map<string, { host: string; port: number }>();

    const address: TestPair['address'] = async (from, to, target) => {
      if (!links || from === to) return target;
      const key = `${from} ${to} ${target.host}:${target.port}`;
      const known = routes.get(key);
      if (known) return known;
      const { listen } = await links.addRoute({ from, to, target, listen: { host: '127.0.0.1', port: 0 } });
      routes.set(key, listen);
      return listen;
    };
    const writtenByDc = new Map<string, WrittenConfiguration>();
    for (const here of names) {
      writtenByDc.set(here, await write(here, names, options, { databases, witness, keys, address }));
    }
    const writtenOf = (here: string): WrittenConfiguration => {
      const written = writtenByDc.get(here);
      if (!written) throw new Error(`There is no data center ${here} in this pair`);
      return structuredClone(written);
    };

    const dcs = new Map(
      names.map((name): readonly [string, TestDataCenter] => {
        const database = databases.get(name) as TestDatabase;
        const key = keys.get(name) as KeyPair;
        const written = writtenOf(name);
        return [
          name,
          {
            name,
            database,
            cluster: database.cluster,
            get urls() {
              return database.urls;
            },
            key,
            written,
            configuration: createConfiguration(written, { here: name }),
            env: {
              LANEKEEPER_DC: name,
              LANEKEEPER_SIGNING_KEY: JSON.stringify(key.privateJwk),
              LANEKEEPER_OWNER_PASSWORD: passwords.owner,
              LANEKEEPER_APPLICATION_PASSWORD: passwords.application,
              LANEKEEPER_AGENT_PASSWORD: passwords.agent,
              LANEKEEPER_REPLICATION_PASSWORD: passwords.replication,
              LANEKEEPER_WITNESS_PASSWORD: passwords.agent,
            },
          },
        ];
      }),
    );

    return {
      names,
      dc(name) {
        const found = dcs.get(name);
        if (!found) throw new Error(`There is no data center ${name} in this pair`);
        return found;
      },
      witness: { cluster: witness.cluster, url: witness.urls.agent },
      links,
      configure: (here, change) => createConfiguration(change(writtenOf(here)), { here }),
      address,
      stop,
    };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** For `configure`: as it was while there were only these data centers. */
export function onlyThese(names: readonly string[]): (written: WrittenConfiguration) => WrittenConfiguration {
  return (written) => {
    const keys = written.sessions?.keys;
    if (!Array.isArray(keys)) throw new TypeError('the keys are in the configuration itself');
    const theirs = keys.filter(({ kid }) => names.includes(kid.replace(/-\d+$/, '')));
    return {
      ...written,
      dataCenters: Object.fromEntries(Object.entries(written.dataCenters).filter(([name]) => names.includes(name))),
      sessions: { ...written.sessions, keys: theirs },
    };
  };
}

/** What a person in `here` would write. */
async function write(
  here: string,
  names: readonly string[],
  options: PairOptions,
  known: {
    readonly databases: ReadonlyMap<string, TestDatabase>;
    readonly witness: TestDatabase;
    readonly keys: ReadonlyMap<string, KeyPair>;
    readonly address: TestPair['address'];
  },
): Promise<WrittenConfiguration> {
  const dataCenters: Record<string, WrittenDataCenter> = {};
  for (const [index, name] of names.entries()) {
    const database = known.databases.get(name) as TestDatabase;
    const { host, port } = await known.address(here, name, database.cluster);
    dataCenters[name] = {
      place: `Place ${index + 1}`,
      faultDomain: `region-${index + 1}`,
      database: `postgres://${host}:${port}/${database.name}`,
      url: `http://${name}.shop.localhost:8080`,
    };
  }
  const witness = await known.address(here, witnessName, known.witness.cluster);
  return {
    cluster: 'shop',
    approach: 'full-active-active',
    tables: {},
    ...options.configuration,
    dataCenters,
    leases: {
      url: `postgres://${testRoleNames.agent}@${witness.host}:${witness.port}/${known.witness.name}`,
      ...options.configuration?.leases,
    },
    roles: { ...testRoleNames, ...options.configuration?.roles },
    sessions: {
      keys: names.map((name) => (known.keys.get(name) as KeyPair).publicJwk),
      domain: 'shop.localhost',
      ...options.configuration?.sessions,
    },
  };
}
