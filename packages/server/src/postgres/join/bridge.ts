/**
 * COPY from one database straight into another one: rows are passed on as they come, in PostgreSQL's own format, without being
 * looked at. What the destination cannot take yet, the source does not send.
 */
import type { Client, Submittable } from 'pg';

/** What `pg` has below a client, as far as a COPY needs it. */
type Wire = {
  readonly stream: NodeJS.WritableStream & { pause(): unknown; resume(): unknown; readonly writableNeedDrain: boolean };
  query(text: string): void;
  sendCopyFromChunk(chunk: Buffer): unknown;
  endCopyFrom(): unknown;
  sendCopyFail(message: string): unknown;
};

/** A statement that `pg` hands all messages of. */
class CopyStatement {
  readonly ended: Promise<number>;
  readonly #text: string;
  readonly #onData: (chunk: Buffer) => void;
  readonly #onReady: (wire: Wire) => void;
  #settle: { resolve(rows: number): void; reject(error: Error): void } = { resolve: () => {}, reject: () => {} };
  #rows = 0;

  constructor(text: string, onReady: (wire: Wire) => void, onData: (chunk: Buffer) => void) {
    this.#text = text;
    this.#onReady = onReady;
    this.#onData = onData;
    this.ended = new Promise((resolve, reject) => {
      this.#settle = { resolve, reject };
    });
    this.ended.catch(() => {});
  }

  submit(wire: Wire): void {
    wire.query(this.#text);
  }
  handleCopyInResponse(wire: Wire): void {
    this.#onReady(wire);
  }
  handleCopyData(message: { readonly chunk: Buffer }): void {
    this.#onData(message.chunk);
  }
  handleCommandComplete(message: { readonly text: string }): void {
    this.#rows = Number(/^COPY (\d+)$/.exec(message.text)?.[1] ?? 0);
  }
  handleReadyForQuery(): void {
    this.#settle.resolve(this.#rows);
  }
  handleError(error: Error): void {
    this.#settle.reject(error);
  }
  handleRowDescription(): void {}
  handleDataRow(): void {}
  handlePortalSuspended(): void {}
  handleEmptyQuery(): void {}
}

/** Rows are gathered up to so much before they are passed on. */
const batchBytes = 128 * 1024;

export type CopyJob = {
  readonly from: Client;
  /** `COPY … TO STDOUT`. */
  readonly out: string;
  readonly to: Client;
  /** `COPY … FROM STDIN`, in the same format. */
  readonly in: string;
  /** Asked with every batch. */
  readonly onBatch?: (rows: number, bytes: number) => void;
};

/** Throws what either database says; then nothing of it has been written. */
export async function pipeCopy(job: CopyJob): Promise<{ readonly rows: number; readonly bytes: number }> {
  let ready: (wire: Wire) => void = () => {};
  const opened = new Promise<Wire>((resolve) => {
    ready = resolve;
  });
  const into = new CopyStatement(job.in, ready, () => {});
  job.to.query(into as unknown as Submittable);
  const wire = await Promise.race([opened, into.ended.then(() => Promise.reject(new Error('COPY took no rows')))]);
  const source = (job.from as unknown as { readonly connection: Wire }).connection.stream;
  const batch = Buffer.allocUnsafe(batchBytes);
  const sent = { rows: 0, bytes: 0 };
  let filled = 0;
  let rows = 0;
  const send = (chunk: Buffer) => {
    wire.sendCopyFromChunk(chunk);
    if (!wire.stream.writableNeedDrain) return;
    source.pause();
    wire.stream.once('drain', () => source.resume());
  };
  const flush = () => {
    if (filled > 0) send(batch.subarray(0, filled));
    sent.rows += rows;
    job.onBatch?.(rows, filled);
    [filled, rows] = [0, 0];
  };
  const out = new CopyStatement(
    job.out,
    () => {},
    (chunk) => {
      sent.bytes += chunk.length;
      if (filled + chunk.length > batchBytes) flush();
      rows += 1;
      if (chunk.length > batchBytes) {
        send(chunk);
        return;
      }
      // The parser uses its memory again.
      filled += chunk.copy(batch, filled);
    },
  );
  job.from.query(out as unknown as Submittable);
  // An error of the destination ends the source's sending, too: nobody would take it.
  const failed = into.ended.then(
    () => {},
    (error: Error) => {
      source.resume();
      throw error;
    },
  );
  try {
    await Promise.race([out.ended, failed.then(() => new Promise<never>(() => {}))]);
  } catch (error) {
    wire.sendCopyFail('the source ended');
    await into.ended.catch(() => {});
    throw error;
  }
  flush();
  wire.endCopyFrom();
  const copied = await into.ended;
  return { rows: copied, bytes: sent.bytes };
}
