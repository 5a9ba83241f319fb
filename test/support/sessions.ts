/** Several sessions at once, and what they wait for: for tests of who waits for whom, without sleeping. */
import { Client, type ClientConfig } from 'pg';
import { expect } from 'vitest';
import { runSql } from './clusters.ts';

export type Sessions = {
  open(url: string, config?: ClientConfig): Promise<Client>;
  /** Ends all that were opened, whatever they are doing. */
  end(): Promise<void>;
};

export function sessions(): Sessions {
  const opened: { readonly client: Client; readonly url: string }[] = [];
  return {
    async open(url, config = {}) {
      const client = new Client({ ...config, connectionString: url });
      client.on('error', () => {});
      await client.connect();
      opened.push({ client, url });
      return client;
    },
    async end() {
      for (const { client, url } of opened.splice(0)) {
        await runSql(url, 'SELECT pg_terminate_backend($1)', [pidOf(client)]).catch(() => {});
        await client.end().catch(() => {});
      }
    },
  };
}

export function pidOf(client: Client): number {
  return (client as unknown as { processID: number }).processID;
}

/** `Lock:transactionid`, `IPC:SyncRep` …; null when the session waits for nothing but its client. */
export async function waitOf(superuserUrl: string, pid: number): Promise<string | null> {
  const [row] = await runSql<{ wait: string | null }>(
    superuserUrl,
    `SELECT wait_event_type || ':' || wait_event AS wait FROM pg_stat_activity
      WHERE pid = $1 AND wait_event_type IS DISTINCT FROM 'Client'`,
    [pid],
  );
  return row?.wait ?? null;
}

/** Begins a query that is known to wait for this (`Lock:relation`, or only `Lock`), and leaves it there. */
export async function begun<T>(
  superuserUrl: string,
  client: Client,
  wait: string,
  query: () => Promise<T>,
): Promise<{ readonly result: Promise<T> }> {
  const result = query();
  result.catch(() => {});
  await expect
    .poll(async () => (await waitOf(superuserUrl, pidOf(client))) ?? 'nothing', { timeout: 25_000, interval: 20 })
    .toContain(wait);
  return { result };
}
