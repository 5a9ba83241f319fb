/** Takes old streams and slots between the two away, on both sides, and empties the tables of the one that is seeded. */
import type { Client } from 'pg';
import { quoteTable } from '../fence/names.ts';
import { readCatalog } from '../inspect/read-catalog.ts';
import { mergedNames } from '../merge/index.ts';
import { splitName } from '../sql-text.ts';
import { asReplica } from '../stranded/undo.ts';
import { dropSlot, dropSubscription } from '../streams/drop.ts';
import { createSlot } from '../streams/ensure.ts';
import { slotName, streamNames, subscriptionName } from '../streams/names.ts';
import { databaseProblem, inTransaction } from '../transaction.ts';
import { seedName, seedSlot } from './copy.ts';
import { type JoinSides, type Sessions, travellingTables } from './sides.ts';

export async function dropStreams(sessions: Sessions, { target, source }: JoinSides): Promise<void> {
  const [here, there] = [target.configuration.here, source.configuration.here];
  const targetAgent = await sessions.get('target', 'agent');
  const sourceAgent = await sessions.get('source', 'agent');
  const ours = [...streamNames.map((stream) => subscriptionName(there, stream)), seedName(there)];
  for (const name of ours) await dropSubscription(targetAgent, name);
  const theirs = streamNames.map((stream) => subscriptionName(here, stream));
  for (const name of theirs) await dropSubscription(sourceAgent, name);
  await targetAgent.query('DELETE FROM lanekeeper.stream WHERE subscription = ANY ($1)', [ours]);
  await sourceAgent.query('DELETE FROM lanekeeper.stream WHERE subscription = ANY ($1)', [theirs]);
  const sourceReplication = await sessions.get('source', 'replication');
  await dropSlot(sourceReplication, seedSlot(here));
  for (const stream of streamNames) {
    await dropSlot(sourceReplication, slotName(here, stream));
    // At once, since without it the source could not prove that nothing written there is lost to us, and had no lease.
    await createSlot(sourceReplication, slotName(here, stream));
  }
  const targetReplication = await sessions.get('target', 'replication');
  for (const stream of streamNames) await dropSlot(targetReplication, slotName(there, stream));
}

/** What nobody replicates, and what says something of rows that are about to go. */
const ownLocalTables = [
  'lanekeeper.lineage',
  'lanekeeper.takeover',
  'lanekeeper.conflict_count',
  'lanekeeper.drain',
  'lanekeeper.version',
  'lanekeeper.merge_pending',
  'lanekeeper.floor',
  'lanekeeper.merge_mark',
  'lanekeeper.merge_heard',
  'lanekeeper.announced',
];

/**
 * All at once, or table by table where another table refers to one of them. As replica: no trigger and no foreign key
 * makes more of it. The sequences stay: what they gave out was seen by somebody.
 */
export async function emptyTables(sessions: Sessions, { target, source }: JoinSides): Promise<string | null> {
  const client = await sessions.get('target', 'agent');
  const { tables } = await readCatalog(client);
  const names = [
    ...travellingTables(target.configuration, source.configuration.here),
    ...mergedNames(target.configuration),
    ...ownLocalTables,
  ].filter((name) => name.startsWith('lanekeeper.') || tables.has(name));
  const quoted = names.map((name) => {
    const only = tables.get(name)?.kind === 'partitioned' ? '' : 'ONLY ';
    return `${only}${quoteTable(splitName(name))}`;
  });
  try {
    return await asReplica(client, () => emptyAll(client, quoted));
  } catch (thrown) {
    const problem = databaseProblem(thrown);
    if (problem === null) throw thrown;
    return problem.message;
  }
}

async function emptyAll(client: Client, tables: readonly string[]): Promise<string | null> {
  const truncated = await inTransaction(client, () => client.query(`TRUNCATE ${tables.join(', ')}`));
  if (truncated.kind === 'committed') return null;
  // feature_not_supported: a table that stays refers to one of these.
  if (truncated.kind === 'failed' && truncated.error.code !== '0A000') return truncated.error.message;
  for (const table of tables) {
    const deleted = await inTransaction(client, () => client.query(`DELETE FROM ${table}`));
    if (deleted.kind === 'failed') return deleted.error.message;
    if (deleted.kind === 'blocked') return `${table} is in use: end what reads or writes it`;
  }
  return null;
}
