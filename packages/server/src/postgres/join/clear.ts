/** Takes streams and slots of the one that is seeded away, on all sides, and empties its tables. */
import type { DataCenterName } from 'lanekeeper/model';
import type { Client } from 'pg';
import { quoteTable } from '../fence/names.ts';
import { readCatalog } from '../inspect/read-catalog.ts';
import { mergedNames } from '../merge/index.ts';
import { dropRelaySlot, forgetRelayed } from '../relay/index.ts';
import { splitName } from '../sql-text.ts';
import { asReplica } from '../stranded/undo.ts';
import { dropSlot, dropSubscription } from '../streams/drop.ts';
import { asideSlotName, slotName, streamNames, subscriptionName } from '../streams/names.ts';
import { databaseProblem, inTransaction } from '../transaction.ts';
import { type JoinSides, othersOf, type Sessions, travellingTables } from './sides.ts';

export async function dropStreams(sessions: Sessions, sides: JoinSides): Promise<void> {
  const here = sides.target.configuration.here;
  const targetAgent = await sessions.get('target', 'agent');
  const targetReplication = await sessions.get('target', 'replication');
  for (const side of othersOf(sides)) {
    const there = side.configuration.here;
    const agent = await sessions.of(side, 'agent');
    const replication = await sessions.of(side, 'replication');
    await dropReading(targetAgent, there);
    await dropReading(agent, here);
    for (const stream of streamNames) {
      await dropSlot(replication, slotName(here, stream));
      await dropSlot(targetReplication, slotName(there, stream));
    }
    await dropSlot(replication, asideSlotName(here));
    await dropSlot(targetReplication, asideSlotName(there));
    await dropRelaySlot({ replication, agent }, here);
    await dropRelaySlot({ replication: targetReplication, agent: targetAgent }, there);
    await forgetRelayed(agent, here);
    await forgetRelayed(targetAgent, there);
  }
}

/** As the agent: nothing is read from `publisher` any more. */
export async function dropReading(agent: Client, publisher: DataCenterName): Promise<void> {
  const names = streamNames.map((stream) => subscriptionName(publisher, stream));
  for (const name of names) await dropSubscription(agent, name);
  await agent.query('DELETE FROM lanekeeper.stream WHERE subscription = ANY ($1)', [names]);
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
export async function emptyTables(sessions: Sessions, { target }: JoinSides): Promise<string | null> {
  const client = await sessions.get('target', 'agent');
  const { tables } = await readCatalog(client);
  const names = [
    ...travellingTables(target.configuration),
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
