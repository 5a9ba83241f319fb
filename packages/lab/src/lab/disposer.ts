/** What has been started and must be stopped, in reverse order, exactly once, also while starting is still going on. */
export class Disposer {
  #stops: (() => unknown)[] = [];
  #closed = false;
  readonly #errors: unknown[] = [];

  get closed(): boolean {
    return this.#closed;
  }

  /** What comes after `close()` is stopped at once. */
  async add(stop: () => unknown): Promise<void> {
    if (this.#closed) await this.#run(stop);
    else this.#stops.push(stop);
  }

  /** Goes on after an error; the first one is thrown at the end. */
  async close(): Promise<void> {
    this.#closed = true;
    for (let stop = this.#stops.pop(); stop; stop = this.#stops.pop()) await this.#run(stop);
    if (this.#errors.length > 0) throw this.#errors[0];
  }

  async #run(stop: () => unknown): Promise<void> {
    try {
      await stop();
    } catch (error) {
      this.#errors.push(error);
    }
  }
}
