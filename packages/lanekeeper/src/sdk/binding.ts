/**
 * Which work a piece of code runs for. It follows `await`s by AsyncLocalStorage; connections (`pg.ts`) read it, requests
 * (`request.ts`) and jobs (`forAccount`) set it.
 */
import { AsyncLocalStorage } from 'node:async_hooks';
import type { AccountId, DataCenterName, Durability, LanekeeperError } from '../model/index.ts';
import type { RequestScope } from './api.ts';

export type Binding = {
  /** The account this work is for, if any. A request's changes when somebody signs in. */
  readonly account: AccountId | null;
  /**
   * Whose deed says where this work is written: the account's own, `*` with a single home for all, that of a fixed home on a route
   * that has one. Null: nobody's.
   */
  readonly owner: AccountId | null;
  readonly dataCenter: DataCenterName;
  /** In which database its statements are to run: here, or with `routing: connection` where it is written. */
  readonly lane: DataCenterName;
  readonly requestId: string | undefined;
  /** The request it belongs to; null for jobs. */
  readonly scope: RequestScope | null;
  /** The work that this is part of, for `forAccount` inside a request. */
  readonly outer: Binding | null;
  /** Whether the account's moves already wait for this work. */
  covers(account: AccountId): boolean;
  /** Whether a drain of everything waits for this work. */
  isCounted(): boolean;
  /** Keeps the work in flight, so that a move of its account waits, until the returned function is called (once or more). */
  hold(): () => void;
  /** Where the database in `at` says the account is written at this moment; null when nobody can say. Never rejects. */
  homeNow(account: AccountId, at: DataCenterName): Promise<DataCenterName | null>;
  /** While `at` may not write: who has taken the account over, if any agents know. Never rejects. */
  successorOf(account: AccountId, at: DataCenterName): Promise<DataCenterName | null>;
  /** Is told of every refusal met on the way, so that the answer can say where to go (R6). */
  noticeRefusal(error: LanekeeperError): void;
  /** What was refused has been done in `lane`, without anybody noticing: so is what follows for that account. */
  wentTo(lane: DataCenterName, refusal: LanekeeperError): void;
  /** Is told of every transaction that wrote something: in which dc, and what it reached. */
  noticeDurability(durability: Durability, dataCenter: DataCenterName): void;
};

const storage = new AsyncLocalStorage<Binding>();

export function currentBinding(): Binding | undefined {
  return storage.getStore();
}

export function runBound<Result>(binding: Binding, work: () => Result): Result {
  return storage.run(binding, work);
}

/** `binding`, or work around it, that is in flight for this account: who is part of that must not wait for the account's gate. */
export function workAround(binding: Binding | null, account: AccountId): Binding | null {
  for (let at = binding; at !== null; at = at.outer) {
    if (at.covers(account)) return at;
  }
  return null;
}

/** Whether `binding`, or work around it, is in flight at all: then it must not wait for a drain of everything. */
export function isWithinAny(binding: Binding | undefined): boolean {
  for (let at: Binding | null = binding ?? null; at !== null; at = at.outer) {
    if (at.isCounted()) return true;
  }
  return false;
}
