/**
 * Which accounts have work in flight in this process, and which are about to move away. While an account drains, new work for it
 * waits here and work in flight goes on to its end; when none is left, the agent may give the account away (protocol.md, Rehome 2).
 * A drain of everything (account `*`) holds all new work, also that of nobody in particular, and waits for all that is in flight: a
 * switchover, or the only move that there is with a single home.
 *
 * This only makes moves smooth. If it were wrong, the fence would still refuse: who may write is decided in the database (R1).
 *
 * Invariants. 1: nothing waits longer than its drain's bound. 2: `drained` is reported once per drain, when the last work that was in
 * flight has ended, and never while some is. 3: work is counted once however often it is left. 4: work inside work in flight never
 * waits for a drain of everything, which waits for it.
 */
import { type AccountId, type DataCenterName, singleAccount } from '../model/index.ts';

export type Drain = {
  readonly move: number;
  readonly account: AccountId;
  readonly to: DataCenterName;
  /** How much longer new work may be held, from now. */
  readonly remainingMs: number;
};

export type Entry = {
  /** It is part of work that is in flight already. Default false. */
  readonly within?: boolean;
};

type DrainState = {
  readonly move: number;
  reported: boolean;
  readonly untilMs: number;
  readonly opened: Promise<void>;
  readonly open: () => void;
};
type AccountState = { inFlight: number; drain: DrainState | null };

export class DrainGate {
  readonly #accounts = new Map<AccountId, AccountState>();
  /** All work in flight, whoever it is for. */
  readonly #everything: AccountState = { inFlight: 0, drain: null };
  readonly #onDrained: (move: number) => void;

  constructor(onDrained: (move: number) => void) {
    this.#onDrained = onDrained;
  }

  /** Counts work as in flight until the returned function is called; null while it has to wait. Nobody's work has no account. */
  enter(account: AccountId | null, { within = false }: Entry = {}): (() => void) | null {
    if (this.#everything.drain !== null && !within) return null;
    const states = [this.#everything];
    if (account !== null && account !== singleAccount) {
      const state = this.#accounts.get(account) ?? { inFlight: 0, drain: null };
      if (state.drain !== null) return null;
      this.#accounts.set(account, state);
      states.push(state);
    }
    for (const state of states) state.inFlight += 1;
    let left = false;
    return () => {
      if (left) return;
      left = true;
      for (const state of states) state.inFlight -= 1;
      for (const state of states) this.#settle(account, state);
    };
  }

  /** Resolves when the drain that holds this account's work has ended, one way or another; at once when there is none. */
  async opened(account: AccountId | null): Promise<void> {
    const own = account === null ? undefined : this.#accounts.get(account)?.drain;
    await (this.#everything.drain ?? own)?.opened;
  }

  /** How much longer everything may be held, from now; 0 when it is not. */
  get everythingHeldMs(): number {
    const { drain } = this.#everything;
    return drain === null ? 0 : Math.max(0, drain.untilMs - performance.now());
  }

  drain({ move, account, remainingMs }: Drain): void {
    const state = this.#stateOf(account) ?? { inFlight: 0, drain: null };
    if (state !== this.#everything) this.#accounts.set(account, state);
    if (state.drain?.move === move) return;
    state.drain?.open();
    let resolve = () => {};
    const opened = new Promise<void>((done) => {
      resolve = done;
    });
    // The message that ends a drain may be lost with the connection that would have brought it.
    const timer = setTimeout(() => this.open(account, move), Math.max(0, remainingMs));
    timer.unref();
    const open = () => {
      clearTimeout(timer);
      resolve();
    };
    state.drain = { move, reported: false, untilMs: performance.now() + remainingMs, opened, open };
    this.#settle(account, state);
  }

  /** Ends a drain: the account stayed, went, or `move` (if given) is not the one it drains for. */
  open(account: AccountId, move?: number): void {
    const state = this.#stateOf(account);
    if (state === undefined || state.drain === null) return;
    if (move !== undefined && state.drain.move !== move) return;
    state.drain.open();
    state.drain = null;
    this.#settle(account, state);
  }

  openAll(): void {
    for (const account of [singleAccount, ...this.#accounts.keys()]) this.open(account);
  }

  /** How many accounts have work in flight or drain. */
  get size(): number {
    return this.#accounts.size;
  }

  #stateOf(account: AccountId): AccountState | undefined {
    return account === singleAccount ? this.#everything : this.#accounts.get(account);
  }

  #settle(account: AccountId | null, state: AccountState): void {
    if (state.inFlight > 0) return;
    if (state.drain === null) {
      if (account !== null && this.#accounts.get(account) === state) this.#accounts.delete(account);
    } else if (!state.drain.reported) {
      state.drain.reported = true;
      this.#onDrained(state.drain.move);
    }
  }
}
