/**
 * What the databases hold in the end, read by a superuser with plain SELECTs: the customers' rows of the storefront, and a
 * hash of every row of every replicated table (C1). Of Lanekeeper's own tables only the stranded ledger is believed, as D1
 * says; deeds and successions are compared between data centers and nothing else.
 */
import { ask } from './ask.ts';
import type { AccountRows, Found } from './history.ts';

export type DatabaseUrls = Readonly<Record<string, string>>;

type Mutable = { orders: AccountRows['orders'][number][]; cart: Record<string, number> };

export async function readRows(url: string, accounts: readonly string[]): Promise<Record<string, AccountRows>> {
  const found: Record<string, Mutable> = {};
  const present = await ask<{ id: string }>(url, 'SELECT id FROM public.accounts WHERE id = ANY ($1)', [accounts]);
  for (const { id } of present) found[id] = { orders: [], cart: {} };
  const orders = await ask<{ account: string; id: string; value: string; pieces: number; placedAt: string }>(
    url,
    `SELECT o.account_id AS account, o.id, o.note AS value, o.placed_at::text AS "placedAt",
            (SELECT coalesce(sum(l.quantity), 0)::integer FROM public.order_lines l WHERE l.order_id = o.id) AS pieces
       FROM public.orders o WHERE o.account_id = ANY ($1) ORDER BY o.placed_at, o.id`,
    [accounts],
  );
  // An order whose account is missing is a finding as well.
  const rowsOf = (account: string): Mutable => {
    const known = found[account] ?? { orders: [], cart: {} };
    found[account] = known;
    return known;
  };
  for (const { account, ...order } of orders) rowsOf(account).orders.push(order);
  const lines = await ask<{ account: string; sku: string; quantity: number }>(
    url,
    `SELECT c.account_id AS account, l.sku, l.quantity FROM public.carts c JOIN public.cart_lines l ON l.cart_id = c.id
      WHERE c.account_id = ANY ($1)`,
    [accounts],
  );
  for (const { account, sku, quantity } of lines) rowsOf(account).cart[sku] = quantity;
  return found;
}

export async function readFound(urls: DatabaseUrls, accounts: readonly string[]): Promise<Found> {
  const entries = Object.entries(urls);
  const rows = await Promise.all(entries.map(async ([name, url]) => [name, await readRows(url, accounts)] as const));
  const ledgers = await Promise.all(entries.map(([, url]) => readLedger(url, new Set(accounts))));
  const values = new Map<string, number>();
  const strandedAccounts = new Set<string>();
  const strandedOrders = new Map<string, string>();
  let strandedTransactions = 0;
  for (const ledger of ledgers) {
    // The ledger is replicated: each entry counts once, in whichever data center it is seen.
    for (const [value, times] of ledger?.values ?? []) values.set(value, Math.max(values.get(value) ?? 0, times));
    for (const account of ledger?.accounts ?? []) strandedAccounts.add(account);
    for (const [id, value] of ledger?.orders ?? []) strandedOrders.set(id, value);
    strandedTransactions = Math.max(strandedTransactions, ledger?.transactions ?? 0);
  }
  return {
    rows: Object.fromEntries(rows),
    strandedValues: ledgers.every((ledger) => ledger === null) ? null : values,
    strandedAccounts,
    strandedOrders,
    strandedTransactions,
  };
}

export type Ledger = {
  readonly values: ReadonlyMap<string, number>;
  readonly accounts: ReadonlySet<string>;
  /** By id: what the customer wrote. */
  readonly orders: ReadonlyMap<string, string>;
  readonly transactions: number;
};

/** Entries that nobody has decided on yet; null in a version without a ledger. */
async function readLedger(url: string, customers: ReadonlySet<string>): Promise<Ledger | null> {
  const [there] = await ask<{ there: boolean }>(url, "SELECT to_regclass('lanekeeper.stranded') IS NOT NULL AS there");
  if (there?.there !== true) return null;
  const entries = await ask<{ entry: LedgerEntry }>(url, 'SELECT to_jsonb(s) AS entry FROM lanekeeper.stranded s');
  return ledgerOf(
    entries.map(({ entry }) => entry),
    customers,
  );
}

type LedgerEntry = {
  readonly dc?: unknown;
  readonly generation?: unknown;
  readonly end_lsn?: unknown;
  readonly account?: unknown;
  readonly relation?: unknown;
  readonly kind?: unknown;
  readonly state?: unknown;
  readonly image_columns?: unknown;
  readonly image?: unknown;
};

/**
 * Of the ledger only what it holds is used: whose row of which table was inserted, with which values, and
 * whether that is still open; and only of these customers.
 */
export function ledgerOf(entries: readonly LedgerEntry[], customers: ReadonlySet<string>): Ledger {
  const values = new Map<string, number>();
  const accounts = new Set<string>();
  const orders = new Map<string, string>();
  const transactions = new Set<string>();
  for (const { account, relation, kind, state, image_columns: columns, image, ...of } of entries) {
    if (state !== 'open' || typeof account !== 'string' || !customers.has(account)) continue;
    transactions.add(`${String(of.dc)} ${String(of.generation)} ${String(of.end_lsn)}`);
    accounts.add(account);
    if (relation !== 'public.orders' || kind !== 'insert' || !Array.isArray(columns) || !Array.isArray(image)) continue;
    const note: unknown = image[columns.indexOf('note')];
    if (typeof note !== 'string') continue;
    values.set(note, (values.get(note) ?? 0) + 1);
    orders.set(String(image[columns.indexOf('id')]), note);
  }
  return { values, accounts, orders, transactions: transactions.size };
}

/** Tables whose rows must be equal everywhere, each with what is hashed of a row. */
const comparedTables: Readonly<Record<string, string>> = {
  'lanekeeper.deed': 'ROW(account, home, term, counter)',
  'lanekeeper.acceptance': 'ROW(account, term, counter, dc)',
  'lanekeeper.succession': 'ROW(term, kind, from_dc, to_dc, undoes)',
  'lanekeeper.outcome': 'ROW(account, request_id, result::text, dc)',
  'lanekeeper.claim': 'ROW(name, value, account)',
  'lanekeeper.stranded': 'ROW(dc, generation, end_lsn, sequence, account, relation, kind, image, state)',
};

/** C1. Returns what differs, in words; empty when all are equal. */
export async function compareRows(
  urls: DatabaseUrls,
): Promise<{ readonly tables: number; readonly differences: readonly string[] }> {
  const [first] = Object.values(urls);
  const tables = await ask<{ name: string }>(
    first as string,
    `SELECT DISTINCT format('%I.%I', schemaname, tablename) AS name FROM pg_catalog.pg_publication_tables
      WHERE schemaname <> 'lanekeeper' ORDER BY 1`,
  );
  const compared: [string, string][] = [
    ...tables.map(({ name }): [string, string] => [name, 't.*']),
    ...Object.entries(comparedTables),
  ];
  const differences: string[] = [];
  for (const [table, what] of compared) {
    const hashes = await Promise.all(
      Object.entries(urls).map(async ([name, url]) => {
        const rows = await ask<{ hash: string }>(
          url,
          `SELECT md5((${what})::text) || coalesce(':' || left((${what})::text, 120), '') AS hash FROM ${table} t`,
        );
        return [name, rows.map(({ hash }) => hash)] as const;
      }),
    );
    differences.push(...differing(table, hashes));
  }
  return { tables: compared.length, differences };
}

/** Multisets: the same row twice is a difference too. */
export function differing(table: string, sides: readonly (readonly [string, readonly string[]])[]): readonly string[] {
  const [reference, ...others] = sides;
  if (reference === undefined) return [];
  const differences: string[] = [];
  for (const [name, rows] of others) {
    const counts = new Map<string, number>();
    for (const row of reference[1]) counts.set(row, (counts.get(row) ?? 0) + 1);
    for (const row of rows) counts.set(row, (counts.get(row) ?? 0) - 1);
    const only = [...counts].filter(([, count]) => count !== 0);
    if (only.length === 0) continue;
    const shown = only
      .slice(0, 3)
      .map(([row, count]) => `only in ${count > 0 ? reference[0] : name}: ${row.slice(row.indexOf(':') + 1)}`);
    differences.push(`${table}: ${only.length} rows differ between ${reference[0]} and ${name} (${shown.join('; ')})`);
  }
  return differences;
}
