/**
 * The words of the field, one for one thing. Nothing here imports anything.
 *
 * A **data center** (dc) is one site with its own applications and its own PostgreSQL. An **account** is the unit of
 * ownership; its **home** is the one dc that accepts its writes (R1). A **deed** is the replicated row that says so.
 */

/** Short name of a data center: `[a-z][a-z0-9]{0,14}`, for example `ny`. */
export type DataCenterName = string;

/** An account's key as PostgreSQL prints it (`account::text`), whatever its type in the user's schema. */
export type AccountId = string;

/** With `homes: single` there is one deed for everything, and this is its account. */
export const singleAccount: AccountId = '*';

/**
 * Orders the deeds of one account. `term` comes from the lease store and rises with every succession; `counter` rises
 * with every move of this account. An epoch never falls, anywhere (invariant E1).
 */
export type Epoch = { readonly term: number; readonly counter: number };

export type Deed = {
  readonly account: AccountId;
  readonly home: DataCenterName;
  readonly epoch: Epoch;
};

/** Negative when `a` is older than `b`, zero when equal, positive when newer. */
export function compareEpochs(a: Epoch, b: Epoch): number {
  return a.term - b.term || a.counter - b.counter;
}

/** What a table holds, and so how it is fenced and how it reaches the other data centers. */
export const dataClasses = [
  'system-of-record',
  'system-of-reference',
  'read-only',
  'static-content',
  'cache',
  'session-state',
] as const;
export type DataClass = (typeof dataClasses)[number];

/** When a transaction is acknowledged: `local` when it is durable here, `remote` when every dc of the sync set has it too. */
export const durabilities = ['local', 'remote'] as const;
export type Durability = (typeof durabilities)[number];

/** What a data center does with `remote` transactions while its sync set is empty: `accept` them as local, or `refuse` them. */
export type WhenAlone = 'accept' | 'refuse';

/** What becomes of stranded writes when nothing happened since: `keep` them for a person, or `merge` them. */
export type StrandedPolicy = 'keep' | 'merge';

/**
 * Which of two concurrent writes to a shared row wins. The first three compare stamps and leave every data center equal;
 * `last-man-standing` is the order of arrival and does not.
 */
export const policies = ['timestamp-weight', 'locality-weight', 'application-weight', 'last-man-standing'] as const;
export type Policy = (typeof policies)[number];

/** How a write to a shared table reaches the other dcs: by PostgreSQL, by the application that writes to each, or through a log. */
export const writePatterns = ['replicated', 'direct', 'buffered'] as const;
export type WritePattern = (typeof writePatterns)[number];

/** The account under which the deed of a fixed home is kept; fixed homes are named in the configuration. */
export function fixedAccount(name: string): AccountId {
  return `fixed:${name}`;
}

/** On which a database tells what has changed in `cached` tables: `{"r": table, "k": key as texts, or null}`. */
export const cacheChannel = 'lanekeeper_cache';

/** Where a class says nothing else. */
export const defaultDurability: Readonly<Record<DataClass, Durability>> = {
  'system-of-record': 'remote',
  'system-of-reference': 'local',
  'read-only': 'local',
  'static-content': 'local',
  cache: 'local',
  'session-state': 'local',
};

/** The five ways to run commerce from several data centers; each is a setting of two questions (see `approaches`). */
export type ApproachName =
  | 'active-passive'
  | 'active-active-apps'
  | 'mostly-active-active'
  | 'full-active-active'
  | 'stateless-frontends';

/** One home for all accounts, or a home for each. */
export type Homes = 'single' | 'per-account';

/** What is sent to the home: the customer (by the edge), the connection (by the pool) or the call (by a client). */
export type Routing = 'customer' | 'connection' | 'call';

export const approaches: Readonly<Record<ApproachName, { readonly homes: Homes; readonly routing: Routing }>> = {
  'active-passive': { homes: 'single', routing: 'customer' },
  'active-active-apps': { homes: 'single', routing: 'connection' },
  'mostly-active-active': { homes: 'per-account', routing: 'connection' },
  'full-active-active': { homes: 'per-account', routing: 'customer' },
  'stateless-frontends': { homes: 'per-account', routing: 'call' },
};

/** What agents answer to a request to move an account. */
export const moveKinds = [
  'moved',
  'already-there',
  'in-use',
  'dwelling',
  'over-budget',
  'pending',
  'refused',
  'declined',
  'unreachable',
] as const;
export type MoveKind = (typeof moveKinds)[number];
