/** Requests that wait until an account has been accepted here, or given back. */
import { type AccountId, compareEpochs, type Epoch } from 'lanekeeper/model';
import type { Settled } from './reign.ts';

type Waiting = { readonly after: Epoch; readonly resolve: (settled: Settled) => void };

export class Arrivals {
  readonly #waiting = new Map<AccountId, Set<Waiting>>();

  /** The first word about a deed newer than `after`; null when there was none within `timeoutMs`. */
  expect(
    account: AccountId,
    after: Epoch,
    timeoutMs: number,
  ): { readonly settled: Promise<Settled | null>; cancel(): void } {
    const waiting = this.#waiting.get(account) ?? new Set();
    this.#waiting.set(account, waiting);
    let end: (settled: Settled | null) => void = () => {};
    const settled = new Promise<Settled | null>((resolve) => {
      end = resolve;
    });
    const one: Waiting = { after, resolve: (word) => finish(word) };
    const finish = (word: Settled | null) => {
      clearTimeout(timer);
      waiting.delete(one);
      if (waiting.size === 0 && this.#waiting.get(account) === waiting) this.#waiting.delete(account);
      end(word);
    };
    const timer = setTimeout(() => finish(null), timeoutMs);
    waiting.add(one);
    return { settled, cancel: () => finish(null) };
  }

  settle(settled: Settled): void {
    for (const { after, resolve } of [...(this.#waiting.get(settled.account) ?? [])])
      if (compareEpochs(settled.epoch, after) > 0) resolve(settled);
  }
}
