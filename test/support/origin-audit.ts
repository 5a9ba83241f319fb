/**
 * Who wrote what, from PostgreSQL's own record: a logical slot in each data center is decoded in commit order, where every
 * transaction says whether it was made here or came by replication. Lanekeeper's logs and status are not asked.
 *
 * W1: a row of an account is written here only while the account's deed, as this very log has it, names this data center,
 * and, if the account was given to it, after its acceptance.
 */
import { singleAccount } from 'lanekeeper/model';
import { runSql } from './clusters.ts';

export type AuditedTable = {
  readonly name: string;
  /** The column that holds the account, or the one that holds the key of a row of `through`. */
  readonly column: string;
  /** The table (by its `key` column) whose rows know the account. */
  readonly through?: string;
  /** The column by which this table's rows are found again, when they are deleted. Default `id`. */
  readonly key?: string;
};

export type Violation = {
  readonly dataCenter: string;
  readonly account: string;
  readonly change: string;
  readonly why: string;
};

export type AuditResult = {
  /** Changes of homed rows made in each data center itself. */
  readonly localWrites: Readonly<Record<string, number>>;
  /** How often each data center has accepted an account. */
  readonly acceptances: Readonly<Record<string, number>>;
  readonly violations: readonly Violation[];
  /** Deeds whose epoch was seen to fall (E1). */
  readonly regressions: readonly string[];
};

type Change = {
  readonly table: string;
  readonly kind: 'INSERT' | 'UPDATE' | 'DELETE';
  readonly row: ReadonlyMap<string, string>;
  readonly text: string;
};
type Transaction = { readonly xid: string; readonly local: boolean; readonly changes: Change[] };

const slot = 'lanekeeper_audit';

/** Begins to record. Call before the load, when nothing has been written that matters. */
export async function startAudit(superuserUrls: Readonly<Record<string, string>>): Promise<void> {
  for (const url of Object.values(superuserUrls)) {
    await runSql(url, `SELECT pg_create_logical_replication_slot('${slot}', 'test_decoding')`);
  }
}

export async function finishAudit(
  superuserUrls: Readonly<Record<string, string>>,
  tables: readonly AuditedTable[],
  before: {
    readonly deeds: Readonly<Record<string, readonly DeedRow[]>>;
    readonly parents?: ReadonlyMap<string, string>;
  },
): Promise<AuditResult> {
  const localWrites: Record<string, number> = {};
  const acceptances: Record<string, number> = {};
  const violations: Violation[] = [];
  const regressions: string[] = [];
  for (const [dataCenter, url] of Object.entries(superuserUrls)) {
    const transactions = await decode(url, tables);
    const judged = judge(dataCenter, transactions, tables, before.deeds[dataCenter] ?? [], before.parents ?? new Map());
    localWrites[dataCenter] = judged.localWrites;
    acceptances[dataCenter] = judged.acceptances;
    violations.push(...judged.violations);
    regressions.push(...judged.regressions);
  }
  return { localWrites, acceptances, violations, regressions };
}

export type DeedRow = {
  readonly account: string;
  readonly home: string;
  readonly term: string;
  readonly counter: string;
  readonly giver: string | null;
  readonly accepted: boolean;
};

/** The deeds at the moment the audit begins. */
export function readDeeds(url: string): Promise<DeedRow[]> {
  return runSql<DeedRow>(
    url,
    `SELECT account, home, term::text, counter::text, giver, giver IS NULL OR EXISTS (SELECT FROM lanekeeper.acceptance a
       WHERE a.account = d.account AND a.term = d.term AND a.counter = d.counter) AS accepted FROM lanekeeper.deed d`,
  );
}

async function decode(url: string, tables: readonly AuditedTable[]): Promise<Transaction[]> {
  // An import beside it has more rows than there is room for here.
  const wanted = ['lanekeeper.deed', 'lanekeeper.acceptance', ...tables.map(({ name }) => name)].map(
    (name) => `table ${name}:%`,
  );
  const read = (onlyLocal: boolean) =>
    runSql<{ xid: string; data: string }>(
      url,
      `SELECT xid::text, data FROM pg_logical_slot_peek_changes('${slot}', NULL, NULL, 'skip-empty-xacts', '1', 'include-timestamp', '0'${onlyLocal ? ", 'only-local', '1'" : ''})
        WHERE data LIKE 'BEGIN%' OR data LIKE ANY ($1)`,
      [wanted],
    );
  const local = new Set((await read(true)).map((line) => line.xid));
  const transactions: Transaction[] = [];
  for (const { xid, data } of await read(false)) {
    if (data.startsWith('BEGIN')) transactions.push({ xid, local: local.has(xid), changes: [] });
    else if (data.startsWith('table ')) {
      const change = parseChange(data);
      if (change) transactions.at(-1)?.changes.push(change);
    }
  }
  await runSql(url, `SELECT pg_drop_replication_slot('${slot}')`);
  return transactions;
}

/** `table public.orders: INSERT: id[text]:'o1' account_id[text]:'a1' note[text]:null` */
export function parseChange(text: string): Change | null {
  const head = /^table (?:"([^"]+)"|([^.:"]+))\.(?:"([^"]+)"|([^.:"]+)): (INSERT|UPDATE|DELETE):/.exec(text);
  if (!head) return null;
  const row = new Map<string, string>();
  let rest = text.slice(head[0].length);
  const moved = rest.indexOf(' new-tuple:');
  if (rest.startsWith(' old-key:') && moved !== -1) rest = rest.slice(moved + ' new-tuple:'.length);
  for (const match of rest.matchAll(/ (?:"([^"]+)"|([^\s["]+))\[(?:[^\]]|\]\[)*?\]:(?:'((?:[^']|'')*)'|(\S+))/g)) {
    row.set(match[1] ?? match[2] ?? '', match[3]?.replaceAll("''", "'") ?? match[4] ?? '');
  }
  return {
    table: `${head[1] ?? head[2]}.${head[3] ?? head[4]}`,
    kind: head[5] as Change['kind'],
    row,
    text,
  };
}

export function judge(
  dataCenter: string,
  transactions: readonly Transaction[],
  tables: readonly AuditedTable[],
  deedsBefore: readonly DeedRow[],
  parentsBefore: ReadonlyMap<string, string>,
) {
  const deeds = new Map(
    deedsBefore.map((deed) => [deed.account, { ...deed, epoch: epochOf(deed.term, deed.counter) }]),
  );
  /** `table/key` → account */
  const owners = new Map(parentsBefore);
  const violations: Violation[] = [];
  const regressions: string[] = [];
  let localWrites = 0;
  let acceptances = 0;
  for (const transaction of transactions) {
    // What a transaction says of deeds counts for its own rows: a deed is born in the transaction of its account.
    for (const { table, row, kind } of transaction.changes) {
      if (table === 'lanekeeper.deed' && kind !== 'DELETE') {
        const account = row.get('account') ?? '';
        const epoch = epochOf(row.get('term') ?? '', row.get('counter') ?? '');
        const present = deeds.get(account);
        if (present && epoch < present.epoch) regressions.push(`${dataCenter}: ${account} ${present.epoch} → ${epoch}`);
        const giver = row.get('giver') === 'null' ? null : (row.get('giver') ?? null);
        if (!present || epoch !== present.epoch) {
          deeds.set(account, {
            account,
            home: row.get('home') ?? '',
            term: '',
            counter: '',
            giver,
            accepted: giver === null,
            epoch,
          });
        }
      } else if (table === 'lanekeeper.acceptance' && kind === 'INSERT') {
        const deed = deeds.get(row.get('account') ?? '');
        if (deed && deed.epoch === epochOf(row.get('term') ?? '', row.get('counter') ?? ''))
          deeds.set(deed.account, { ...deed, accepted: true });
        if (transaction.local) acceptances++;
      }
    }
    for (const change of transaction.changes) {
      const audited = tables.find((table) => table.name === change.table);
      if (!audited) continue;
      const key = `${audited.name}/${change.row.get(audited.key ?? 'id')}`;
      const named = change.row.get(audited.column);
      const account =
        (named === undefined ? undefined : audited.through ? owners.get(`${audited.through}/${named}`) : named) ??
        owners.get(key);
      if (account === undefined) {
        violations.push({
          dataCenter,
          account: '?',
          change: change.text,
          why: 'belongs to no account that the log knows',
        });
        continue;
      }
      owners.set(key, account);
      if (!transaction.local) continue;
      localWrites++;
      const deed = deeds.get(account) ?? deeds.get(singleAccount);
      if (!deed) violations.push({ dataCenter, account, change: change.text, why: 'no deed' });
      else if (deed.home !== dataCenter)
        violations.push({ dataCenter, account, change: change.text, why: `home is ${deed.home}` });
      else if (!deed.accepted) violations.push({ dataCenter, account, change: change.text, why: 'not accepted yet' });
    }
  }
  return { localWrites, acceptances, violations, regressions };
}

function epochOf(term: string, counter: string): number {
  return Number(term) * 1e9 + Number(counter);
}
