/**
 * `lanekeeper/pg`: `Pool` and `Client` with the shape, events, callbacks and cursors of pg's own, for every library that is
 * built on pg. What they add follows the work they are used for (`binding.ts`):
 *
 * - An error of the fence arrives as a `LanekeeperError` that names account and home (R6), PostgreSQL's error being its `cause`.
 * - A connection lost while PostgreSQL may have been committing is `LK_OUTCOME_UNKNOWN`, never a plain failure (R6).
 * - A commit that waited for other data centers is answered when it is known whether it did to the end (`durability.ts`).
 * - Callbacks run in the context of who asked, not of whoever opened the socket: else one request's work would be taken for another's.
 * - An open transaction keeps its request in flight, so that a move of the account waits for it.
 *
 * Outside of any request or job they are plain pg. Nothing here decides who may write: that is the fence's, in the database (R1).
 */
import { AsyncResource } from 'node:async_hooks';
import pg from 'pg';
import type { DataCenterName } from '../model/index.ts';
import { type Binding, currentBinding } from './binding.ts';
import {
  CommitWatch,
  reachedBy,
  type SyncState,
  setDurability,
  syncStateQuery,
  type WaitedCommit,
} from './durability.ts';
import { DatabaseRefusal, type RefusalContext, translateRefusal } from './refusal.ts';
import { leavesOutcomeOpen, mayCommit } from './uncertain.ts';

// pg's overloads are kept for the outside by the types of the exported constants below; inside, arguments are passed through.
// biome-ignore lint/suspicious/noExplicitAny: see above.
type Any = any;
type Callback = (error: unknown, ...results: unknown[]) => unknown;

/** The work for which a client was taken out of its pool, until it goes back. */
const checkouts = new WeakMap<pg.ClientBase, Binding>();

/** The work that uses this connection. */
export function bindingOf(client: pg.ClientBase): Binding | null {
  return checkouts.get(client) ?? currentBinding() ?? null;
}

/** From now on another one's. */
export function rebind(client: pg.ClientBase, binding: Binding | null): void {
  if (binding === null) checkouts.delete(client);
  else checkouts.set(client, binding);
}

class LaneClient extends pg.Client {
  /** Whose database it leads to; null: the one here. */
  readonly leadsTo: DataCenterName | null = null;
  readonly #holds: (() => void)[] = [];
  readonly #commits: CommitWatch;
  /** The commit of which nobody knows what became, until PostgreSQL is heard of again on this connection. */
  #uncertainty: DatabaseRefusal | null = null;

  constructor(config?: string | pg.ClientConfig) {
    super(config);
    const letGo = () => {
      for (const release of this.#holds.splice(0)) release();
    };
    const connection = this.connection as unknown as NodeJS.EventEmitter;
    this.#commits = new CommitWatch(this, connection);
    connection.on('readyForQuery', (message: { status: string }) => {
      this.#uncertainty = null;
      if (message.status === 'I') letGo();
    });
    connection.on('end', letGo);
  }

  override connect(callback?: Any): Any {
    return callback === undefined ? super.connect() : super.connect(AsyncResource.bind(callback));
  }

  override query(config: Any, values?: Any, callback?: Any): Any {
    const binding = bindingOf(this);
    const text = typeof config === 'string' ? config : ((config as { text?: unknown } | null)?.text ?? '');
    // A statement that never left this process has a certain outcome: nothing.
    const sent = !this.connection.stream.destroyed;
    const uncertain = sent && mayCommit(String(text), this.getTransactionStatus());
    if (binding !== null && sent) this.#holds.push(binding.hold());
    const failure = (error: unknown): Met => {
      // Libraries answer a failed COMMIT with ROLLBACK, and some report only that this failed, too: then it must say the same.
      if (this.#uncertainty !== null) return { now: this.#uncertainty };
      const met = meet(error, { binding, leadsTo: this.leadsTo }, uncertain);
      if (met.now instanceof DatabaseRefusal && met.now.code === 'LK_OUTCOME_UNKNOWN') this.#uncertainty = met.now;
      return met;
    };

    if (typeof config?.submit === 'function') {
      interceptSubmittable(config, failure, () => void this.#afterwards(binding));
      return super.query(config, bindCallback(values), bindCallback(callback));
    }
    const given = [values, callback, config?.callback].find((each): each is Callback => typeof each === 'function');
    if (given === undefined) {
      return (super.query(config, values) as unknown as Promise<unknown>).then(
        async (result) => {
          const uncertain = await this.#afterwards(binding);
          if (uncertain !== null) throw uncertain;
          return result;
        },
        async (error: unknown) => {
          throw await whole(failure(error));
        },
      );
    }
    const respond = AsyncResource.bind((error: unknown, result: unknown) => {
      if (error === null || error === undefined) {
        const looked = this.#afterwards(binding);
        if (looked === null) return given(error, result);
        return looked.then((uncertain) => (uncertain === null ? given(error, result) : given(uncertain)));
      }
      const met = failure(error);
      if (met.later === undefined) return given(met.now, result);
      return met.later.then((translated) => given(translated, result));
    });
    return typeof values === 'function' ? super.query(config, respond) : super.query(config, values, respond);
  }

  /** What is left to be done when a query has succeeded: at once nothing, in most cases. */
  #afterwards(binding: Binding | null): Promise<DatabaseRefusal | null> | null {
    const ended = this.#commits.take();
    if (ended === null) return null;
    if (ended.waited !== null) return this.#lookAt(ended.waited, binding);
    binding?.noticeDurability('local', this.leadsTo ?? binding.dataCenter);
    return null;
  }

  /** An error when a write that does not want to be here alone may be: it is committed, and lost if this dc is. */
  async #lookAt(waited: WaitedCommit, binding: Binding | null): Promise<DatabaseRefusal | null> {
    const durability = reachedBy(waited, waited.brokenOff ? null : await this.#syncState(waited));
    setDurability(this, durability);
    binding?.noticeDurability(durability, this.leadsTo ?? binding.dataCenter);
    if (durability === 'remote' || !waited.refusesAlone) return null;
    const uncertain = new DatabaseRefusal(
      'LK_OUTCOME_UNKNOWN',
      undefined,
      contextOf({ binding, leadsTo: this.leadsTo }),
      null,
    );
    binding?.noticeRefusal(uncertain);
    return uncertain;
  }

  async #syncState(waited: WaitedCommit): Promise<SyncState | null> {
    const { text, timeoutMs } = syncStateQuery(waited);
    try {
      const question = { text, query_timeout: timeoutMs } as pg.QueryConfig;
      return (await super.query<SyncState>(question)).rows[0] ?? null;
    } catch {
      return null;
    }
  }
}

class LanePool extends pg.Pool {
  constructor(config?: pg.PoolConfig) {
    super({ Client: LaneClient as unknown as new () => pg.ClientBase, ...config });
  }

  override connect(callback?: Any): Any {
    const binding = currentBinding();
    if (callback === undefined) {
      return super.connect().then((client) => {
        checkOut(client, binding);
        return client;
      });
    }
    const done = AsyncResource.bind((error: Error | undefined, client: pg.PoolClient | undefined, release: unknown) => {
      if (client === undefined) return callback(error, client, release);
      checkOut(client, binding);
      return callback(error, client, client.release);
    });
    return super.connect(done as Any);
  }
}

function checkOut(client: pg.PoolClient, binding: Binding | undefined): void {
  setDurability(client, null);
  if (binding === undefined) return;
  checkouts.set(client, binding);
  const release = client.release;
  client.release = (error) => {
    checkouts.delete(client);
    release(error);
  };
}

/** What the caller gets to see of an error: at once, or after asking the database where the account is. */
type Met = { readonly now: unknown; readonly later?: Promise<unknown> };

/** Who asked, and what was asked. */
type Asked = { readonly binding: Binding | null; readonly leadsTo: DataCenterName | null };

function meet(error: unknown, asked: Asked, uncertain: boolean): Met {
  const { binding } = asked;
  const context = contextOf(asked);
  const refusal =
    translateRefusal(error, context) ??
    (uncertain && leavesOutcomeOpen(error)
      ? new DatabaseRefusal('LK_OUTCOME_UNKNOWN', undefined, context, error)
      : undefined);
  if (refusal !== undefined) {
    binding?.noticeRefusal(refusal);
    const account = refusal.details.account ?? binding?.owner ?? null;
    if (binding === null || account === null || refusal.code !== 'LK_NO_LEASE') return { now: refusal };
    return { now: refusal, later: afterLostLease(refusal, binding, account, asked.leadsTo ?? binding.dataCenter) };
  }
  const account = binding?.owner ?? null;
  if (binding === null || account === null || !isFenceConflict(error)) return { now: error };
  return { now: error, later: afterConflict(error, binding, account, context) };
}

function whole(met: Met): unknown {
  return met.later ?? met.now;
}

/**
 * Under REPEATABLE READ and SERIALIZABLE a transaction that began before its account moved away fails with 40001 in the fence.
 * Repeating it here would be in vain, so say where the account went; if it is still here, 40001 stays what it is: try again.
 */
async function afterConflict(error: unknown, binding: Binding, account: string, context: RefusalContext) {
  const { dataCenter = binding.dataCenter } = context;
  const home = await binding.homeNow(account, dataCenter);
  if (home === null || home === dataCenter) return error;
  const refusal = new DatabaseRefusal('LK_WRONG_HOME', undefined, { ...context, account, home }, error);
  binding.noticeRefusal(refusal);
  return refusal;
}

/** That dc may not write. Perhaps it has a successor already: then say where to go (R6). */
async function afterLostLease(refusal: DatabaseRefusal, binding: Binding, account: string, at: DataCenterName) {
  const home = await binding.successorOf(account, at);
  if (home === null) return refusal;
  const told = new DatabaseRefusal(refusal.code, refusal.message, { ...refusal.details, account, home }, refusal.cause);
  binding.noticeRefusal(told);
  return told;
}

function isFenceConflict(error: unknown): boolean {
  const { code, where } = error as { code?: unknown; where?: unknown };
  return code === '40001' && typeof where === 'string' && where.includes('lanekeeper.');
}

function contextOf({ binding, leadsTo }: Asked): RefusalContext {
  if (binding === null) return {};
  return {
    dataCenter: leadsTo ?? binding.dataCenter,
    ...(leadsTo === null || leadsTo === binding.dataCenter ? {} : { home: leadsTo }),
    ...(binding.account === null ? {} : { account: binding.account }),
    ...(binding.requestId === undefined ? {} : { requestId: binding.requestId }),
  };
}

/**
 * Cursors, query streams and COPY hear of errors by `handleError`; there is no time to ask the database there. What they committed
 * is looked at when they have ended.
 */
function interceptSubmittable(submittable: Any, failure: (error: unknown) => Met, ended: () => void): void {
  const { handleError, handleReadyForQuery } = submittable;
  if (typeof handleError === 'function') {
    submittable.handleError = function (this: unknown, error: unknown, connection: unknown) {
      return handleError.call(this, failure(error).now, connection);
    };
  }
  if (typeof handleReadyForQuery === 'function') {
    submittable.handleReadyForQuery = function (this: unknown, ...given: unknown[]) {
      handleReadyForQuery.apply(this, given);
      ended();
    };
  }
}

function bindCallback(value: unknown): Any {
  return typeof value === 'function' ? AsyncResource.bind(value as Callback) : value;
}

/** A connection whose errors say where to go; otherwise pg's own, events, callbacks and cursors included. */
export const Client = LaneClient as unknown as typeof pg.Client;
export type Client = pg.Client;

/** A pool of such connections; otherwise pg's own. */
export const Pool = LanePool as unknown as typeof pg.Pool;
export type Pool = pg.Pool;

/** The rest of pg, unchanged, so that `lanekeeper/pg` can stand in for it wherever a library asks for the module. */
export const {
  Connection,
  DatabaseError,
  defaults,
  escapeIdentifier,
  escapeLiteral,
  Query,
  Result,
  TypeOverrides,
  types,
} = pg;

export default {
  Client,
  Connection,
  DatabaseError,
  defaults,
  escapeIdentifier,
  escapeLiteral,
  Pool,
  Query,
  Result,
  TypeOverrides,
  types,
};
