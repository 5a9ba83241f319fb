/**
 * Many moves under write load, for tests of the whole. The writers use raw SQL and go round the SDK on purpose: what holds
 * here holds because of the database (R1).
 */
import { loadConfiguration } from 'lanekeeper/config';
import { createKeyRing, mintAgentToken } from 'lanekeeper/session';
import { Client, type DatabaseError } from 'pg';
import { expect } from 'vitest';
import { runSql } from './clusters.ts';
import { dataCenterOf, type TestLab } from './lab.ts';
import { type AuditResult, finishAudit, readDeeds, startAudit } from './origin-audit.ts';

/** Accounts `<prefix>-1` to `<prefix>-<accounts>`, each with an order `o-<account>` to which lines are appended. */
export type MovingAccounts = { readonly prefix: string; readonly accounts: number };

export type Ledger = {
  readonly writer: string;
  /** Each is in one row, and stands in no other. */
  readonly acknowledged: readonly string[];
  /** Errors that no writer should see. */
  readonly surprises: readonly string[];
  readonly refused: number;
};

/** The accounts and their orders, written in `home`. */
export async function makeAccounts(
  lab: TestLab,
  home: string,
  { prefix, accounts }: MovingAccounts,
  order: string,
): Promise<void> {
  await runSql(
    dataCenterOf(lab, home).databases.application,
    `WITH made AS (INSERT INTO accounts (id) SELECT '${prefix}-' || i FROM generate_series(1, ${accounts}) i RETURNING id) ${order}`,
  );
}

/** Appends lines to accounts by chance, in whichever data center it believes the account to be, until it is told to stop. */
export async function writeUnderMoves(
  lab: TestLab,
  { prefix, accounts }: MovingAccounts,
  writer: string,
  insert: string,
  load: { readonly on: boolean },
): Promise<Ledger> {
  const names = Object.keys(lab.line.dataCenters);
  const clients = new Map<string, Client>();
  for (const name of names) {
    const client = new Client({ connectionString: dataCenterOf(lab, name).databases.application });
    await client.connect();
    clients.set(name, client);
  }
  const believed = new Map<string, string>();
  const acknowledged: string[] = [];
  const surprises: string[] = [];
  let refused = 0;
  for (let i = 0; load.on; i++) {
    const account = `${prefix}-${1 + Math.floor(Math.random() * accounts)}`;
    const at = believed.get(account) ?? names[0] ?? '';
    const sku = `${writer}/${i}`;
    try {
      await clients.get(at)?.query(insert, [`o-${account}`, sku]);
      acknowledged.push(sku);
    } catch (error) {
      const { code, dataType } = error as DatabaseError;
      refused++;
      if (code === 'LK001') believed.set(account, dataType ?? '');
      else if (!['LK004', 'LK009', '40001'].includes(code ?? '')) surprises.push(`${code} ${(error as Error).message}`);
    }
    await new Promise((resolve) => setTimeout(resolve, 5 + Math.random() * 20));
  }
  for (const client of clients.values()) await client.end();
  return { writer, acknowledged, surprises, refused };
}

/**
 * Moves accounts from one data center to the next, 16 at a time, until so many have moved; says how each attempt ended. A move
 * that is refused is tried again later, at most four attempts for each that is wanted.
 */
export async function moveMany(
  lab: TestLab,
  { prefix, accounts }: MovingAccounts,
  wanted: number,
  onMoved: (moved: number, pauseMs: number | null) => void = () => {},
): Promise<Readonly<Record<string, number>> & { readonly moved: number }> {
  const names = Object.keys(lab.line.dataCenters);
  const first = names[0] ?? '';
  const env = { ...process.env, ...dataCenterOf(lab, first).environment };
  const { configuration } = await loadConfiguration({ file: dataCenterOf(lab, first).config, env, dc: first });
  const ring = createKeyRing(configuration, { env });
  const outcomes: Record<string, number> & { moved: number } = { moved: 0 };
  const homes = new Map<string, string>();
  let next = 0;
  let attempts = 0;
  let underway = 0;
  const lane = async (): Promise<void> => {
    while (outcomes.moved + underway < wanted && attempts < wanted * 4) {
      attempts++;
      underway++;
      const account = `${prefix}-${1 + (next++ % accounts)}`;
      const to = names[(names.indexOf(homes.get(account) ?? first) + 1) % names.length] as string;
      try {
        const response = await fetch(new URL('/v1/moves', dataCenterOf(lab, first).agent), {
          method: 'POST',
          headers: { authorization: `Bearer ${mintAgentToken(ring, Date.now())}`, 'content-type': 'application/json' },
          body: JSON.stringify({ account, to, waitMs: 10_000, reason: 'test' }),
          signal: AbortSignal.timeout(30_000),
        });
        const answer = (await response.json()) as { kind?: string; home?: string; reason?: string; pauseMs?: number };
        const kind = answer.kind === 'moved' ? 'moved' : `${answer.kind ?? response.status} ${answer.reason ?? ''}`;
        outcomes[kind] = (outcomes[kind] ?? 0) + 1;
        if (answer.home) homes.set(account, answer.home);
        if (answer.kind === 'moved') onMoved(outcomes.moved, answer.pauseMs ?? null);
        else await new Promise((resolve) => setTimeout(resolve, 200));
      } finally {
        underway--;
      }
    }
  };
  await Promise.all(Array.from({ length: 16 }, lane));
  return outcomes;
}

/** D1 and C1 for the lines that were appended: everything that was acknowledged is everywhere, and nothing else. */
export async function expectEverywhere(lab: TestLab, ledgers: readonly Ledger[]): Promise<void> {
  for (const name of Object.keys(lab.line.dataCenters)) {
    for (const ledger of ledgers) {
      const rows = await runSql<{ sku: string }>(
        dataCenterOf(lab, name).databases.owner,
        'SELECT sku FROM order_lines WHERE sku LIKE $1',
        [`${ledger.writer}/%`],
      );
      expect(new Set(rows.map((row) => row.sku))).toEqual(new Set(ledger.acknowledged));
      expect(rows).toHaveLength(ledger.acknowledged.length);
    }
  }
}

/** Begins to record who writes what; the result judges it (W1, G1, E1). */
export async function auditMoves(
  supers: Readonly<Record<string, string>>,
  { prefix, accounts }: MovingAccounts,
): Promise<{ finish(): Promise<AuditResult> }> {
  await startAudit(supers);
  const deeds = Object.fromEntries(
    await Promise.all(Object.entries(supers).map(async ([name, url]) => [name, await readDeeds(url)] as const)),
  );
  const parents = new Map(
    Array.from({ length: accounts }, (_, i) => [`public.orders/o-${prefix}-${i + 1}`, `${prefix}-${i + 1}`]),
  );
  return {
    finish: () =>
      finishAudit(
        supers,
        [
          { name: 'public.orders', column: 'account_id' },
          { name: 'public.order_lines', column: 'order_id', through: 'public.orders' },
        ],
        { deeds, parents },
      ),
  };
}
