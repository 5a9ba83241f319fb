/**
 * The lab: two or three data centers on one machine, for real. A map of this room:
 *
 * - `lab.ts` (here): what is started, in which order, and how it is stopped
 * - `databases.ts`: clusters, roles, schema, `apply`, streams · `services.ts`: agents, edges, applications
 * - `folder.ts`, `secrets.ts`, `addresses.ts`: what a kept lab finds again · `configuration.ts`, `places.ts`: files written
 * - `application.ts`, `infer.ts`, `approach.ts`: the storefront or the user's own, under one of the five approaches
 * - `description.ts`: lab.json · `page.ts`: for people
 * - `payments.ts`: the service that the storefront has its orders charged by
 * - `etcd.ts`: the witness when it is not PostgreSQL
 * - `disposer.ts`: what must be stopped · `switchboard.ts`: stops, kills and starts single things, for drills
 *
 * What holds:
 * 1. Everything between data centers, and to the witness, goes through the links' process; nothing within one does.
 * 2. Each data center has its own configuration, keys and processes, and nothing of another one's.
 * 3. Whatever ends the lab, no process is left; and no folder, unless it was to be kept.
 */
import { mkdirSync, openSync } from 'node:fs';
import { join } from 'node:path';
import type { ApproachName } from 'lanekeeper/model';
import type { Cluster } from '../clusters/cluster.ts';
import type { LinksAccess, LinksClient } from '../links/client.ts';
import { startLinks } from '../links/start.ts';
import { processStart } from '../processes/observe.ts';
import { type ServiceEvent, Supervisor } from '../processes/supervisor.ts';
import { chooseAddresses, type LabAddresses, namesHost, namesResolve } from './addresses.ts';
import { type LabApplication, splitOf } from './application.ts';
import { approachOf, isSplit, underApproach } from './approach.ts';
import { type Address, type ConfigurationInput, type View, writeConfiguration } from './configuration.ts';
import {
  applyEverywhere,
  awaitArrival,
  databaseName,
  type LabClusters,
  prepareDatabases,
  sectionsOf,
  startClusters,
  watchClusters,
  witnessDatabase,
} from './databases.ts';
import type { DataCenterDescription, LabDescription } from './description.ts';
import type { Disposer } from './disposer.ts';
import { type Environments, roleNames, writeEnvironments } from './environments.ts';
import { checkStore, startEtcd } from './etcd.ts';
import type { LabFolder } from './folder.ts';
import { findPayments } from './payments.ts';
import { type LabSecrets, secretsIn } from './secrets.ts';
import { feedersOf, fitSections, restless, type Sections } from './sections.ts';
import { startServices } from './services.ts';
import { startSwitchboard } from './switchboard.ts';

export type LabOptions = {
  readonly dataCenters: readonly string[];
  /** What the witness is made of. */
  readonly leases: 'postgres' | 'etcd';
  /** Round trip between data centers, and to the witness. */
  readonly rttMs: number;
  /** Null: as the application's configuration says. */
  readonly approach: ApproachName | null;
  /** Null: as configured. Otherwise accounts also move as often as anybody likes. */
  readonly stickiness: string | null;
  readonly application: LabApplication;
  readonly folder: LabFolder;
  /** `names`: the data centers' urls are names below localhost; `auto`: where programs here can resolve them. */
  readonly hosts: 'names' | 'addresses' | 'auto';
  /** Edges on 8080 and up where free. */
  readonly wellKnownPorts: boolean;
  readonly onProgress: (progress: LabProgress) => void;
};

export type LabProgress =
  | { readonly kind: 'doing'; readonly what: string }
  | { readonly kind: 'done'; readonly what: string; readonly ms: number }
  | { readonly kind: 'remark'; readonly text: string }
  | { readonly kind: 'service'; readonly event: ServiceEvent };

export type Lab = {
  readonly description: LabDescription;
  readonly secrets: LabSecrets;
};

/** The site of customers in the links: their way to an edge by name can be cut as well. */
export const customersSite = 'customers';
export const witnessSite = 'witness';

const parentDomain = 'shop.localhost';

/**
 * Starts everything; resolves when a customer can shop in every data center. What was started is in `disposer`, also
 * when this throws.
 */
export async function startLab(options: LabOptions, disposer: Disposer): Promise<Lab> {
  const { folder, dataCenters: names } = options;
  const { dir } = folder;
  checkStore(folder.clusters, options.leases);
  const timed = timer(options);
  const logs = join(dir, 'logs');
  mkdirSync(logs, { recursive: true });
  const secrets = secretsIn(dir, names);
  const givenUp = (): boolean => disposer.closed;
  const stopIfClosed = (): void => {
    if (disposer.closed) throw new Error('The lab was stopped while it started');
  };

  const addresses = await chooseAddresses(dir, names, options);
  const supervisor = new Supervisor(logs, (event) => options.onProgress({ kind: 'service', event }));
  const [clusters, links] = await timed(
    'PostgreSQL for every data center and the witness, and links between them',
    () =>
      all(
        startClusters(folder, names, { ...addresses, witness: options.leases === 'postgres' }, disposer),
        startLinksProcess(options, join(logs, 'links.log'), disposer),
      ),
  );
  stopIfClosed();
  const off = new Set<string>();
  watchClusters(clusters, disposer, off, (text) => options.onProgress({ kind: 'remark', text }));
  const witness = new Supervisor(logs, (event) => options.onProgress({ kind: 'service', event }));
  await disposer.add(() => witness.stop());
  await disposer.add(() => supervisor.stop());

  const environments = await writeEnvironments(dir, names, secrets);
  await timed('Roles, tables and first rows', () =>
    all(
      prepareDatabases({ clusters, names, folder, secrets, application: options.application, environments }),
      options.leases === 'etcd'
        ? startEtcd(witness, join(folder.clusters, 'witness', 'etcd'), addresses)
        : Promise.resolve(),
    ),
  );
  stopIfClosed();
  const guessed = await sectionsOf(options.application, clusters, names[0] as string, secrets, dir);
  const sections = underApproach(restless(fitSections(guessed.sections, names), options.stickiness), options.approach);
  const approach = approachOf(sections);
  for (const text of guessed.remarks) options.onProgress({ kind: 'remark', text });

  const urls = await publicUrls(names, addresses, options.hosts);
  const configFiles = await writeConfigurations({ dir, names, addresses, clusters, links, secrets, sections, urls });
  for (const [name, file] of Object.entries(configFiles)) {
    (environments[name] as Record<string, string>).LANEKEEPER_CONFIG = file;
  }
  await timed('Fence, deeds and streams', () =>
    applyEverywhere({ names, clusters, secrets, configFiles, environments, givenUp }),
  );
  stopIfClosed();

  const { application } = options;
  const pieces = isSplit(approach) ? splitOf(application) : null;
  const payments = await findPayments({ application, names, addresses, links, dir });
  await timed(`Agents, edges and ${application.kind === 'storefront' ? 'the storefront' : 'your application'}`, () =>
    all(
      startServices({
        supervisor,
        names,
        addresses,
        secrets,
        environments,
        clusters,
        application,
        pieces,
        payments,
        givenUp,
      }),
      publish(application, sections, clusters, secrets, environments, givenUp),
    ),
  );
  stopIfClosed();

  await setDistance(links, options.rttMs);
  const services = () => new Map([...supervisor.services(), ...witness.services()]);
  const switchboard = await startSwitchboard({ supervisor: { services }, clusters, names, off }, disposer);
  const description = await describe({
    approach,
    switchboard,
    names,
    dir,
    addresses,
    clusters,
    secrets,
    links: links.access,
    urls,
    configFiles,
    environments,
    payments: payments === null ? null : origin(addresses.payments),
  });
  folder.announce(description);
  return { description, secrets };
}

/** In the data centers that write tables for the others. */
async function publish(
  application: LabApplication,
  sections: Sections,
  clusters: LabClusters,
  secrets: LabSecrets,
  environments: Environments,
  givenUp: () => boolean,
): Promise<void> {
  if (!application.publish) return;
  for (const name of feedersOf(sections)) {
    const env = { PATH: process.env.PATH, ...environments[name] };
    const { owner, agent } = clusters.urls(name, secrets);
    await application.publish({ url: owner, env });
    await awaitArrival(agent, givenUp);
  }
}

/** Distance matters from the first customer on: until then everything is next door, so that starting is quick. */
async function setDistance(links: LinksClient, rttMs: number): Promise<void> {
  for (const { from, to } of (await links.state()).directions) {
    if (from !== customersSite && to !== customersSite) await links.change(from, to, { delayMs: rttMs / 2 });
  }
}

async function startLinksProcess(_options: LabOptions, logFile: string, disposer: Disposer): Promise<LinksClient> {
  const links = await startLinks({ defaults: { delayMs: 0 }, logFd: openSync(logFile, 'a') });
  await disposer.add(() => links.stop());
  return links.client;
}

type Urls = { readonly domain: string | null; readonly byName: Readonly<Record<string, string>> };

async function publicUrls(
  names: readonly string[],
  addresses: LabAddresses,
  hosts: LabOptions['hosts'],
): Promise<Urls> {
  const nameOf = (name: string): string => `${name}.${parentDomain}`;
  const useNames = hosts === 'names' || (hosts === 'auto' && (await namesResolve(nameOf(names[0] as string))));
  const url = (name: string): string => {
    const { host, port } = (addresses.dataCenters[name] as LabAddresses['dataCenters'][string]).edge;
    return `http://${useNames ? nameOf(name) : host}:${port}`;
  };
  return {
    // Whoever comes by a name shares his session between them, also where the urls are addresses.
    domain: parentDomain,
    byName: Object.fromEntries(names.map((name) => [name, url(name)])),
  };
}

async function writeConfigurations(lab: {
  readonly dir: string;
  readonly names: readonly string[];
  readonly addresses: LabAddresses;
  readonly clusters: LabClusters;
  readonly links: LinksClient;
  readonly secrets: LabSecrets;
  readonly sections: Parameters<typeof writeConfiguration>[1]['sections'];
  readonly urls: Urls;
}): Promise<Readonly<Record<string, string>>> {
  const { names, addresses, clusters, links } = lab;
  /** An address in `from` that leads to `target` in `to`. */
  const through = async (from: string, to: string, { host, port }: Address): Promise<Address> => {
    const listen = { host: addresses.hosts[from] ?? namesHost, port: 0 };
    return (await links.addRoute({ from, to, target: { host, port }, listen })).listen;
  };
  const leasesFrom = async (here: string): Promise<ConfigurationInput['leases']> => {
    if (clusters.witness === null) {
      const members = await Promise.all(addresses.etcd.map(({ client }) => through(here, witnessSite, client)));
      return { store: 'etcd', endpoints: members.map(origin) };
    }
    const { host, port } = await through(here, witnessSite, clusters.witness);
    return { url: `postgres://${roleNames.agent}@${host}:${port}/${witnessDatabase}` };
  };
  const files: Record<string, string> = {};
  for (const here of names) {
    const views: Record<string, View> = {};
    for (const name of names) {
      const at = addresses.dataCenters[name] as LabAddresses['dataCenters'][string];
      const database = clusters.byName[name] as Cluster;
      const seen = (address: Address): Promise<Address> =>
        name === here ? Promise.resolve({ host: address.host, port: address.port }) : through(here, name, address);
      const [databaseAddress, edge, agent] = await Promise.all([seen(database), seen(at.edge), seen(at.agent)]);
      views[name] = {
        database: databaseAddress,
        edge,
        agent,
        applications: name === here ? at.apps : [],
        backends: isSplit(approachOf(lab.sections)) ? await Promise.all(at.backends.map(seen)) : [],
        url: lab.urls.byName[name] as string,
      };
    }
    files[here] = await writeConfiguration(join(lab.dir, here), {
      here,
      cluster: 'shop',
      databaseName,
      views,
      leases: await leasesFrom(here),
      publicKeys: names.map((name) => (lab.secrets.keys[name] as LabSecrets['keys'][string]).publicJwk),
      sections: lab.sections,
      domain: lab.urls.domain,
    });
  }
  // Customers who type a name arrive at 127.0.0.1, wherever the edge listens.
  for (const name of names) {
    const { edge } = addresses.dataCenters[name] as LabAddresses['dataCenters'][string];
    if (edge.host === namesHost) continue;
    await links.addRoute({ from: customersSite, to: name, target: edge, listen: { host: namesHost, port: edge.port } });
  }
  return files;
}

const origin = ({ host, port }: Address): string => `http://${host}:${port}`;

async function describe(lab: {
  readonly approach: ApproachName;
  readonly names: readonly string[];
  readonly dir: string;
  readonly addresses: LabAddresses;
  readonly clusters: LabClusters;
  readonly secrets: LabSecrets;
  readonly links: LinksAccess;
  readonly switchboard: LabDescription['switchboard'];
  readonly urls: Urls;
  readonly configFiles: Readonly<Record<string, string>>;
  readonly environments: Environments;
  readonly payments: string | null;
}): Promise<LabDescription> {
  const dataCenters: Record<string, DataCenterDescription> = {};
  for (const name of lab.names) {
    const at = lab.addresses.dataCenters[name] as LabAddresses['dataCenters'][string];
    const databases = lab.clusters.urls(name, lab.secrets);
    dataCenters[name] = {
      place: lab.clusters.place(name),
      edge: origin(at.edge),
      url: lab.urls.byName[name] as string,
      apps: at.apps.map(origin),
      backends: isSplit(lab.approach) ? at.backends.map(origin) : [],
      database: databases.owner,
      databases,
      agent: origin(at.agent),
      config: lab.configFiles[name] as string,
      environment: lab.environments[name] as Record<string, string>,
    };
  }
  return {
    approach: lab.approach,
    storefront: (dataCenters[lab.names[0] as string] as DataCenterDescription).edge,
    dataCenters,
    payments: lab.payments,
    witness: {
      database: lab.clusters.witnessUrl(lab.secrets),
      endpoints: lab.clusters.witness === null ? lab.addresses.etcd.map(({ client }) => origin(client)) : [],
    },
    links: lab.links,
    switchboard: lab.switchboard,
    dir: lab.dir,
    pid: process.pid,
    processStart: (await processStart(process.pid)) ?? '',
  };
}

function timer(options: Pick<LabOptions, 'onProgress'>) {
  return async <T>(what: string, work: () => Promise<T>): Promise<T> => {
    const startMs = performance.now();
    options.onProgress({ kind: 'doing', what });
    const result = await work();
    options.onProgress({ kind: 'done', what, ms: performance.now() - startMs });
    return result;
  };
}

/** Like Promise.all, but an error waits until the others have settled, so that nothing starts after the clean-up. */
async function all<A, B>(a: Promise<A>, b: Promise<B>): Promise<[A, B]> {
  const settled = await Promise.allSettled([a, b]);
  for (const one of settled) if (one.status === 'rejected') throw one.reason;
  return [await a, await b];
}
