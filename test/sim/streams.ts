/**
 * The stream of homed rows from one data center to another: the publisher's slot and walsender, the link in both
 * directions, the subscriber's subscription and apply worker. A commit that waits for the subscriber is released here.
 */
import type { ModelPostgres } from './postgres.ts';
import { ApplyError, type Change, type Transaction } from './rows.ts';
import type { Random, Timeline } from './timeline.ts';

/** Which directed links are cut, and how long a message takes. Messages on their way when a link is cut arrive later. */
export class Links {
  readonly #timeline: Timeline;
  readonly #cut = new Map<string, number>();
  readonly #cutSinceMs = new Map<string, number>();
  readonly #delays = new Map<string, number>();
  onHealed: () => void = () => {};

  constructor(timeline: Timeline) {
    this.#timeline = timeline;
  }

  /** In both directions. */
  setDelay(one: string, other: string, delayMs: number): void {
    this.#delays.set(`${one}>${other}`, delayMs);
    this.#delays.set(`${other}>${one}`, delayMs);
  }

  delayMs(from: string, to: string): number {
    return this.#delays.get(`${from}>${to}`) ?? 15;
  }

  isUp(from: string, to: string): boolean {
    return (this.#cut.get(`${from}>${to}`) ?? 0) === 0;
  }

  /** On a connection that is there already: TCP sends no more than a window that nobody confirms. */
  flows(from: string, to: string): boolean {
    if (!this.isUp(from, to)) return false;
    return this.isUp(to, from) || this.#timeline.nowMs - (this.#cutSinceMs.get(`${to}>${from}`) ?? 0) < windowMs;
  }

  cut(from: string, to: string): () => void {
    const name = `${from}>${to}`;
    if (this.isUp(from, to)) this.#cutSinceMs.set(name, this.#timeline.nowMs);
    this.#cut.set(name, (this.#cut.get(name) ?? 0) + 1);
    return () => {
      this.#cut.set(name, (this.#cut.get(name) ?? 1) - 1);
      this.onHealed();
    };
  }
}

const windowMs = 500;
const connectEveryMs = 300;
const statusEveryMs = 500;
const errorPauseMs = 700;
/** How long a worker waits at a mark for what has to come first, before it gives up and is started again. */
const holdMs = 2000;
const holdLookMs = 20;

/** A worker of the subscriber, and the walsender that it talks to. */
type Connection = {
  /** Of the publisher's log: the next transaction to send. */
  next: number;
  /** How far the publisher's log was when everything in it had been received. */
  receivedLsn: number;
  busy: boolean;
  open: boolean;
};

export class Stream {
  readonly publisher: ModelPostgres;
  readonly subscriber: ModelPostgres;
  readonly #timeline: Timeline;
  readonly #links: Links;
  readonly #random: Random;
  readonly #broken: (hole: string) => boolean;
  /** Null: there is none. */
  slot: { confirmedLsn: number; writtenLsn: number } | null = { confirmedLsn: 256, writtenLsn: 256 };
  #withheld: Stream['slot'] = null;
  enabled = true;
  #connection: Connection | null = null;
  /** As the publisher sees it. */
  flushedLsn = 0;
  #lastReplyMs = Number.NEGATIVE_INFINITY;
  /** The list that the walsender goes by, and the worker that waits for somebody's lock. */
  #listRead: readonly string[] = [];
  blockedUntilMs = 0;
  #connecting = false;
  errors = 0;
  /** Rows of this account get lost: a table that is not subscribed to. */
  swallows: string | null = null;

  constructor(
    publisher: ModelPostgres,
    subscriber: ModelPostgres,
    timeline: Timeline,
    links: Links,
    random: Random,
    broken: (hole: string) => boolean,
  ) {
    this.publisher = publisher;
    this.subscriber = subscriber;
    this.#timeline = timeline;
    this.#links = links;
    this.#random = random;
    this.#broken = broken;
  }

  get connected(): boolean {
    return this.#connection?.open === true;
  }

  /** The subscriber's worker exists, connected or waiting for a lock. */
  get hasWorker(): boolean {
    return this.#connection !== null;
  }

  get replyAgeMs(): number {
    return this.connected ? this.#timeline.nowMs - this.#lastReplyMs : Number.POSITIVE_INFINITY;
  }

  get reachesPublisher(): boolean {
    const { publisher, subscriber } = this;
    return this.#links.isUp(publisher.here, subscriber.here) && this.#links.isUp(subscriber.here, publisher.here);
  }

  get reader(): string {
    return this.subscriber.here;
  }

  get listRead(): readonly string[] {
    return this.#listRead;
  }

  get readsList(): boolean {
    return this.#listRead === this.publisher.names;
  }

  /** What the subscriber has of the log, nothing left out. */
  get appliedLsn(): number {
    const connection = this.#connection;
    const applied = this.subscriber.progress.get(this.publisher.here) ?? 0;
    return connection === null || connection.busy ? applied : Math.max(applied, connection.receivedLsn);
  }

  /** The launcher of the subscriber's workers. */
  start(): void {
    if (this.#connecting || !this.subscriber.up) return;
    this.#connecting = true;
    this.subscriber.later(this.#random.between(1, connectEveryMs), () => {
      this.#connecting = false;
      if (!this.enabled || this.#connection !== null) return;
      const { publisher, subscriber, slot } = this;
      const stands = this.#timeline.nowMs < publisher.stoppedUntilMs;
      if (!publisher.up || stands || !this.reachesPublisher || slot === null) return this.start();
      const applied = this.#broken('read on from the slot') ? 0 : (subscriber.progress.get(publisher.here) ?? 0);
      const fromLsn = Math.max(slot.confirmedLsn, applied);
      let next = publisher.wal.length;
      while (next > 0 && (publisher.wal[next - 1] as Transaction).lsn > fromLsn) next--;
      const connection = { next, receivedLsn: fromLsn, busy: false, open: true };
      this.#connection = connection;
      this.#listRead = publisher.names;
      this.#reply(connection);
      this.#status(connection);
      this.wake();
    });
  }

  /** There is something to send, or a link is whole again. */
  wake(): void {
    const connection = this.#connection;
    if (connection === null || connection.busy) return;
    const { publisher, subscriber } = this;
    if (!this.#links.flows(publisher.here, subscriber.here) || !publisher.up) return;
    const transaction = this.#nextOf(connection);
    if (transaction === undefined) {
      connection.receivedLsn = publisher.lsn;
      return;
    }
    connection.busy = true;
    const arrivesMs = Math.max(
      0,
      transaction.atMs + this.#links.delayMs(publisher.here, subscriber.here) - this.#timeline.nowMs,
    );
    publisher.later(0, () => subscriber.later(arrivesMs, () => this.#apply(connection, transaction)));
  }

  #nextOf(connection: Connection): Transaction | undefined {
    const { wal } = this.publisher;
    while (connection.next < wal.length) {
      const transaction = wal[connection.next] as Transaction;
      if (transaction.origin === null) return transaction;
      connection.next++;
    }
    return undefined;
  }

  #apply(connection: Connection, transaction: Transaction, patienceMs = Number.POSITIVE_INFINITY): void {
    if (this.#connection !== connection) return;
    const { publisher, subscriber } = this;
    const { nowMs } = this.#timeline;
    if (nowMs < this.blockedUntilMs)
      return subscriber.later(this.blockedUntilMs - nowMs, () => this.#apply(connection, transaction));
    const locked = transaction.changes.some(({ table }) => table === 'succession') && !subscriber.mayTouchSuccessions;
    if (locked) return subscriber.later(5, () => this.#apply(connection, transaction));
    if (subscriber.waitsFor(transaction.changes)) {
      const untilMs = Math.min(patienceMs, nowMs + holdMs);
      if (nowMs < untilMs) return subscriber.later(holdLookMs, () => this.#apply(connection, transaction, untilMs));
      return this.#fail();
    }
    try {
      const { swallows } = this;
      const lost = ({ table, key }: Change) =>
        swallows !== null && table === 'row' && key.startsWith(`${swallows}/`) && !key.endsWith('/cart');
      const changes = transaction.changes.filter((change) => !lost(change));
      subscriber.applyFrom(publisher.here, { ...transaction, changes });
    } catch (error) {
      if (!(error instanceof ApplyError)) throw error;
      return this.#fail();
    }
    connection.next++;
    connection.receivedLsn = transaction.lsn;
    connection.busy = false;
    this.#reply(connection);
    this.wake();
  }

  #fail(): void {
    this.errors++;
    this.terminate();
    this.subscriber.later(errorPauseMs, () => this.start());
  }

  #status(connection: Connection): void {
    this.subscriber.later(statusEveryMs, () => {
      if (this.#connection !== connection) return;
      this.wake();
      this.#reply(connection);
      this.#status(connection);
    });
  }

  /** The subscriber says how far it has flushed: what it applied, or more when nothing was left to apply. */
  #reply(connection: Connection): void {
    const { publisher, subscriber } = this;
    const applied = subscriber.progress.get(publisher.here) ?? 0;
    const flushedLsn = connection.busy ? applied : Math.max(applied, connection.receivedLsn);
    if (!this.#links.flows(subscriber.here, publisher.here)) return;
    // A worker that waits for a lock says nothing.
    if (connection.busy && this.#timeline.nowMs < this.blockedUntilMs) return;
    this.#timeline.after(this.#links.delayMs(subscriber.here, publisher.here), () =>
      publisher.later(0, () => {
        if (this.#connection !== connection && !this.#broken('a frozen stream acknowledges')) return;
        this.#lastReplyMs = this.#timeline.nowMs;
        this.flushedLsn = Math.max(this.flushedLsn, flushedLsn);
        if (this.slot !== null) this.slot.confirmedLsn = Math.max(this.slot.confirmedLsn, flushedLsn);
        this.release();
      }),
    );
  }

  /** Commits that have what they waited for, by the list that this walsender has read: all of it. */
  release(): void {
    const { publisher, reader } = this;
    if (!this.#listRead.includes(reader) || !publisher.names.includes(reader)) return;
    let flushedLsn = this.flushedLsn;
    for (const name of publisher.broken('one of the sync set is enough') ? [] : this.#listRead) {
      if (name === reader) continue;
      const other = publisher.readers.find((one) => one.reader === name);
      if (other === undefined || !other.connected || !other.listRead.includes(name)) return;
      flushedLsn = Math.min(flushedLsn, other.flushedLsn);
    }
    for (const one of [...publisher.waiting]) if (one.lsn <= flushedLsn) one.end('flushed');
  }

  /** The walsender reads the configuration again, some time after it was written. */
  readListSoon(): void {
    const { names } = this.publisher;
    this.publisher.later(this.#random.between(1, 60), () => {
      this.#listRead = names;
      this.release();
    });
  }

  disable(): void {
    this.enabled = false;
    if (this.#connection?.busy === false) this.terminate();
  }

  enable(): void {
    this.enabled = true;
    this.start();
  }

  terminate(): void {
    if (this.#connection !== null) this.#connection.open = false;
    this.#connection = null;
  }

  /** Now and then, and not at every reply. */
  checkpoint(): void {
    if (this.slot !== null) this.slot.writtenLsn = this.slot.confirmedLsn;
  }

  /** Either server was lost, and with it the connection. */
  onCrash(of: ModelPostgres): void {
    this.terminate();
    if (of === this.publisher) {
      this.flushedLsn = 0;
      if (this.slot !== null) this.slot.confirmedLsn = this.slot.writtenLsn;
    }
    if (of === this.subscriber) this.#connecting = false;
    else this.start();
  }

  onRestart(of: ModelPostgres): void {
    if (of === this.subscriber) this.#connecting = false;
    this.start();
  }

  /** A slot that begins here: what was committed before is not in it. */
  makeSlot(): void {
    this.slot = { confirmedLsn: this.publisher.lsn, writtenLsn: this.publisher.lsn };
    this.#withheld = null;
    this.flushedLsn = 0;
  }

  /** For one who is gone itself: it must not read on with what it was before it has come back. */
  withholdSlot(): void {
    if (this.#broken('slots for those who are gone')) return;
    this.#withheld = this.slot;
    this.slot = null;
  }

  get isWithheld(): boolean {
    return this.#withheld !== null;
  }

  handOutSlot(): void {
    if (this.#withheld !== null) this.slot = this.#withheld;
    this.#withheld = null;
  }

  /** The subscriber goes on with the slot that was made anew when the publisher came back: all at the same position. */
  beginAnew(): void {
    this.handOutSlot();
    this.subscriber.progress.set(this.publisher.here, this.publisher.beganLsn);
  }
}
