/** One connection to the store. It fails in bounded time, and is made anew for the next question. */
import { Socket } from 'node:net';
import { Client } from 'pg';

export type LineOptions = {
  readonly url: string;
  readonly applicationName: string;
  /** For connecting, and again for each question. */
  readonly timeoutMs: number;
};

type Opened = { readonly client: Client; readonly socket: Socket };

export class Line {
  readonly #options: LineOptions;
  #opening: Promise<Opened> | null = null;
  #closed = false;

  constructor(options: LineOptions) {
    this.#options = options;
  }

  /** Runs with the connection to itself. Whatever fails in it ends the connection: what became of it is unknown. */
  async ask<T>(question: (client: Client) => Promise<T>): Promise<T> {
    if (this.#closed) throw new Error('The lease store is closed');
    this.#opening ??= this.#open();
    const opening = this.#opening;
    try {
      const { client, socket } = await opening;
      return await bounded(question(client), this.#options.timeoutMs, () => socket.destroy());
    } catch (error) {
      if (this.#opening === opening) this.#opening = null;
      await opening.then(
        ({ socket }) => socket.destroy(),
        () => {},
      );
      throw error;
    }
  }

  async close(): Promise<void> {
    this.#closed = true;
    const opening = this.#opening;
    this.#opening = null;
    if (opening === null) return;
    try {
      const { client, socket } = await opening;
      await bounded(client.end(), this.#options.timeoutMs, () => socket.destroy());
    } catch {
      // It is gone, which is what was wanted.
    }
  }

  async #open(): Promise<Opened> {
    const { url, applicationName, timeoutMs } = this.#options;
    // Ours, so that it can be destroyed: `client.end()` waits for a dead host.
    const socket = new Socket();
    const client = new Client({
      connectionString: url,
      application_name: applicationName,
      statement_timeout: timeoutMs,
      stream: () => socket,
    });
    const dropped = () => {
      if (this.#opening === opening) this.#opening = null;
    };
    client.on('error', dropped);
    client.on('end', dropped);
    const opening: Promise<Opened> = bounded(client.connect(), timeoutMs, () => socket.destroy()).then(() => ({
      client,
      socket,
    }));
    return opening;
  }
}

async function bounded<T>(work: Promise<T>, timeoutMs: number, giveUp: () => void): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      giveUp();
      reject(new Error(`The lease store did not answer within ${timeoutMs} ms`));
    }, timeoutMs);
  });
  work.catch(() => {});
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}
