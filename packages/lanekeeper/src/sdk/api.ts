/** What applications see of the SDK: the types of `createLanekeeper`'s result and of a request's scope. */
import type pg from 'pg';
import type { Configuration } from '../config/index.ts';
import type { AccountId, DataCenterName, Durability, Epoch, MoveKind, Policy } from '../model/index.ts';

export type LanekeeperOptions = {
  /** Path of the configuration file, or the configuration itself. Default: `LANEKEEPER_CONFIG`, else `./lanekeeper.yaml`. */
  readonly config?: string | Configuration;
  /** Where secrets and `LANEKEEPER_*` are read from. Default: `process.env`. */
  readonly env?: NodeJS.ProcessEnv;
  /**
   * Which application this is, as `merge.applications` in the configuration names it: for `application-weight`, and in the
   * log of conflicts. Default: `LANEKEEPER_APPLICATION`, else it does not say.
   */
  readonly application?: string;
  /** Names this process among the application's instances in this dc. Default: `LANEKEEPER_INSTANCE`, else a random name. */
  readonly instance?: string;
  /**
   * Connection string for application queries. Default: `DATABASE_URL`, else the local database of the configuration.
   * It may lead through PgBouncer in transaction mode.
   */
  readonly databaseUrl?: string;
  /**
   * With `routing: connection`: connection strings for application queries to other data centers, for those that do not go
   * straight to the database of the configuration. Default: that, with the application role and its password.
   */
  readonly databaseUrls?: Readonly<Record<DataCenterName, string>>;
  /**
   * Connection string that leads straight to PostgreSQL, for the one connection that LISTENs. Default:
   * `LANEKEEPER_CONTROL_URL`, else the local database of the configuration.
   */
  readonly controlUrl?: string;
};

/** Where an account is written, as this dc's database knows it. */
export type Whereabouts = {
  readonly home: DataCenterName;
  readonly epoch: Epoch;
  /** False while the account has just arrived here and is being checked. */
  readonly accepted: boolean;
  /** True while it is about to leave. */
  readonly draining: boolean;
};

export type ClaimResult =
  | { readonly kind: 'claimed' }
  | { readonly kind: 'taken' }
  /** Nobody can say whether it is free, and why: ask again later. */
  | { readonly kind: 'unavailable'; readonly reason: string };

/** What the agents answer to a move. */
export type MoveResult = {
  readonly kind: MoveKind;
  /** Where the account is now, if anyone could say. */
  readonly home: DataCenterName | null;
  readonly epoch: Epoch | null;
  readonly reason: string | null;
};

export type Outcome<Result> =
  | { readonly kind: 'done'; readonly result: Result; readonly dataCenter: DataCenterName }
  /** Nothing is recorded here: it was not done, or its record has not arrived here yet. */
  | { readonly kind: 'unknown' };

/** Of when a copy of other tables is. */
export type CopyAsOf = {
  readonly asOf: Date;
  readonly madeAt: Date;
  /** False: writes before `asOf` may be missing, of the dcs named. */
  readonly complete: boolean;
  readonly missing: readonly DataCenterName[];
};

/**
 * The one method of a connection that `once` needs; a client from `lanekeeper/pg` fits as it is. A query builder's
 * transaction is adapted in one line, for example `{ query: (text, values) => trx.executeQuery(CompiledQuery.raw(text, values)) }`.
 */
export type Queryable = {
  query(text: string, values: unknown[]): Promise<{ readonly rows: readonly unknown[] }>;
};

/** One request of one customer. Fastify: `request.lanekeeper`; Express: `req.lanekeeper`; anywhere: `lanekeeper.current()`. */
export interface RequestScope {
  /** The dc that serves the request. */
  readonly dataCenter: DataCenterName;
  /** The account that is signed in. */
  readonly account: AccountId | null;
  /** The guest account of this session; after sign-in it stays readable, so that its cart can be taken over. */
  readonly guest: AccountId | null;
  /** Where the signed-in account, else the guest, is written. Null when there is neither. */
  readonly home: DataCenterName | null;
  /**
   * The least that a transaction of this request which wrote something has reached: `remote` when the database waited for all other
   * data centers in step, each time; `local` otherwise, also when only `local` tables were written. Null: nothing was written so far.
   * The response says it as `Lanekeeper-Durability`.
   */
  readonly durability: Durability | null;
  /**
   * What this session changed last may be missing, because the data center that had it alone was taken over: say so on the page. The
   * response says it as `Lanekeeper-Missing: possible`. True in one request only.
   */
  readonly mayMiss: boolean;
  /** Names the request in answers and errors: `x-request-id` when it is well-formed, else a new one. */
  readonly requestId: string;
  /**
   * Call this after the password was checked and before anything is written. When the account is homed elsewhere and idle, it is
   * moved here (within `moves.signInWaitMs`); else throws `ReplayError`, upon which the edge repeats the request in its home.
   * `registered: true` says that this very request created the account, so its home is here.
   * @throws {ReplayError} `LK_WRONG_HOME`
   * @throws {LanekeeperError} `LK_UNKNOWN_ACCOUNT`, `LK_MOVING`
   */
  signIn(account: AccountId, options?: { readonly registered?: true }): Promise<void>;
  /** Makes this the session of a guest whose account was just created here, e.g. at the first cart write. */
  beGuest(account: AccountId): Promise<void>;
  /** Ends the session, for a guest as well. */
  signOut(): Promise<void>;
  /**
   * The absolute URL of a path of this site in another dc, to redirect to at once: where the two hosts share no parent domain it
   * carries the session in a handoff token, which is good once and for a minute. A path that leads to another host becomes `/`.
   * @throws {LanekeeperError} `LK_CONFIG` when the configuration has no such dc
   */
  addressIn(dataCenter: DataCenterName, path: string): string;
  /** Forgets the guest after sign-in, once its cart has been taken over. */
  forgetGuest(): Promise<void>;
  /**
   * Runs `work` for another account than the session's (call center, jobs): queries in it are bound to that account, and a
   * move of it waits for `work` to end.
   * @throws {ReplayError} `LK_WRONG_HOME` before `work` starts, when the account is homed elsewhere
   * @throws {LanekeeperError} `LK_UNKNOWN_ACCOUNT`, `LK_ARRIVING`, `LK_MOVING`
   */
  forAccount<Result>(account: AccountId, work: () => Promise<Result>): Promise<Result>;
}

export type PoolOptions = pg.PoolConfig & {
  /** With `routing: connection`: false keeps all connections of this pool in the local database. Default true. */
  readonly follow?: boolean;
};

export interface Lanekeeper {
  readonly here: DataCenterName;
  readonly instance: string;
  readonly configuration: Configuration;
  /** `Client` of `lanekeeper/pg`, for libraries that want the class. */
  readonly Client: typeof pg.Client;
  /** `lanekeeper/pg` for this instance, for libraries that want the module: with `routing: connection` its connections follow. */
  readonly pg: typeof pg;
  /**
   * A pool on the local database, as the application's role. `options` are pg's own. With `routing: connection` whoever asks for
   * a connection gets one to the database where his work is written; requests that only read get one to the local database.
   */
  pool(options?: PoolOptions): pg.Pool;
  /** The scope of the request this code runs for. */
  current(): RequestScope | undefined;
  /** As `RequestScope.forAccount`, also where there is no request. */
  forAccount<Result>(account: AccountId, work: () => Promise<Result>): Promise<Result>;
  /** Where an account is written, fresh from the database. Null when no deed for it is known here. */
  whereIs(account: AccountId): Promise<Whereabouts | null>;
  /** Reserves a value that must be unique in all dcs, before the insert that uses it. Safe to repeat for the same account. */
  claim(name: string, value: string, options: { readonly account: AccountId }): Promise<ClaimResult>;
  /** Gives it up again; does nothing when another account holds it. */
  releaseClaim(name: string, value: string, options: { readonly account: AccountId }): Promise<ReleaseResult>;
  /** A new sortable id that names the dc it was made in, e.g. `ny_acc_01J…`. */
  id(kind: string): string;
  /**
   * Does `work` at most once for this `requestId`: its result is recorded in the same transaction, and a repetition gets that
   * result back, as JSON kept it (a Date has become a string). `client` must be in a transaction, bound to an account.
   * Ids are per account: the same id of another account is another request.
   * @throws {TypeError} outside of a transaction, or where no account is bound
   */
  once<Result>(
    requestId: string,
    client: Queryable,
    work: () => Promise<Result>,
  ): Promise<{ readonly kind: 'done' | 'repeated'; readonly result: Result }>;
  /**
   * What the last transaction on this connection that wrote something has reached, known as soon as its COMMIT has been answered;
   * null when there was none since the connection was taken from its pool. For connections of `lanekeeper/pg`.
   */
  durabilityOf(client: pg.ClientBase): Durability | null;
  /** Whether the work of that request id was committed, as far as this dc knows. */
  outcome<Result = unknown>(requestId: string): Promise<Outcome<Result>>;
  /**
   * Runs `work` in one process only: of this dc (the default), or with `scope: 'cluster'` of the dc where the fixed home of that name is.
   * When `work` returns it is called again after `pauseMs`; when it throws, another process may take its turn. One that dies or is
   * stopped is replaced within seconds.
   * @throws {LanekeeperError} `LK_CONFIG` when `fixed` has no such name, with `scope: 'cluster'`
   */
  singleton(name: string, work: (run: SingletonRun) => Promise<unknown>, options?: SingletonOptions): Singleton;
  /** Of when a table declared with `copy` is, as it has arrived in this dc. Null: it was not made yet. */
  asOf(table: string): Promise<CopyAsOf | null>;
  /**
   * A table with `writes: direct` or `buffered`, which is written this way only. `put` takes a whole row: what is not given gets its
   * default, or NULL. Of two writes to one key the later one stays, everywhere.
   * @throws {LanekeeperError} `LK_CONFIG` for any other table
   */
  everywhere<Row extends object = Record<string, unknown>>(table: string): TableEverywhere<Row>;
  /**
   * A cache in this process whose entries are forgotten when a row they were made from changes, whoever changed it: see `Cache`.
   * @throws {LanekeeperError} `LK_CONFIG` when no table says `cached: true`
   */
  cache(options?: CacheOptions): Cache;
  /**
   * Calls `handler` with every conflict of shared rows that is logged in this dc from now on, at most once in this process:
   * see `Conflict`. What it throws becomes a warning of the process, `LK_CONFLICT`. Returns what ends it.
   */
  onConflict(handler: ConflictHandler): () => void;
  /** Asks the agents to move an account. Throws `LK_AGENT_UNAVAILABLE` when the local one does not answer. */
  move(account: AccountId, to: DataCenterName, options?: MoveOptions): Promise<MoveResult>;
  /** Closes its own connections; pools made by `pool()` are the application's to end. Safe to repeat. */
  close(): Promise<void>;
}

/** Two writes to one shared row, neither of which had seen the other; one of them stays, everywhere. */
export type Conflict = {
  /** Of the log in this dc, which numbers its own. */
  readonly id: number;
  readonly at: Date;
  /** Where the two met, and where this is logged: every dc in which they do has its own entry. */
  readonly dataCenter: DataCenterName;
  /** `schema.table` */
  readonly table: string;
  readonly key: Readonly<Record<string, string>>;
  readonly policy: Policy;
  readonly winner: ConflictVersion;
  readonly loser: ConflictVersion;
};

export type ConflictVersion = {
  /** Where it was written. */
  readonly dataCenter: DataCenterName;
  /** Who wrote it, if it said so: the option `application`. */
  readonly application: string | null;
  /** When, by the clock of where it was. */
  readonly at: Date;
  /** Its columns as text, as PostgreSQL prints them; null: it was deleted. */
  readonly row: Readonly<Record<string, string | null>> | null;
};

export type ConflictHandler = (conflict: Conflict) => void | Promise<void>;

export type CacheOptions = {
  /** Entries. Default 10000. */
  readonly max?: number;
  /** How old an entry may be, whatever was heard. Default 600000. */
  readonly maxAgeMs?: number;
};

/** A table, or one row of it by its primary key: `'products'`, `['products', id]`, `['stock', place, id]`. */
export type CacheSource = string | readonly [table: string, ...key: (string | number | bigint)[]];

export type CacheStatistics = {
  readonly hits: number;
  readonly misses: number;
  /** Because something changed. */
  readonly forgotten: number;
  /** Because there were too many. */
  readonly evicted: number;
  readonly entries: number;
  /** While false, nothing is kept. */
  readonly listening: boolean;
};

export interface Cache {
  /**
   * The value under `key`, else that of `fill`, kept until one of `sources` changes. `fill` reads this dc's database; one
   * call serves all who wait.
   * @throws {LanekeeperError} `LK_CONFIG` for a table without `cached: true`
   */
  get<Value>(key: string, sources: readonly CacheSource[], fill: () => Promise<Value>): Promise<Value>;
  /** Forgets at once what was made from these, rather than some milliseconds after the commit that changed them. */
  forget(...sources: readonly CacheSource[]): void;
  clear(): void;
  readonly statistics: CacheStatistics;
}

export type SingletonOptions = {
  /** Default `dc`. */
  readonly scope?: 'dc' | 'cluster';
  /** Default 1000. */
  readonly pauseMs?: number;
  /** Is told what `work` threw. Default: a warning of the process. */
  readonly onError?: (error: unknown) => void;
};

/** One process's turn at a singleton. */
export type SingletonRun = {
  readonly name: string;
  /** Greater than that of every turn before, also in other dcs with `scope: 'cluster'`: for whatever outside of the database can compare. */
  readonly number: bigint;
  /** Aborts when the turn is over: `work` should end. Its reason is an error with code `LK_SINGLETON_LOST`. */
  readonly signal: AbortSignal;
  /**
   * First in a transaction: it commits while the turn lasts, or not at all; whoever is next waits for it.
   * @throws {LanekeeperError} `LK_SINGLETON_LOST`; `LK_WRONG_HOME`, `LK_NO_LEASE` with `scope: 'cluster'`
   */
  guard(client: Queryable): Promise<void>;
};

export interface Singleton {
  /** This process's turn, null while it has none. */
  readonly running: SingletonRun | null;
  /** Ends the turn, and takes no other one. Resolves when `work` has ended. */
  stop(): Promise<void>;
}

/**
 * Both throw `LK_NOT_LOGGED` when nothing was written, `LK_OUTCOME_UNKNOWN` when nobody knows (writing again does no harm), and
 * PostgreSQL's own error when the row is wrong in itself.
 */
export interface TableEverywhere<Row extends object = Record<string, unknown>> {
  /** The row is JSON to the database: dates, bytes and big integers are converted. */
  put(row: Row, options?: EverywhereOptions): Promise<BufferedWrite | DirectWrite>;
  /** The columns of the primary key are enough. Removing what is not there is a write as well. */
  remove(key: Partial<Row>, options?: EverywhereOptions): Promise<BufferedWrite | DirectWrite>;
}

export type EverywhereOptions = {
  /** For `buffered` with the log in PostgreSQL: append in the transaction of this connection, and commit with it. */
  readonly client?: Queryable;
};

/** Is in the log, and will be in every data center. */
export type BufferedWrite = {
  readonly kind: 'buffered';
  /**
   * What it survives now. `local`: on the disk of one server. `unsynced`: with one server of NATS, which may not have put it on the
   * disk yet. `replicated(n)`: with n servers. `transaction`: nothing before the caller's transaction commits, then `local`.
   */
  readonly durability: 'local' | 'unsynced' | 'transaction' | `replicated(${number})`;
  /** Names it in its log. */
  readonly position: string;
};

export type DirectWrite = {
  /**
   * `written`: everywhere. `incomplete`: somewhere; the agents bring it to the others. `refused`: nowhere, and it will be nowhere.
   */
  readonly kind: 'written' | 'incomplete' | 'refused';
  readonly dataCenters: Readonly<Record<DataCenterName, DirectOutcome>>;
  /** Which dc's agents repair it, if need be. */
  readonly recordedIn: DataCenterName | null;
};

export type DirectOutcome =
  | { readonly kind: 'written' }
  | { readonly kind: 'refused'; readonly sqlstate: string; readonly message: string }
  /** Not there yet. */
  | { readonly kind: 'unavailable'; readonly reason: string }
  /** It was sent and nobody answered. */
  | { readonly kind: 'unknown'; readonly reason: string };

export type ReleaseResult = { readonly kind: 'released' } | { readonly kind: 'unavailable'; readonly reason: string };

export type MoveOptions = {
  /** Move only when it is not in use. Default false. */
  readonly ifIdle?: boolean;
  /** How long the agents may take before they answer `pending`. Default 5000. */
  readonly waitMs?: number;
  /** For the record. */
  readonly reason?: string;
};
