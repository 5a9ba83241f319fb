/**
 * A set for what comes and goes with every request. V8's own Set leaves the tables it has outgrown linked to one another,
 * and once one of them is old, everything that passes through is kept until the next full garbage collection: that cost
 * more than all the rest of a request.
 */

export type Bagged = {
  /** Belongs to the bag: where in it this is, or -1. In one bag at a time. */
  slot: number;
};

export class Bag<Item extends Bagged> {
  readonly #items: Item[] = [];

  get size(): number {
    return this.#items.length;
  }

  add(item: Item): void {
    item.slot = this.#items.push(item) - 1;
  }

  /** Safe to repeat. */
  delete(item: Item): void {
    const { slot } = item;
    if (slot === -1) return;
    const last = this.#items.pop() as Item;
    if (last !== item) {
      this.#items[slot] = last;
      last.slot = slot;
    }
    item.slot = -1;
  }

  /** What is in it now; it may change meanwhile. */
  items(): readonly Item[] {
    return [...this.#items];
  }
}
