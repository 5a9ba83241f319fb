/**
 * Who listens where. Every data center has a loopback address of its own where the system allows it (Linux does), so
 * that faults can be aimed at one of them. Ports are any free ones; those of a kept lab are taken again.
 */

import { lookup } from 'node:dns/promises';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { canListenOn, freePort } from '../clusters/ports.ts';
import type { Address } from './configuration.ts';

export type DataCenterAddresses = {
  readonly edge: Address;
  readonly agent: Address;
  readonly apps: readonly Address[];
  /** Used where the application is in two pieces. */
  readonly backends: readonly Address[];
};

export type LabAddresses = {
  readonly hosts: Readonly<Record<string, string>>;
  readonly witnessHost: string;
  /** Of the members of the witness, when it is an etcd. */
  readonly etcd: readonly { readonly client: Address; readonly peer: Address }[];
  /** Of the payment service of an application that has one. */
  readonly payments: Address;
  readonly dataCenters: Readonly<Record<string, DataCenterAddresses>>;
};

/** What names below `localhost` lead to, in browsers and in curl (RFC 6761). */
export const namesHost = '127.0.0.1';

const instancesPerDataCenter = 2;
const etcdMembers = 3;
/** Where a person expects a web page. */
const firstEdgePort = 8080;

export async function chooseAddresses(
  dir: string,
  names: readonly string[],
  options: { readonly wellKnownPorts: boolean },
): Promise<LabAddresses> {
  const file = join(dir, 'addresses.json');
  const before = read(file);
  const own = (await Promise.all([...names.keys()].map((index) => canListenOn(ownHost(index))))).every(Boolean);
  const hosts = Object.fromEntries(names.map((name, index) => [name, own ? ownHost(index) : namesHost]));
  const witnessHost = own ? '127.0.2.1' : namesHost;
  const paymentsHost = own ? '127.0.3.1' : namesHost;
  const taken = new Set<number>();
  const free = async (on: readonly string[], preferred: number | undefined): Promise<number> => {
    for (;;) {
      const port = await freePort(on, preferred !== undefined && !taken.has(preferred) ? preferred : undefined);
      if (taken.has(port)) continue;
      taken.add(port);
      return port;
    }
  };
  const dataCenters: Record<string, DataCenterAddresses> = {};
  for (const [index, name] of names.entries()) {
    const host = hosts[name] as string;
    const last = before?.dataCenters[name];
    const wanted = last?.edge.port ?? (options.wellKnownPorts ? firstEdgePort + index : undefined);
    // The edge's port is used on both addresses, so that a name and an address lead to the same place.
    const edge = { host, port: await free([...new Set([host, namesHost])], wanted) };
    const agent = { host, port: await free([host], last?.agent.port) };
    const apps: Address[] = [];
    const backends: Address[] = [];
    for (let instance = 0; instance < instancesPerDataCenter; instance += 1) {
      apps.push({ host, port: await free([host], last?.apps[instance]?.port) });
      backends.push({ host, port: await free([host], last?.backends?.[instance]?.port) });
    }
    dataCenters[name] = { edge, agent, apps, backends };
  }
  const payments = { host: paymentsHost, port: await free([paymentsHost], before?.payments?.port) };
  const etcd: { client: Address; peer: Address }[] = [];
  for (let member = 0; member < etcdMembers; member += 1) {
    const last = before?.etcd?.[member];
    const at = async (port: number | undefined) => ({ host: witnessHost, port: await free([witnessHost], port) });
    etcd.push({ client: await at(last?.client.port), peer: await at(last?.peer.port) });
  }
  const addresses = { hosts, witnessHost, etcd, payments, dataCenters };
  writeFileSync(file, JSON.stringify(addresses), { mode: 0o600 });
  return addresses;
}

/**
 * Whether programs on this machine can resolve names below `localhost`. Browsers and curl always can; for others it is
 * up to the system's resolver.
 */
export async function namesResolve(name: string): Promise<boolean> {
  return lookup(name).then(
    ({ address }) => address === '::1' || address.startsWith('127.'),
    () => false,
  );
}

function ownHost(index: number): string {
  return `127.0.1.${index + 1}`;
}

/** Of an earlier version some may be missing. */
type Kept = Partial<LabAddresses> & {
  readonly dataCenters: Readonly<Record<string, Omit<DataCenterAddresses, 'backends'> & Partial<DataCenterAddresses>>>;
};

function read(file: string): Kept | null {
  try {
    return JSON.parse(readFileSync(file, 'utf8')) as Kept;
  } catch {
    return null;
  }
}
