/** The lab's PostgreSQL: a cluster for each data center and one for the witness, from nothing to replicating both ways. */
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { sectionsOf as guessedSections, guessTables, writeSections } from '@lanekeeper/server/advise';
import { applyChanges, type Connect, connect, ensureStreams, readCatalog } from '@lanekeeper/server/postgres';
import { loadConfiguration, type RoleName } from 'lanekeeper/config';
import { Client } from 'pg';
import { type Cluster, startCluster } from '../clusters/cluster.ts';
import { ensureDatabase, ensurePlainDatabase, type Role, roleUrl } from '../clusters/database.ts';
import { sleepMs } from '../processes/observe.ts';
import type { LabAddresses } from './addresses.ts';
import type { LabApplication } from './application.ts';
import type { Disposer } from './disposer.ts';
import { type Environments, roleNames } from './environments.ts';
import type { LabFolder } from './folder.ts';
import { placeOf } from './places.ts';
import type { LabSecrets } from './secrets.ts';
import type { Sections } from './sections.ts';

export const databaseName = 'shop';
export const witnessDatabase = 'witness';

export type LabClusters = {
  readonly byName: Readonly<Record<string, Cluster>>;
  /** Null when the witness is an etcd. */
  readonly witness: Cluster | null;
  place(name: string): string;
  urls(name: string, secrets: LabSecrets): Readonly<Record<RoleName | 'superuser', string>>;
  witnessUrl(secrets: LabSecrets): string | null;
};

export async function startClusters(
  folder: LabFolder,
  names: readonly string[],
  addresses: Pick<LabAddresses, 'hosts' | 'witnessHost'> & { readonly witness: boolean },
  disposer: Disposer,
): Promise<LabClusters> {
  const start = async (name: string, host: string): Promise<Cluster> => {
    const dir = join(folder.clusters, name, 'postgres');
    const cluster = await startCluster({ dir, host, env: name === 'witness' ? {} : await clockOf(dir) });
    // What is thrown away need not be written to disk first.
    await disposer.add(() => cluster.stop(folder.keep ? 'fast' : 'immediate'));
    return cluster;
  };
  const started = await Promise.allSettled([
    ...names.map((name) => start(name, addresses.hosts[name] as string)),
    ...(addresses.witness ? [start('witness', addresses.witnessHost)] : []),
  ]);
  const clusters = started.map((one) => {
    if (one.status === 'rejected') throw one.reason;
    return one.value;
  });
  const byName = Object.fromEntries(names.map((name, index) => [name, clusters[index] as Cluster]));
  const witness = clusters[names.length] ?? null;
  return {
    byName,
    witness,
    place: (name) => placeOf(name).place,
    urls(name, secrets) {
      const cluster = byName[name] as Cluster;
      const url = (role: RoleName): string => roleUrl(cluster, databaseName, labRole(role, secrets));
      return {
        owner: url('owner'),
        application: url('application'),
        agent: url('agent'),
        replication: url('replication'),
        superuser: cluster.superuserUrl(databaseName),
      };
    },
    witnessUrl: (secrets) => (witness === null ? null : roleUrl(witness, witnessDatabase, witnessRole(secrets))),
  };
}

/** The library that lets a drill set a data center's clock: `LANEKEEPER_LAB_CLOCKS` names libfaketime. */
const clocksVariable = 'LANEKEEPER_LAB_CLOCKS';
/** In a cluster's folder: by how much its clock is wrong, as libfaketime wants it, for example `-3600`. */
export const clockFile = 'clock';

async function clockOf(dir: string): Promise<Readonly<Record<string, string>>> {
  const library = process.env[clocksVariable];
  if (!library) return {};
  const file = join(dir, clockFile);
  await mkdir(dir, { recursive: true, mode: 0o755 });
  await writeFile(file, '+0\n', { mode: 0o644 });
  return {
    LD_PRELOAD: library,
    FAKETIME_TIMESTAMP_FILE: file,
    FAKETIME_NO_CACHE: '1',
    FAKETIME_DISABLE_SHM: '1',
    DONT_FAKE_MONOTONIC: '1',
    FAKETIME_DONT_FAKE_MONOTONIC: '1',
  };
}

/** A postmaster that ends by itself is started again, as a service manager would, unless its name is in `off`. */
export function watchClusters(
  clusters: LabClusters,
  disposer: Disposer,
  off: ReadonlySet<string>,
  say: (text: string) => void,
): void {
  const watch = async (name: string, cluster: Cluster): Promise<void> => {
    while (!disposer.closed) {
      await cluster.exited();
      if (disposer.closed) return;
      await sleepMs(1_000);
      if (disposer.closed || off.has(name) || cluster.running()) continue;
      try {
        await cluster.start();
        say(`PostgreSQL in ${name} had ended and runs again`);
      } catch (error) {
        say(`PostgreSQL in ${name} does not start: ${(error as Error).message}`);
      }
    }
    if (cluster.running()) await cluster.stop('immediate');
  };
  for (const [name, cluster] of Object.entries(clusters.byName)) void watch(name, cluster);
  if (clusters.witness !== null) void watch('witness', clusters.witness);
}

function labRole(role: RoleName, secrets: LabSecrets): Role {
  return { name: roleNames[role], password: secrets.passwords[role] };
}

function witnessRole(secrets: LabSecrets): Role {
  return { name: roleNames.agent, password: secrets.passwords.witness };
}

export async function prepareDatabases(lab: {
  readonly clusters: LabClusters;
  readonly names: readonly string[];
  readonly folder: LabFolder;
  readonly secrets: LabSecrets;
  readonly application: LabApplication;
  readonly environments: Environments;
}): Promise<void> {
  const { clusters, secrets, application } = lab;
  const roles = {
    owner: labRole('owner', secrets),
    application: labRole('application', secrets),
    agent: labRole('agent', secrets),
    replication: labRole('replication', secrets),
  };
  const prepare = async (name: string): Promise<void> => {
    await ensureDatabase(clusters.byName[name] as Cluster, { name: databaseName, roles });
    const done = join(lab.folder.dir, name, 'prepared');
    if (existsSync(done)) return;
    const { owner } = clusters.urls(name, secrets);
    await application.prepare({ url: owner, env: { PATH: process.env.PATH, ...lab.environments[name] } });
    if (application.kind === 'own') await grantRows(owner, roles.application.name);
    mkdirSync(join(lab.folder.dir, name), { recursive: true, mode: 0o711 });
    writeFileSync(done, '');
  };
  const { witness } = clusters;
  await Promise.all([
    ...lab.names.map(prepare),
    ...(witness === null ? [] : [ensurePlainDatabase(witness, witnessDatabase, witnessRole(secrets))]),
  ]);
}

/** The user's schema was brought in by the owner; the application may read and write its rows, and owns nothing. */
async function grantRows(ownerUrl: string, application: string): Promise<void> {
  const client = new Client({ connectionString: ownerUrl });
  await client.connect();
  try {
    const { rows } = await client.query<{ schema: string }>(
      `SELECT nspname AS schema FROM pg_catalog.pg_namespace
        WHERE nspname NOT LIKE 'pg\\_%' AND nspname <> 'information_schema'
          AND pg_catalog.has_schema_privilege(oid, 'USAGE')`,
    );
    const to = client.escapeIdentifier(application);
    for (const { schema } of rows) {
      const name = client.escapeIdentifier(schema);
      await client.query(`GRANT USAGE ON SCHEMA ${name} TO ${to}`).catch(() => {});
      await client.query(`GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA ${name} TO ${to}`);
      await client.query(`GRANT SELECT, USAGE ON ALL SEQUENCES IN SCHEMA ${name} TO ${to}`);
    }
  } finally {
    await client.end();
  }
}

/** The application's own sections, or those guessed from its tables, which are then written into the folder. */
export async function sectionsOf(
  application: LabApplication,
  clusters: LabClusters,
  first: string,
  secrets: LabSecrets,
  dir: string,
): Promise<{ readonly sections: Sections; readonly remarks: readonly string[] }> {
  if (application.sections) return { sections: application.sections, remarks: [] };
  const client = new Client({ connectionString: clusters.urls(first, secrets).owner });
  await client.connect();
  try {
    // Nobody has used it yet: what belongs to no account is written by one data center, whatever it is called.
    const guess = guessTables(await readCatalog(client), { dataCenter: first, claims: 'one-dc', rest: 'feeder' });
    if (guess.root === null) {
      const names = guess.tables.map(({ table }) => table.name).join(', ') || 'none';
      throw new Error(
        `None of your tables looks like the one of the accounts (there are: ${names}): say what they are in a lanekeeper.yaml and give it with --config`,
      );
    }
    const file = join(dir, 'guessed.yaml');
    writeFileSync(
      file,
      `# Guessed from keys and names. Correct it, and give it back with --config.\n${writeSections(guess, first)}`,
    );
    return {
      sections: guessedSections(guess, first),
      remarks: [
        `Your tables, guessed from their keys and names (${file}):`,
        ...guess.tables.map(({ table, why }) => `  ${table.name}: ${why}`),
        ...guess.claims.map(
          ({ table, column }) =>
            `  ${table}.${column}: unique everywhere, so new values are registered in ${first} only`,
        ),
        ...guess.ignored.map(({ name }) => `  ${name}: left alone`),
      ],
    };
  } finally {
    await client.end();
  }
}

const streamsTimeoutMs = 60_000;

/** `apply` in every data center, then streams in all directions. */
export async function applyEverywhere(lab: {
  readonly names: readonly string[];
  readonly clusters: LabClusters;
  readonly secrets: LabSecrets;
  readonly configFiles: Readonly<Record<string, string>>;
  readonly environments: Environments;
  /** True when everything is being stopped, so that waiting has no end any more. */
  readonly givenUp: () => boolean;
}): Promise<void> {
  const places = await Promise.all(
    lab.names.map(async (name) => {
      const env = lab.environments[name] as Record<string, string>;
      const { configuration } = await loadConfiguration({ file: lab.configFiles[name], env, dc: name });
      const urls = lab.clusters.urls(name, lab.secrets);
      const as =
        (role: RoleName): Connect =>
        (applicationName) =>
          connect(urls[role], { applicationName });
      return { name, env, configuration, as };
    }),
  );
  // A kept lab under another approach: one data center changes first, and the other when it has heard of that.
  for (let left = places, deadlineMs = performance.now() + streamsTimeoutMs; left.length > 0; ) {
    const results = await Promise.all(
      left.map(async (place) => ({ place, result: await applyChanges(place.as('owner'), place.configuration) })),
    );
    const later = results.filter(({ result }) => result.kind === 'refused' && waitsForOthers(result.problems));
    const [failed] = results.filter(({ result }) => result.kind !== 'applied');
    if (failed && (later.length === places.length || !later.includes(failed) || performance.now() > deadlineMs)) {
      throw new Error(`apply in ${failed.place.name}: ${whyNotApplied(failed.result)}`);
    }
    left = later.map(({ place }) => place);
    if (left.length === 0) break;
    // Links have other ports than the last time, and what is waited for comes through them.
    for (const { env, configuration, as } of places)
      await ensureStreams({ connect: as('agent'), configuration, env }).catch(() => {});
    await sleepMs(300);
  }
  await Promise.all(
    places.map(async ({ name, env, configuration, as }) => {
      const deadlineMs = performance.now() + streamsTimeoutMs;
      for (;;) {
        const result = await ensureStreams({ connect: as('agent'), configuration, env });
        if (result.kind === 'ensured' && result.ready) return;
        const why =
          result.kind === 'ensured' ? result.streams.map(({ message }) => message).join('; ') : whyNotApplied(result);
        const hopeless =
          result.kind === 'ensured' && result.streams.some(({ kind }) => kind === 'lost' || kind === 'failed');
        if (hopeless || lab.givenUp() || performance.now() > deadlineMs) throw new Error(`streams in ${name}: ${why}`);
        await sleepMs(300);
      }
    }),
  );
}

/** Waits until the other data centers have everything that this one has written so far. */
export async function awaitArrival(url: string, givenUp: () => boolean): Promise<void> {
  const client = new Client({ connectionString: url });
  await client.connect();
  try {
    const position = (await client.query<{ lsn: string }>('SELECT pg_catalog.pg_current_wal_lsn() AS lsn')).rows[0]
      ?.lsn;
    const deadlineMs = performance.now() + streamsTimeoutMs;
    while (performance.now() < deadlineMs && !givenUp()) {
      const { rows } = await client.query<{ behind: string }>(
        `SELECT count(*) AS behind FROM pg_catalog.pg_replication_slots
          WHERE slot_type = 'logical' AND slot_name ~ '_(homed|rest)$' AND database = current_database()
            AND confirmed_flush_lsn < $1`,
        [position],
      );
      if (Number(rows[0]?.behind) === 0) return;
      await sleepMs(100);
    }
    throw new Error(`What was written has not arrived everywhere after ${streamsTimeoutMs} ms`);
  } finally {
    await client.end();
  }
}

function waitsForOthers(problems: readonly { readonly kind: string }[]): boolean {
  return problems.every(({ kind }) => kind === 'homes');
}

function whyNotApplied(result: { readonly kind: string }): string {
  const { kind, ...rest } = result as { kind: string; message?: string; problems?: readonly { message: string }[] };
  if (rest.message) return rest.message;
  if (rest.problems) return rest.problems.map(({ message }) => message).join('; ');
  return `${kind} ${JSON.stringify(rest)}`;
}
