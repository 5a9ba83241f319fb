/** A request that waits for its home to come back, or for its successor: until there is news or the time is up. */
import type { Bag, Bagged } from './bag.ts';

export class Hold implements Bagged {
  slot = -1;
  readonly #held: Bag<Hold>;
  readonly #timer: NodeJS.Timeout;
  readonly #look: () => void;

  /** `look` is called once. */
  constructor(held: Bag<Hold>, forMs: number, look: () => void) {
    this.#held = held;
    this.#look = look;
    this.#timer = setTimeout(() => this.end(), Math.max(0, forMs));
    held.add(this);
  }

  /** Looks now. */
  end(): void {
    if (!this.#leave()) return;
    this.#look();
  }

  /** The client went away. */
  forget(): void {
    this.#leave();
  }

  #leave(): boolean {
    if (this.slot === -1) return false;
    clearTimeout(this.#timer);
    this.#held.delete(this);
    return true;
  }
}
