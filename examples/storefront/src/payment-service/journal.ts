/**
 * What the payment service remembers: one line of JSON for each movement of money, on disk before anybody hears of it.
 * A last line that was torn by a crash was answered to nobody, and is cut off.
 */
import { type FileHandle, open } from 'node:fs/promises';

export type Movement = {
  /** The idempotency key. */
  readonly key: string;
  readonly kind: 'charge' | 'refund';
  readonly order: string;
  readonly account: string;
  /** US cents, above zero for both kinds. */
  readonly amount: number;
  readonly receipt: string;
  /** ISO 8601. */
  readonly at: string;
};

export class Journal {
  readonly #file: FileHandle;
  readonly #movements = new Map<string, Movement>();
  /** Written one after the other; also what a repetition waits for. */
  #last: Promise<void> = Promise.resolve();

  private constructor(file: FileHandle) {
    this.#file = file;
  }

  static async open(path: string): Promise<Journal> {
    const file = await open(path, 'a+', 0o600);
    const text = await file.readFile('utf8');
    const whole = text.slice(0, text.lastIndexOf('\n') + 1);
    if (whole.length < text.length) await file.truncate(Buffer.byteLength(whole));
    const journal = new Journal(file);
    for (const line of whole.split('\n').filter((one) => one !== '')) {
      const movement = JSON.parse(line) as Movement;
      journal.#movements.set(movement.key, movement);
    }
    return journal;
  }

  all(): readonly Movement[] {
    return [...this.#movements.values()];
  }

  find(key: string): Movement | undefined {
    return this.#movements.get(key);
  }

  /** Known at once, so that a second request with this key finds it; resolves when it is on disk. */
  async add(movement: Movement): Promise<void> {
    this.#movements.set(movement.key, movement);
    this.#last = this.#last.then(async () => {
      await this.#file.appendFile(`${JSON.stringify(movement)}\n`);
      await this.#file.datasync();
    });
    await this.#last;
  }

  /** Resolves when everything that was added is on disk. Rejects for ever once something could not be written. */
  async settled(): Promise<void> {
    await this.#last;
  }

  async close(): Promise<void> {
    await this.#last.catch(() => {});
    await this.#file.close();
  }
}
