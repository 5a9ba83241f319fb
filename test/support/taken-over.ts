/** A pair in which `la` took `ny` over while `ny` had written more: what a returning data center finds. Without agents. */
import {
  connect,
  freezeStreams,
  type RecordedCut,
  recordSuccessions,
  type StrandedOrigin,
  strandedTransactions,
  thawStreams,
  undoStranded,
  writeStranded,
} from '@lanekeeper/server/postgres';
import { Client } from 'pg';
import { lease } from './applied.ts';
import { runSql } from './clusters.ts';
import type { TestDataCenter, TestPair } from './pair.ts';

/** Runs `work` on a connection of its own. */
export async function using<T>(url: string, work: (client: Client) => Promise<T>): Promise<T> {
  const client = new Client({ connectionString: url });
  // A database that is killed meanwhile fails the query that runs, and nothing else.
  client.on('error', () => {});
  await client.connect();
  try {
    return await work(client);
  } finally {
    await client.end();
  }
}

export type Takeover = { readonly cut: RecordedCut; readonly origin: StrandedOrigin };

/** `la` freezes its streams from `ny`: what `ny` writes from here on is stranded. */
export async function cutOff(pair: TestPair, term = 2): Promise<{ readonly homed: string; readonly rest: string }> {
  return using(pair.dc('la').urls.agent, (client) => freezeStreams(client, 'ny', term, 10_000));
}

/** The succession, in `la` and only there. `ny` loses its lease and reads nothing. */
export async function takeOver(
  pair: TestPair,
  applied: { readonly homed: string; readonly rest: string },
  term = 2,
): Promise<Takeover> {
  const [ny, la] = [pair.dc('ny'), pair.dc('la')];
  await lease(ny, -1);
  await using(ny.urls.agent, (client) => freezeStreams(client, 'la', term, 10_000));
  const [row] = await runSql<{ generation: number }>(ny.urls.agent, 'SELECT generation FROM lanekeeper.generation');
  const cut = { generation: row?.generation ?? 1, ...applied };
  await using(la.urls.agent, (client) =>
    recordSuccessions(client, [{ term, kind: 'take', from: 'ny', to: 'la', undoes: null }], { ny: cut }),
  );
  await lease(la, 600_000);
  return { cut, origin: { dataCenter: 'ny', generation: cut.generation, term } };
}

/** `ny`'s log beyond the cut, into `la`'s ledger. Returns how many changes were new. */
export async function strand(pair: TestPair, takeover: Takeover): Promise<number> {
  const [ny, la] = [pair.dc('ny'), pair.dc('la')];
  let recorded = 0;
  await using(ny.urls.replication, (replication) =>
    using(ny.urls.agent, (agent) =>
      using(la.urls.agent, async (home) => {
        const read = await strandedTransactions({
          replication,
          agent,
          successor: 'la',
          cut: takeover.cut.homed,
          changesPerBatch: 7,
        });
        if (read.kind !== 'opened') throw new Error(JSON.stringify(read));
        for await (const batch of read.batches) recorded += await writeStranded(home, takeover.origin, batch);
      }),
    ),
  );
  return recorded;
}

export async function undo(pair: TestPair, takeover: Takeover): Promise<{ changes: number; rows: number }> {
  const [ny, la] = [pair.dc('ny'), pair.dc('la')];
  return using(ny.urls.agent, (client) =>
    using(la.urls.agent, async (home) => {
      const result = await undoStranded({ client, home, origin: takeover.origin, changesPerChunk: 5 });
      if (result.kind !== 'undone') throw new Error(JSON.stringify(result));
      return result;
    }),
  );
}

/** Lets `ny` read `la` again, past the succession. */
export async function catchUp(pair: TestPair, takeover: Takeover): Promise<void> {
  const ny = pair.dc('ny');
  await using(ny.urls.agent, async (client) => {
    await client.query(
      `INSERT INTO lanekeeper.rejoining (term, generation, stage) VALUES ($1, $2, 'undone')
        ON CONFLICT (term) DO UPDATE SET stage = excluded.stage`,
      [takeover.origin.term, takeover.cut.generation],
    );
    await thawStreams(client, 'la');
  });
}

/** Until `reader` has applied what `from` has written up to `lsn`. */
export async function applied(from: TestDataCenter, reader: string, lsn: string): Promise<void> {
  for (let attempt = 0; attempt < 200; attempt += 1) {
    const [row] = await runSql<{ passed: boolean }>(
      from.urls.agent,
      'SELECT confirmed_flush_lsn >= $2::pg_lsn AS passed FROM pg_replication_slots WHERE slot_name = $1',
      [`lanekeeper_${reader}_homed`, lsn],
    );
    if (row?.passed) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error(`${reader} did not apply what ${from.name} sent`);
}

export function connectTo(pair: TestPair) {
  return (dc: string) => (applicationName: string) => connect(pair.dc(dc).urls.agent, { applicationName });
}
