/** Data centers with Lanekeeper in place: fences, publications, streams in all directions; and leases that a test holds by hand. */
import { applyChanges, type Connect, connect, ensureStreams, readStreams } from '@lanekeeper/server/postgres';
import { Client } from 'pg';
import { runSql } from './clusters.ts';
import type { TestDataCenter } from './pair.ts';

/** Connections of one role to one data center's own database, for whatever wants a `Connect`. */
export function connectAs(
  dc: Pick<TestDataCenter, 'urls'>,
  role: 'owner' | 'agent' | 'application' | 'replication',
): Connect {
  return (applicationName) => connect(dc.urls[role], { applicationName });
}

/** All that it takes of a pair; what `test/support/trio.ts` makes has it too. */
export type Appliable = {
  readonly names: readonly string[];
  dc(name: string): Applied;
};

type Applied = Pick<TestDataCenter, 'name' | 'urls' | 'configuration' | 'env'>;

/** `lanekeeper apply` in every data center, as often as it takes until nothing waits for another one. */
export async function applyPair(pair: Appliable): Promise<void> {
  for (const name of pair.names) await applyTo(pair.dc(name));
  for (const name of pair.names) await streamsOf(pair.dc(name));
  for (const name of pair.names) {
    const postponed = await applyTo(pair.dc(name));
    if (postponed.length > 0) throw new Error(`${name}: ${postponed.join(', ')} still waits`);
  }
  for (const name of pair.names) await untilRunning(pair.dc(name));
}

async function applyTo(dc: Applied): Promise<readonly string[]> {
  const result = await applyChanges(connectAs(dc, 'owner'), dc.configuration);
  if (result.kind !== 'applied') throw new Error(`apply in ${dc.name}: ${JSON.stringify(result, plain)}`);
  return result.postponed.map((step) => step.id);
}

async function streamsOf(dc: Applied): Promise<void> {
  const { configuration, env } = dc;
  const result = await ensureStreams({ connect: connectAs(dc, 'agent'), configuration, env });
  if (result.kind !== 'ensured' || !result.ready) throw new Error(`streams of ${dc.name}: ${JSON.stringify(result)}`);
}

/** CREATE SUBSCRIPTION returns before its worker has started. */
async function untilRunning(dc: Applied): Promise<void> {
  const client = new Client({ connectionString: dc.urls.agent });
  await client.connect();
  try {
    for (let attempt = 0; attempt < 400; attempt += 1) {
      const report = await readStreams(client, dc.configuration);
      if (report.incoming.every((stream) => stream.running && stream.receivedLsn !== null)) return;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    throw new Error(`the streams into ${dc.name} did not start`);
  } finally {
    await client.end();
  }
}

/** Lets a data center write for so long without an agent; negative: not any more. */
export async function lease(dc: TestDataCenter, forMs: number): Promise<void> {
  await runSql(dc.urls.agent, 'SELECT lanekeeper.set_lease(wall_ms + $1) FROM lanekeeper.clock()', [forMs]);
}

/** As an import job does: the tables that this data center feeds, written by their owner in a transaction that publishes. */
export async function publish(dc: TestDataCenter, sql: string): Promise<void> {
  await runSql(dc.urls.owner, `BEGIN; SELECT lanekeeper.publishing(); ${sql}; COMMIT`);
}

function plain(_key: string, value: unknown): unknown {
  return typeof value === 'bigint' ? String(value) : value;
}
