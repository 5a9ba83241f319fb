/**
 * Every row that the ledger of a return names, sent again by the data center that is the home of its account now. That may be any
 * of those that are asked, and may change while they are asked: a key that all of them take for another one's is asked for again.
 */
import type { DataCenterName } from 'lanekeeper/model';
import type { Client } from 'pg';
import type { Lsn } from '../decode/index.ts';
import type { StrandedOrigin } from './ledger.ts';
import { type OwnResendOutcome, type RowKey, resendOwn } from './resend.ts';
import { readKeys, type TouchedKey } from './undo.ts';

/** As the agent there, not in a transaction. The first one is where the ledger was written. */
export type ResendHome = { readonly dataCenter: DataCenterName; readonly client: Client };

export type ResendReport = {
  /** Keys: each once, or a few times where there are very many. */
  readonly keys: number;
  readonly sent: number;
  readonly absent: number;
  /** Not sent, and why; at most 100 of them. */
  readonly problems: readonly { readonly relation: string; readonly key: RowKey; readonly outcome: OwnResendOutcome }[];
  /** Once the other data center has applied these homed streams up to here, it has all of them. By the home. */
  readonly upTo: Readonly<Record<DataCenterName, Lsn>>;
};

const problemsMax = 100;
const chunk = 1_000;
/** Sending a row twice does no harm; memory is bounded. */
const rememberMax = 100_000;
/** An account is between two homes for as long as its deed is on the way. For all of them together. */
const patienceMs = 5_000;
const betweenMs = 100;

/** When the data center that returns reads these streams again. May be repeated. On disk everywhere when it returns. */
export async function resendStranded(
  homes: readonly ResendHome[],
  origins: readonly Pick<StrandedOrigin, 'dataCenter' | 'generation'>[],
): Promise<ResendReport> {
  const [first] = homes;
  if (first === undefined) throw new TypeError('resendStranded: nobody to send');
  const seen = new Set<string>();
  const patience = { leftMs: patienceMs };
  let keys = 0;
  const counts: Partial<Record<OwnResendOutcome, number>> = {};
  const problems: ResendReport['problems'][number][] = [];
  // The last commit takes all of them to disk.
  for (const { client } of homes) await client.query('SET synchronous_commit = off');
  try {
    for (const origin of origins)
      for await (const { relation, key_columns: columns, key, old_key, account } of touchedKeys(first.client, origin)) {
        for (const values of old_key === null ? [key] : [key, old_key]) {
          const name = JSON.stringify([relation, columns, values]);
          if (seen.has(name)) continue;
          if (seen.size >= rememberMax) seen.clear();
          seen.add(name);
          keys += 1;
          const outcome = await resendFrom(homes, relation, { columns, values }, account, patience);
          counts[outcome] = (counts[outcome] ?? 0) + 1;
          const fine = outcome === 'sent' || outcome === 'absent' || outcome === 'nobodys';
          if (!fine && problems.length < problemsMax) problems.push({ relation, key: { columns, values }, outcome });
        }
      }
    const upTo: Record<DataCenterName, Lsn> = {};
    for (const { dataCenter, client } of homes) {
      await client.query('SET synchronous_commit = local');
      const { rows } = await client.query<{ lsn: Lsn }>(
        "SELECT pg_catalog.pg_logical_emit_message(true, 'lanekeeper', 'resent')::text AS lsn",
      );
      upTo[dataCenter] = (rows[0] as { lsn: Lsn }).lsn;
    }
    const absent = (counts.absent ?? 0) + (counts.nobodys ?? 0);
    return { keys, sent: counts.sent ?? 0, absent, problems, upTo };
  } finally {
    for (const { client } of homes) await client.query('RESET synchronous_commit').catch(() => {});
  }
}

async function* touchedKeys(
  ledger: Client,
  origin: Pick<StrandedOrigin, 'dataCenter' | 'generation'>,
): AsyncGenerator<TouchedKey, void, undefined> {
  for (let after: { endLsn: Lsn; sequence: number } | null = null; ; ) {
    const touched: readonly TouchedKey[] = await readKeys(ledger, origin, after, chunk);
    const last = touched.at(-1);
    if (last === undefined) return;
    yield* touched;
    after = { endLsn: last.endLsn, sequence: last.sequence };
  }
}

async function resendFrom(
  homes: readonly ResendHome[],
  relation: string,
  key: RowKey,
  account: string | null,
  patience: { leftMs: number },
): Promise<OwnResendOutcome> {
  for (;;) {
    const outcomes: OwnResendOutcome[] = [];
    for (const [i, { client }] of homes.entries()) {
      const outcome = await resendOwn(client, relation, key, account, i === 0);
      if (outcome === 'sent' || outcome === 'absent' || outcome === 'busy') return outcome;
      outcomes.push(outcome);
    }
    // One that has the row knows whose it is; where nobody has it, there is nothing to send.
    const outcome = outcomes.find((one) => one === 'nobodys') ?? outcomes.find((one) => one !== 'elsewhere');
    if (outcome !== undefined) return outcome;
    if (patience.leftMs <= 0) return 'elsewhere';
    patience.leftMs -= betweenMs;
    await new Promise((resolve) => setTimeout(resolve, betweenMs));
  }
}
