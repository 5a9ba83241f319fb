/**
 * Which durability a commit has reached, as one connection can know it. The database says at commit that it waits, by a NOTICE;
 * PostgreSQL says by a WARNING that a wait was broken off; and afterwards one look at `lanekeeper.sync_state()` says whether
 * the data centers that were waited for are still the same. Whatever is missing of that makes it `local`.
 *
 * Nothing is asked for transactions that wait for nobody.
 */
import type { EventEmitter } from 'node:events';
import type pg from 'pg';
import type { Durability } from '../model/index.ts';

type Decision = {
  /** Of `lanekeeper.sync_view`, when the commit was decided. */
  readonly view: number;
  /** A table that does not want to be written while this dc is alone (`whenAlone: refuse`). */
  readonly refusesAlone: boolean;
  /** The database may not be told to wait: it is done by asking it afterwards. */
  readonly awaits: boolean;
};

/** A commit that waited, and what is still to be looked at. */
export type WaitedCommit = Decision & { readonly brokenOff: boolean };

/** A transaction that wrote something and has ended; `waited` is null when it waited for nobody. */
export type Ended = { readonly waited: WaitedCommit | null };

/** What `lanekeeper.check_commit()` raises. */
const decidedCode = '01LK1';
/** The function of PostgreSQL that says that a wait was broken off; its message is translated, its code that of any warning. */
const waitingRoutine = 'SyncRepWaitForLSN';

const rowsWritten = /^(?:INSERT|UPDATE|DELETE|MERGE|COPY)\b.* [1-9]\d*$/;

const reached = new WeakMap<pg.ClientBase, Durability | null>();

/** Of the last transaction on this connection that wrote something, since it was taken out of its pool; null when there is none. */
export function durabilityOf(client: pg.ClientBase): Durability | null {
  return reached.get(client) ?? null;
}

/** What a look afterwards said; null forgets. */
export function setDurability(client: pg.ClientBase, durability: Durability | null): void {
  reached.set(client, durability);
}

export class CommitWatch {
  readonly #client: pg.ClientBase;
  #decision: Decision | null = null;
  #brokenOff = false;
  #wrote = false;
  /** Altogether, unless something follows: a savepoint's ROLLBACK looks the same. */
  #rolledBack = false;
  #failed = false;
  /** More than one only where queries are pipelined. */
  readonly #ended: Ended[] = [];

  /** Listens before anybody else, so that all is known when a query's callback runs. */
  constructor(client: pg.ClientBase, connection: EventEmitter) {
    this.#client = client;
    connection.prependListener('notice', (notice: HeardNotice) => this.#hear(notice));
    connection.prependListener('errorMessage', () => {
      this.#failed = true;
    });
    connection.prependListener('commandComplete', ({ text }: { readonly text: string }) => {
      if (text === 'ROLLBACK') this.#rollBack();
      else if (text === 'COMMIT') this.#rolledBack = false;
      else if (rowsWritten.test(text)) this.#write();
    });
    connection.prependListener('readyForQuery', ({ status }: { readonly status: string }) => {
      if (status === 'I') this.#end();
      this.#failed = false;
      this.#rolledBack = false;
    });
  }

  /** What has ended with the query that is being answered, once; null when it ended nothing, or nothing that wrote. */
  take(): Ended | null {
    return this.#ended.shift() ?? null;
  }

  #write(): void {
    this.#wrote = true;
    this.#rolledBack = false;
  }

  /** What was decided before is not what will be committed. */
  #rollBack(): void {
    this.#forgetDecision();
    this.#rolledBack = true;
  }

  #hear({ code, detail, routine }: HeardNotice): void {
    if (code === decidedCode) this.#decide(detail ?? '');
    else if (routine === waitingRoutine) this.#brokenOff = true;
  }

  /** The check may run more than once; the strictest word counts, and the first view. */
  #decide(detail: string): void {
    const said = readDecision(detail);
    if (said === null) return;
    const before = this.#decision ?? said;
    this.#decision = {
      view: Math.min(before.view, said.view),
      refusesAlone: before.refusesAlone || said.refusesAlone,
      awaits: before.awaits || said.awaits,
    };
  }

  #end(): void {
    const decision = this.#decision;
    if (!this.#failed && !this.#rolledBack && (this.#wrote || decision !== null)) {
      this.#ended.push({ waited: decision === null ? null : { ...decision, brokenOff: this.#brokenOff } });
      // Of one that waited more is known when it has been looked at.
      reached.set(this.#client, 'local');
    }
    this.#forgetDecision();
    this.#wrote = false;
  }

  #forgetDecision(): void {
    this.#decision = null;
    this.#brokenOff = false;
  }
}

type HeardNotice = { readonly code?: string; readonly detail?: string; readonly routine?: string };

function readDecision(detail: string): Decision | null {
  try {
    const { view, refusesAlone, await: awaits } = JSON.parse(detail) as Record<string, unknown>;
    return typeof view === 'number' ? { view, refusesAlone: refusesAlone === true, awaits: awaits === true } : null;
  } catch {
    return null;
  }
}

/** `held`: those that were to be waited for have it, or a wait for them was possible. */
export type SyncState = { readonly view: number; readonly held: boolean };

/** Longer than it takes the agents to let go of a peer that is silent. */
const awaitMs = 10_000;

/** What to ask after a commit that waited, or after one that is to be waited for. */
export function syncStateQuery({ awaits }: WaitedCommit): { readonly text: string; readonly timeoutMs: number } {
  return awaits
    ? {
        text: `SELECT view::float8 AS view, reached AS held FROM lanekeeper.await_peers(${awaitMs})`,
        timeoutMs: awaitMs + lookTimeoutMs,
      }
    : { text: 'SELECT view::float8 AS view, guarded AS held FROM lanekeeper.sync_state()', timeoutMs: lookTimeoutMs };
}

/** A look reads two sequences of the local database. */
const lookTimeoutMs = 2_000;

/** `state` is null when it could not be asked. */
export function reachedBy(waited: WaitedCommit, state: SyncState | null): Durability {
  if (waited.brokenOff || state === null) return 'local';
  return state.held && state.view === waited.view ? 'remote' : 'local';
}

/** The weaker of two; null says nothing. */
export function weaker(a: Durability | null, b: Durability | null): Durability | null {
  return a === 'local' || b === 'local' ? 'local' : (a ?? b);
}
