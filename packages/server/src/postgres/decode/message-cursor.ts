/**
 * The messages of one portion, through a cursor: PostgreSQL has decoded it once and keeps it (on disk, when it is large);
 * a few rows at a time come over here. The cursor can go back, which is how the end of a transaction too large to hold is
 * known before its changes are handed out.
 */
import type { Queryable } from '../queryable.ts';
import { DecodeError } from './change.ts';
import type { PgoutputMessage } from './messages.ts';
import { commitByte, parseMessage } from './parse.ts';

export type Fetched = { readonly message: PgoutputMessage; readonly bytes: number };

/** The most rows of one FETCH. */
const rowsMax = 1_000;

export class MessageCursor {
  readonly #client: Queryable;
  readonly #batchBytes: number;
  #rows: readonly Buffer[] = [];
  /** Of the next message in `#rows`. */
  #index = 0;
  /** How many messages were read before those in `#rows`. */
  #before = 0;
  /** How many rows to fetch, by the size of those before. */
  #count = 32;

  constructor(client: Queryable, batchBytes: number) {
    this.#client = client;
    this.#batchBytes = batchBytes;
  }

  async open(query: string): Promise<void> {
    await this.#client.query(`DECLARE lanekeeper_peek SCROLL CURSOR FOR ${query}`);
  }

  /** How many messages have been read. */
  get position(): number {
    return this.#before + this.#index;
  }

  async next(): Promise<Fetched | null> {
    const bytes = await this.#nextRow();
    if (bytes === null) return null;
    const result = parseMessage(bytes);
    if (result.kind === 'malformed') {
      const type = JSON.stringify(bytes.toString('latin1', 0, 1));
      throw new DecodeError(`message ${type}: ${result.expected} expected at byte ${result.offset}`);
    }
    return { message: result.message, bytes: bytes.length };
  }

  /** The next Commit; the messages before it are read again afterwards. */
  async lookForCommit(): Promise<PgoutputMessage & { readonly kind: 'commit' }> {
    const position = this.position;
    for (;;) {
      const row = await this.#nextRow();
      if (row === null) throw new DecodeError('a transaction without an end');
      if (row[0] !== commitByte) continue;
      const result = parseMessage(row);
      if (result.kind !== 'parsed' || result.message.kind !== 'commit') throw new DecodeError('a commit that is none');
      await this.#client.query(`MOVE ABSOLUTE ${position} IN lanekeeper_peek`);
      this.#before = position;
      this.#rows = [];
      this.#index = 0;
      return result.message;
    }
  }

  async #nextRow(): Promise<Buffer | null> {
    if (this.#index === this.#rows.length) {
      this.#before += this.#rows.length;
      this.#index = 0;
      this.#rows = await this.#fetch();
      if (this.#rows.length === 0) return null;
    }
    const row = this.#rows[this.#index] as Buffer;
    this.#index += 1;
    return row;
  }

  async #fetch(): Promise<readonly Buffer[]> {
    const { rows } = await this.#client.query<{ data: Buffer }>(`FETCH FORWARD ${this.#count} FROM lanekeeper_peek`);
    const bytes = rows.reduce((sum, row) => sum + row.data.length, 0);
    // Quickly down and slowly up, as rows that follow each other are mostly of one kind.
    const fitting = Math.floor((rows.length * this.#batchBytes) / Math.max(bytes, 1));
    this.#count = Math.max(1, Math.min(fitting, this.#count * 2, rowsMax));
    return rows.map((row) => row.data);
  }
}
