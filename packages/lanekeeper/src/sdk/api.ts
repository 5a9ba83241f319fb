/** What applications see of the SDK: the types of `createLanekeeper`'s result and of a request's scope. */
import type pg from 'pg';
import type { Configuration } from '../config/index.ts';
import type { AccountId, DataCenterName, Durability, Epoch, MoveKind } from '../model/index.ts';

export type LanekeeperOptions = {
  /** Path of the configuration file, or the configuration itself. Default: `LANEKEEPER_CONFIG`, else `./lanekeeper.yaml`. */
  readonly config?: string | Configuration;
  /** Where secrets and `LANEKEEPER_*` are read from. Default: `process.env`. */
  readonly env?: NodeJS.ProcessEnv;
  /** Names this process among the application's instances in this dc. Default: `LANEKEEPER_INSTANCE`, else a random name. */
  readonly instance?: string;
  /**
   * Connection string for application queries. Default: `DATABASE_URL`, else the local database of the configuration.
   * It may lead through PgBouncer in transaction mode.
   */
  readonly databaseUrl?: string;
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

export interface Lanekeeper {
  readonly here: DataCenterName;
  readonly instance: string;
  readonly configuration: Configuration;
  /** `Client` of `lanekeeper/pg`, for libraries that want the class. */
  readonly Client: typeof pg.Client;
  /** A pool on the local database, as the application's role. `options` are pg's own. */
  pool(options?: pg.PoolConfig): pg.Pool;
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
  /** Asks the agents to move an account. Throws `LK_AGENT_UNAVAILABLE` when the local one does not answer. */
  move(account: AccountId, to: DataCenterName, options?: MoveOptions): Promise<MoveResult>;
  /** Closes its own connections; pools made by `pool()` are the application's to end. Safe to repeat. */
  close(): Promise<void>;
}

export type ReleaseResult = { readonly kind: 'released' } | { readonly kind: 'unavailable'; readonly reason: string };

export type MoveOptions = {
  /** Move only when it is not in use. Default false. */
  readonly ifIdle?: boolean;
  /** How long the agents may take before they answer `pending`. Default 5000. */
  readonly waitMs?: number;
  /** For the record. */
  readonly reason?: string;
};
