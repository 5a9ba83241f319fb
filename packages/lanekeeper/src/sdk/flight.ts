/**
 * How long a piece of work counts as in flight: until whoever started it lands it and no transaction of it is open any more. A
 * customer who hangs up ends the response, not the handler that is still writing.
 */
import type { AccountId } from '../model/index.ts';

export class Flight {
  /** By account; null for work of nobody in particular. */
  readonly #leaves = new Map<AccountId | null, () => void>();
  /** The work itself and each of its open transactions. */
  #holders = 1;
  #landed = false;

  /** `leave` ends the account's stay in the gate; it is called when the flight is over. */
  add(account: AccountId | null, leave: () => void): void {
    if (this.#holders === 0 || this.#leaves.has(account)) leave();
    else this.#leaves.set(account, leave);
  }

  /** Whether it is still in flight for this account. */
  covers(account: AccountId): boolean {
    return this.#leaves.has(account);
  }

  /** Whether it is in flight at all, so that a drain of everything waits for it. */
  get isCounted(): boolean {
    return this.#leaves.size > 0;
  }

  hold(): () => void {
    if (this.#holders === 0) return () => {};
    this.#holders += 1;
    let released = false;
    return () => {
      if (released) return;
      released = true;
      this.#release();
    };
  }

  /** The work has ended. Safe to repeat. */
  land(): void {
    if (this.#landed) return;
    this.#landed = true;
    this.#release();
  }

  #release(): void {
    this.#holders -= 1;
    if (this.#holders > 0) return;
    for (const leave of this.#leaves.values()) leave();
    this.#leaves.clear();
  }
}
