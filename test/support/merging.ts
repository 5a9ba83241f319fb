/** Holding the merge log back, and waiting until it has been merged. */
import { runSql } from './clusters.ts';

/** Disables or enables every subscription to what is shared. By URL of a superuser in every data center. */
export async function merging(urls: Readonly<Record<string, string>>, on: boolean): Promise<void> {
  for (const url of Object.values(urls)) {
    const names = await runSql<{ name: string }>(
      url,
      `SELECT quote_ident(subname) AS name FROM pg_subscription s JOIN pg_database d ON d.oid = s.subdbid
        WHERE d.datname = current_database() AND subname LIKE 'lanekeeper_%_rest'`,
    );
    for (const { name } of names) await runSql(url, `ALTER SUBSCRIPTION ${name} ${on ? 'ENABLE' : 'DISABLE'}`);
    if (!on)
      await until('its worker ends', async () => {
        const [row] = await runSql<{ n: number }>(
          url,
          `SELECT count(*)::int AS n FROM pg_stat_activity WHERE backend_type LIKE 'logical replication%'
            AND pid IN (SELECT pid FROM pg_stat_subscription WHERE subname LIKE 'lanekeeper_%_rest')`,
        );
        return row?.n === 0;
      });
  }
}

/** What the agents do: merges what was left pending. */
export async function finishPending(urls: Readonly<Record<string, string>>): Promise<void> {
  for (const url of Object.values(urls))
    await runSql(url, 'SET session_replication_role = replica; SELECT lanekeeper.finish_pending()');
}

/** Waits until everybody has read the merge logs of all others up to now. */
export async function read(urls: Readonly<Record<string, string>>, withinMs = 20_000): Promise<void> {
  for (const url of Object.values(urls)) {
    const [position] = await runSql<{ lsn: string }>(
      url,
      `SELECT pg_logical_emit_message(true, 'test', 'mark')::text AS lsn`,
    );
    await until(
      'everything is read',
      async () => {
        const [row] = await runSql<{ n: number }>(
          url,
          `SELECT count(*)::int AS n FROM pg_replication_slots WHERE slot_name LIKE 'lanekeeper_%_rest'
            AND database = current_database() AND confirmed_flush_lsn < $1::pg_lsn`,
          [position?.lsn],
        );
        return row?.n === 0;
      },
      withinMs,
    );
  }
}

/** Waits until a table holds the same rows everywhere, nothing pending, and everything has been read; returns them, ordered. */
export async function mergedEqually<R extends object>(
  urls: Readonly<Record<string, string>>,
  table: string,
  withinMs = 20_000,
): Promise<R[]> {
  await read(urls, withinMs);
  let rows: R[] = [];
  let seen: string[] = [];
  await until(
    `${table} is the same everywhere`,
    async () => {
      await finishPending(urls);
      const all: R[][] = [];
      for (const url of Object.values(urls))
        all.push(await runSql<R>(url, `SELECT * FROM ${table} t ORDER BY t::text`));
      rows = all[0] ?? [];
      seen = all.map((one) => JSON.stringify(one));
      return seen.every((one) => one === seen[0]);
    },
    withinMs,
    () => seen.join('\n'),
  );
  return rows;
}

async function until(
  what: string,
  look: () => Promise<boolean>,
  withinMs = 20_000,
  say: () => string = () => '',
): Promise<void> {
  const endMs = Date.now() + withinMs;
  while (!(await look())) {
    if (Date.now() > endMs) throw new Error(`not within ${withinMs} ms: ${what}\n${say()}`);
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
}
