/**
 * Tokens that have been verified, so that the signature of a cookie is checked once and not with every request (67 µs
 * against next to nothing). Holds only what was found good, so that nobody can fill it with rubbish, and at most
 * `maxEntries`. What passes with time is not decided here: expiry is checked on each hit.
 *
 * Who has to go is decided by second chance: the oldest that was not used since it was looked at last. A hit then changes no
 * order, which at one hit per request would cost more than everything else here.
 */
export class VerifiedTokens<Value> {
  readonly #entries = new Map<string, { readonly value: Value; used: boolean }>();
  readonly #maxEntries: number;

  constructor(maxEntries: number) {
    this.#maxEntries = maxEntries;
  }

  get size(): number {
    return this.#entries.size;
  }

  get(token: string): Value | undefined {
    const entry = this.#entries.get(token);
    if (entry === undefined) return undefined;
    entry.used = true;
    return entry.value;
  }

  set(token: string, value: Value): void {
    if (this.#maxEntries === 0) return;
    // A token cut out of a Cookie header is a view of the whole header in V8; a copy keeps the rest from staying in memory.
    this.#entries.set(Buffer.from(token, 'latin1').toString('latin1'), { value, used: false });
    if (this.#entries.size > this.#maxEntries) this.#makeRoom();
  }

  delete(token: string): void {
    this.#entries.delete(token);
  }

  #makeRoom(): void {
    let chances = chancesMax;
    for (const [token, entry] of this.#entries) {
      this.#entries.delete(token);
      if (!entry.used || chances === 0) return;
      chances -= 1;
      entry.used = false;
      this.#entries.set(token, entry);
    }
  }
}

/** Bounds the work of one insertion when everything was used lately. */
const chancesMax = 32;
