/** Says whom one data center of a pair waits for, as its agent would, and takes the other one away by stopping its subscriptions. */
import {
  cancelSyncWaiters,
  letApplicationsWait,
  proveThatCommitsWait,
  setStandbyNames,
  setSyncMembers,
  waitUntilSynchronous,
} from '@lanekeeper/server/postgres';
import { Client } from 'pg';
import { runSql } from './clusters.ts';
import type { TestPair } from './pair.ts';

export type SyncSet = {
  /** In the order of the agent: from now on `remote` commits wait for the peer. */
  grow(): Promise<void>;
  /** From now on for nobody; who waits is let go. Safe to repeat. */
  shrink(): Promise<void>;
  /** From now on applications wait for the peer themselves, after their COMMIT. */
  growByApplications(): Promise<void>;
  /** Whether the peer reads what is written here; returns when its walsenders have come or gone. */
  peerReads(reads: boolean): Promise<void>;
  /** Backends that wait for the peer in their COMMIT. */
  waiting(): Promise<readonly number[]>;
  close(): Promise<void>;
};

/** Starts alone, with the list of nobody in force. */
export async function syncSet(pair: TestPair, here: string, peer: string): Promise<SyncSet> {
  const dc = pair.dc(here);
  const agent = await open(dc.urls.agent);
  const prober = await open(dc.urls.agent);
  const names = await setStandbyNames(agent, []);
  if (names.kind === 'refused') throw new Error(names.message);
  if (!(await proveThatCommitsWait(agent, prober, 10_000))) throw new Error('commits do not wait');
  const waiting = async () =>
    (await agent.query<{ pid: number }>("SELECT pid FROM pg_stat_activity WHERE wait_event = 'SyncRep'")).rows.map(
      ({ pid }) => pid,
    );
  return {
    async grow() {
      const grown = await setStandbyNames(agent, [peer]);
      if (grown.kind === 'refused') throw new Error(grown.message);
      const result = await waitUntilSynchronous(agent, [peer], [peer], 10_000);
      if (result.kind === 'late') throw new Error(`${result.peer}: ${result.reason}`);
      await setSyncMembers(agent, 1);
    },
    async growByApplications() {
      await setStandbyNames(agent, []);
      if ((await letApplicationsWait(agent, [peer], 10_000)) === null) throw new Error(`${peer} is behind`);
    },
    async shrink() {
      await setSyncMembers(agent, 0);
      await setStandbyNames(agent, []);
      await until(async () => {
        await cancelSyncWaiters(agent);
        return (await waiting()).length === 0;
      });
    },
    async peerReads(reads) {
      for (const stream of ['homed', 'rest']) {
        await runSql(
          pair.dc(peer).urls.agent,
          `ALTER SUBSCRIPTION lanekeeper_${here}_${stream} ${reads ? 'ENABLE' : 'DISABLE'}`,
        );
      }
      await until(async () => {
        const { rows } = await agent.query('SELECT FROM pg_stat_replication');
        return rows.length === (reads ? 2 : 0);
      });
    },
    waiting,
    async close() {
      await Promise.all([agent.end(), prober.end()]);
    },
  };
}

async function open(url: string): Promise<Client> {
  const client = new Client({ connectionString: url });
  client.on('error', () => {});
  await client.connect();
  return client;
}

async function until(holds: () => Promise<boolean>): Promise<void> {
  for (let attempt = 0; attempt < 1_000; attempt += 1) {
    if (await holds()) return;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  throw new Error('it never came to be');
}
