/** What a cluster's streams are called in every data center, and what travels in which. */
import type { Configuration, TableName } from 'lanekeeper/config';
import type { DataCenterName } from 'lanekeeper/model';
import type { Catalog } from '../catalog.ts';

/** `homed`: records, deeds and what belongs to them. `rest`: what a feeder publishes, and the merge log; it never delays a commit. */
export const streamNames = ['homed', 'rest'] as const;
export type StreamName = (typeof streamNames)[number];

/** The publication that holds what changes as it is in its table. */
export function publicationName(stream: StreamName): string {
  return `lanekeeper_${stream}`;
}

/** The merge log is published by its inserts alone: what is inserted is deleted by the same transaction. */
export const mergePublication = 'lanekeeper_merge';

/** What a stream carries. */
export function publicationNames(stream: StreamName): readonly string[] {
  return stream === 'rest' ? [publicationName(stream), mergePublication] : [publicationName(stream)];
}

/** The slot on the publisher: named after the data center that reads it. */
export function slotName(subscriber: DataCenterName, stream: StreamName): string {
  return `lanekeeper_${subscriber}_${stream}`;
}

/** What is read here and fed by others, for whoever has to fetch from here what one of them had sent. Nobody subscribes to it. */
export const relayPublication = 'lanekeeper_relay';

/** What a relay slot is read with. The merge log leaves nothing in the log of where it arrives. */
export const relayPublications: readonly string[] = [...streamNames.map(publicationName), relayPublication];

/** The slot that keeps, for `peer`, what arrived here from a third data center. */
export function relaySlotName(peer: DataCenterName): string {
  return `lanekeeper_${peer}_relay`;
}

/** Two data centers have nobody to relay for. */
export function hasRelays(configuration: Configuration): boolean {
  return Object.keys(configuration.dataCenters).length > 2;
}

/** Where what a subscriber that is away has to read of the homed rows waits for its return (`deeds/aside.ts`). */
export function asideSlotName(subscriber: DataCenterName): string {
  return `${slotName(subscriber, 'homed')}_next`;
}

/** The subscription on the subscriber: named after the data center it reads from. */
export function subscriptionName(publisher: DataCenterName, stream: StreamName): string {
  return `lanekeeper_${publisher}_${stream}`;
}

/** Lanekeeper's own tables that travel with the homed rows: where a deed has arrived, everything before it has (R2). */
export const ownHomedTables: readonly TableName[] = [
  'lanekeeper.deed',
  'lanekeeper.acceptance',
  'lanekeeper.succession',
  'lanekeeper.adoption',
  'lanekeeper.claim',
  'lanekeeper.outcome',
  'lanekeeper.subscribed',
  'lanekeeper.homed_as',
  'lanekeeper.stranded',
  'lanekeeper.repair',
];

/** Those that travel with what is shared. */
export const ownRestTables: readonly TableName[] = ['lanekeeper.copy'];

/** What the merge log travels in. */
export const mergeTables: readonly TableName[] = ['lanekeeper.change'];

/** The other data centers, in the order of their numbers. */
export function peersOf(configuration: Configuration): readonly DataCenterName[] {
  return Object.values(configuration.dataCenters)
    .filter((dc) => dc.name !== configuration.here)
    .sort((a, b) => a.number - b.number)
    .map((dc) => dc.name);
}

/** In which stream a declared table travels out of `from`; null when `from` does not send it. */
export function streamOf(configuration: Configuration, table: TableName, from: DataCenterName): StreamName | null {
  const declared = configuration.tables[table];
  if (!declared) return null;
  if (declared.class === 'system-of-record') return 'homed';
  return declared.feeder === from ? 'rest' : null;
}

/** The user's tables that others feed and this data center reads, sorted. */
export function relayedTables(configuration: Configuration, catalog: Catalog): readonly TableName[] {
  const { here, dataCenters } = configuration;
  const from = Object.keys(dataCenters).filter((dc) => dc !== here);
  return from.flatMap((dc) => publishedTables(configuration, catalog, 'rest', dc)).sort();
}

/** A partition stands for the table it is a part of, as far up as that goes. */
export function declaredName(catalog: Catalog, table: TableName): TableName {
  let name = table;
  for (let parent = catalog.tables.get(name)?.partitionOf; parent; parent = catalog.tables.get(name)?.partitionOf) {
    name = parent;
  }
  return name;
}

/**
 * The user's tables that `from` publishes in `stream`, sorted. Partitions are not among them: they travel as their
 * partitioned table, so that one attached later is in the stream at once.
 */
export function publishedTables(
  configuration: Configuration,
  catalog: Catalog,
  stream: StreamName,
  from: DataCenterName,
): readonly TableName[] {
  return [...catalog.tables.values()]
    .filter((table) => table.partitionOf === null && streamOf(configuration, table.name, from) === stream)
    .map((table) => table.name)
    .sort();
}
