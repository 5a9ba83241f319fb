/**
 * Who wrote what, from PostgreSQL's own log (W1, G1, E1): a logical slot in each data center is decoded in the order of
 * commits, where each transaction says whether it was made here or came by replication. Lanekeeper's own reports are not
 * asked; its deeds, acceptances and successions count as the rows that they are in that very log.
 */
import { ask } from './ask.ts';
import type { Violation } from './history.ts';
import type { DatabaseUrls } from './rows.ts';

export type LogChange = {
  readonly table: string;
  readonly kind: 'INSERT' | 'UPDATE' | 'DELETE';
  readonly row: ReadonlyMap<string, string>;
};
export type LogTransaction = { readonly local: boolean; readonly changes: readonly LogChange[] };

export type Succession = {
  readonly term: number;
  readonly kind: string;
  readonly from: string;
  readonly to: string;
  readonly undoes: number | null;
};
export type DeedRow = {
  readonly account: string;
  readonly home: string;
  readonly term: number;
  readonly counter: number;
  readonly accepted: boolean;
};
/** What was there when the log began. */
export type LogStart = {
  readonly deeds: readonly DeedRow[];
  readonly successions: readonly Succession[];
  /** `table/key` → account, for rows that name it only through another row. */
  readonly owners: ReadonlyMap<string, string>;
};

const slot = 'lanekeeper_drill';

/** Begins to record. Returns null where it cannot (no free slot, no WAL of that kind): then nothing of it is checked. */
export async function startLog(url: string): Promise<LogStart> {
  await ask(url, `SELECT pg_catalog.pg_create_logical_replication_slot('${slot}', 'test_decoding')`);
  const deeds = await ask<DeedRow & { term: string; counter: string }>(
    url,
    `SELECT account, home, term::text, counter::text, giver IS NULL OR EXISTS (SELECT FROM lanekeeper.acceptance a
       WHERE a.account = d.account AND a.term = d.term AND a.counter = d.counter) AS accepted FROM lanekeeper.deed d`,
  );
  const successions = await ask<Succession & { term: string; undoes: string | null }>(
    url,
    'SELECT term::text, kind, from_dc AS "from", to_dc AS "to", undoes::text FROM lanekeeper.succession ORDER BY term',
  );
  const owners = await ask<{ key: string; account: string }>(
    url,
    `SELECT 'public.carts/' || id AS key, account_id AS account FROM public.carts
      UNION ALL SELECT 'public.orders/' || id, account_id FROM public.orders
      UNION ALL SELECT 'public.cart_lines/' || l.id, c.account_id FROM public.cart_lines l JOIN public.carts c ON c.id = l.cart_id
      UNION ALL SELECT 'public.order_lines/' || l.id, o.account_id FROM public.order_lines l JOIN public.orders o ON o.id = l.order_id`,
  );
  return {
    deeds: deeds.map((deed) => ({ ...deed, term: Number(deed.term), counter: Number(deed.counter) })),
    successions: successions.map((one) => ({
      ...one,
      term: Number(one.term),
      undoes: one.undoes === null ? null : Number(one.undoes),
    })),
    owners: new Map(owners.map(({ key, account }) => [key, account])),
  };
}

export async function dropLog(url: string): Promise<void> {
  await ask(
    url,
    `SELECT pg_catalog.pg_drop_replication_slot(slot_name) FROM pg_catalog.pg_replication_slots WHERE slot_name = '${slot}'`,
  );
}

/** Null: the slot is gone, with the database it was in. */
export async function readLog(url: string): Promise<readonly LogTransaction[] | null> {
  const [there] = await ask<{ there: boolean }>(
    url,
    `SELECT EXISTS (SELECT FROM pg_catalog.pg_replication_slots WHERE slot_name = '${slot}' AND wal_status IS DISTINCT FROM 'lost') AS there`,
  );
  if (there?.there !== true) return null;
  const peek = (onlyLocal: boolean) =>
    ask<{ xid: string; data: string }>(
      url,
      `SELECT xid::text, data FROM pg_catalog.pg_logical_slot_peek_changes('${slot}', NULL, NULL,
         'skip-empty-xacts', '1', 'include-timestamp', '0'${onlyLocal ? ", 'only-local', '1'" : ''})`,
      [],
      60_000,
    );
  const local = new Set((await peek(true)).map(({ xid }) => xid));
  const transactions: { local: boolean; changes: LogChange[] }[] = [];
  for (const { xid, data } of await peek(false)) {
    if (data.startsWith('BEGIN')) transactions.push({ local: local.has(xid), changes: [] });
    else if (data.startsWith('table ')) {
      const change = parseChange(data);
      if (change) transactions.at(-1)?.changes.push(change);
    }
  }
  return transactions;
}

/** `table public.orders: INSERT: id[text]:'o1' account_id[text]:'a1' note[text]:null` */
export function parseChange(text: string): LogChange | null {
  const head = /^table (?:"([^"]+)"|([^.:"]+))\.(?:"([^"]+)"|([^.:"]+)): (INSERT|UPDATE|DELETE):/.exec(text);
  if (!head) return null;
  const row = new Map<string, string>();
  let rest = text.slice(head[0].length);
  const moved = rest.indexOf(' new-tuple:');
  if (rest.startsWith(' old-key:') && moved !== -1) rest = rest.slice(moved + ' new-tuple:'.length);
  for (const match of rest.matchAll(/ (?:"([^"]+)"|([^\s["]+))\[[^:]+?\]:(?:'((?:[^']|'')*)'|(\S+))/g)) {
    row.set(match[1] ?? match[2] ?? '', match[3]?.replaceAll("''", "'") ?? match[4] ?? '');
  }
  return {
    table: `${head[1] ?? head[2]}.${head[3] ?? head[4]}`,
    kind: head[5] as LogChange['kind'],
    row,
  };
}

/** How the rows of each table find their account. */
const homedTables: Readonly<Record<string, { readonly column: string; readonly through?: string }>> = {
  'public.accounts': { column: 'id' },
  'public.carts': { column: 'account_id' },
  'public.orders': { column: 'account_id' },
  'public.cart_lines': { column: 'cart_id', through: 'public.carts' },
  'public.order_lines': { column: 'order_id', through: 'public.orders' },
};

export type LogReading = {
  readonly violations: readonly Violation[];
  /** Changes of accounts' rows made here, by customers. */
  readonly localWrites: number;
  /** For G1: per account, notes of its orders in the order in which they came, and where the first local write of each epoch stands. */
  readonly accounts: ReadonlyMap<string, AccountLog>;
};

export type AccountLog = {
  /** Notes of orders written here itself, with the epoch in which they were. */
  readonly written: { readonly value: string; readonly epoch: string }[];
  /** By epoch: notes that were here when the first local write of that epoch came. */
  readonly knownAtFirstWrite: Map<string, ReadonlySet<string>>;
};

type Deed = { readonly home: string; readonly term: number; readonly counter: number; readonly accepted: boolean };

/**
 * Reads one data center's log. Pure. Only writes of `customers`' accounts are judged: what a fault writes past the fence is
 * the fault's own.
 */
export function readThrough(
  dataCenter: string,
  transactions: readonly LogTransaction[],
  start: LogStart,
  customers: ReadonlySet<string>,
): LogReading {
  const deeds = new Map<string, Deed>(start.deeds.map((deed) => [deed.account, deed]));
  const successions = [...start.successions];
  const owners = new Map(start.owners);
  const known = new Map<string, Set<string>>();
  const accounts = new Map<string, AccountLog>();
  const violations: Violation[] = [];
  let localWrites = 0;
  const say = (invariant: Violation['invariant'], what: string): void => {
    violations.push({ invariant, what: `${dataCenter}: ${what}` });
  };
  for (const transaction of transactions) {
    // What a transaction says of deeds counts for its own rows: a deed is born in the transaction of its account.
    for (const change of transaction.changes) {
      takeNews(change, deeds, successions, (what) => say('E1', what));
    }
    for (const change of transaction.changes) {
      const homed = homedTables[change.table];
      if (homed === undefined) continue;
      const key = `${change.table}/${change.row.get('id')}`;
      const named = change.row.get(homed.column);
      const account =
        (named === undefined ? undefined : homed.through ? owners.get(`${homed.through}/${named}`) : named) ??
        owners.get(key);
      if (account === undefined) continue;
      owners.set(key, account);
      if (!customers.has(account)) continue;
      if (transaction.local) {
        localWrites += 1;
        // With one home for all accounts there is one deed.
        const deed = deeds.get(account) ?? deeds.get('*');
        const home = deed === undefined ? null : resolve(deed, successions);
        const epoch = deed === undefined ? '' : epochOf(deed, successions);
        if (deed === undefined) say('W1', `${change.kind} of ${key} of ${account}, which has no deed here`);
        else if (home !== dataCenter)
          say('W1', `${change.kind} of ${key} of ${account}, which is written in ${home} (epoch ${epoch})`);
        else if (!deed.accepted && epoch === `${deed.term}.${deed.counter}`)
          say('W1', `${change.kind} of ${key} of ${account} before it was accepted here (epoch ${epoch})`);
        const log: AccountLog = accounts.get(account) ?? { written: [], knownAtFirstWrite: new Map() };
        accounts.set(account, log);
        if (!log.knownAtFirstWrite.has(epoch)) log.knownAtFirstWrite.set(epoch, new Set(known.get(account)));
        const note = change.row.get('note');
        if (change.table === 'public.orders' && change.kind === 'INSERT' && note)
          log.written.push({ value: note, epoch });
      }
      const note = change.row.get('note');
      if (change.table === 'public.orders' && change.kind === 'INSERT' && note) {
        const notes = known.get(account) ?? new Set();
        notes.add(note);
        known.set(account, notes);
      }
    }
  }
  return { violations, localWrites, accounts };
}

function takeNews(
  { table, kind, row }: LogChange,
  deeds: Map<string, Deed>,
  successions: Succession[],
  regress: (what: string) => void,
): void {
  if (kind === 'DELETE') return;
  const number = (name: string): number => Number(row.get(name));
  const text = (name: string): string => row.get(name) ?? '';
  if (table === 'lanekeeper.deed') {
    const account = text('account');
    const next = { term: number('term'), counter: number('counter') };
    const present = deeds.get(account);
    if (present !== undefined && compareEpochs(next, present) < 0) {
      regress(`the deed of ${account} fell from ${present.term}.${present.counter} to ${next.term}.${next.counter}`);
    }
    if (present !== undefined && compareEpochs(next, present) === 0) return;
    deeds.set(account, { ...next, home: text('home'), accepted: text('giver') === 'null' || text('giver') === '' });
  } else if (table === 'lanekeeper.acceptance' && kind === 'INSERT') {
    const deed = deeds.get(text('account'));
    if (deed !== undefined && deed.term === number('term') && deed.counter === number('counter'))
      deeds.set(text('account'), { ...deed, accepted: true });
  } else if (table === 'lanekeeper.succession' && kind === 'INSERT') {
    const term = number('term');
    const last = successions.at(-1)?.term ?? 1;
    // One that comes back takes rows away and is sent them again.
    const again = successions.find((one) => one.term === term);
    if (again !== undefined && again.from === text('from_dc') && again.to === text('to_dc')) return;
    if (term <= last) regress(`a succession of term ${term} came after one of term ${last}`);
    const undoes = row.get('undoes');
    successions.push({
      term,
      kind: text('kind'),
      from: text('from_dc'),
      to: text('to_dc'),
      undoes: undoes === undefined || undoes === 'null' ? null : Number(undoes),
    });
    successions.sort((a, b) => a.term - b.term);
  }
}

function compareEpochs(
  a: { readonly term: number; readonly counter: number },
  b: { readonly term: number; readonly counter: number },
): number {
  return a.term - b.term || a.counter - b.counter;
}

/** Written once more on purpose: the checker takes nothing of the product's word for it. */
function applied(deed: Deed, successions: readonly Succession[]): { readonly home: string; readonly term: number } {
  let { home, term } = deed;
  const taken = new Set<number>();
  for (const one of successions) {
    if (one.term <= deed.term || one.from !== home) continue;
    if (one.kind === 'return' && (one.undoes === null || !taken.has(one.undoes))) continue;
    taken.add(one.term);
    home = one.to;
    term = one.term;
  }
  return { home, term };
}

function resolve(deed: Deed, successions: readonly Succession[]): string {
  return applied(deed, successions).home;
}

function epochOf(deed: Deed, successions: readonly Succession[]): string {
  return `${applied(deed, successions).term}.${deed.counter}`;
}

/**
 * W1 across data centers: no epoch of an account has two writers. G1: at the first write in a newer epoch, all orders of
 * older epochs are here, but for those that are stranded. Pure.
 */
export function compareLogs(
  readings: Readonly<Record<string, LogReading>>,
  strandedValues: ReadonlyMap<string, number>,
): readonly Violation[] {
  const violations: Violation[] = [];
  const writers = new Map<string, string>();
  for (const [dataCenter, { accounts }] of Object.entries(readings)) {
    for (const [account, { knownAtFirstWrite }] of accounts) {
      for (const epoch of knownAtFirstWrite.keys()) {
        const key = `${account} in epoch ${epoch}`;
        const other = writers.get(key);
        if (other !== undefined)
          violations.push({ invariant: 'W1', what: `${key} was written in ${other} and in ${dataCenter}` });
        writers.set(key, dataCenter);
      }
    }
  }
  for (const [dataCenter, { accounts }] of Object.entries(readings)) {
    for (const [account, { knownAtFirstWrite }] of accounts) {
      for (const [epoch, known] of knownAtFirstWrite) {
        for (const [other, reading] of Object.entries(readings)) {
          if (other === dataCenter) continue;
          for (const { value, epoch: older } of reading.accounts.get(account)?.written ?? []) {
            if (compareEpochs(epochIn(older), epochIn(epoch)) >= 0 || known.has(value) || strandedValues.has(value))
              continue;
            violations.push({
              invariant: 'G1',
              what: `${dataCenter} wrote ${account} in epoch ${epoch} before order "${value}", written in ${other} in epoch ${older}, had arrived`,
            });
          }
        }
      }
    }
  }
  return violations;
}

function epochIn(text: string): { readonly term: number; readonly counter: number } {
  const [term, counter] = text.split('.');
  return { term: Number(term), counter: Number(counter) };
}

export async function startLogs(urls: DatabaseUrls): Promise<Readonly<Record<string, LogStart>>> {
  const entries = await Promise.all(
    Object.entries(urls).map(async ([name, url]) => {
      await dropLog(url);
      return [name, await startLog(url)] as const;
    }),
  );
  return Object.fromEntries(entries);
}
