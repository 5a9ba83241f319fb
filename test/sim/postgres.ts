/**
 * One data center's PostgreSQL as a model, with what `packages/server/sql` does in it. It checks nothing that the SQL does not
 * check. `test/service/postgres-facts.test.ts` holds these facts to a real server; the names are the same there:
 *
 * - F-share-lock: a writer holds its deed FOR SHARE until its transaction ends; who gives waits for it.
 * - F-old-snapshot: a writer with an old snapshot that meets a changed deed fails with 40001.
 * - F-sequence-now: sequences are read as they are now, whatever the snapshot, and a `setval` outlives a transaction that fails.
 * - F-unlogged: a crash takes unlogged sequences and tables back to their start: no lease, nobody waited for, no drain.
 * - F-exclusive-waits: ACCESS EXCLUSIVE on `succession` waits for every writer and keeps new ones waiting.
 * - F-commit-check: the deferred check runs at commit, after everything that the transaction waited for.
 * - F-unflushed: a crash before the flush loses the transaction, a crash after it does not, also when it was waiting.
 * - F-wait-holds: a commit that waits for a standby holds its locks; who gave it up or was cancelled is committed all the same.
 * - F-wait-all: `FIRST n` releases a commit when all n have flushed it; `lanekeeper_pad` never does.
 * - F-names-late: a walsender goes by the list that it read last, not by the one that was written.
 * - F-origin: what is applied or undone under an origin is not sent on (`origin = none`); progress commits with it.
 * - F-slot-back: a crash takes a slot's position back to what was last written down.
 * - F-insert-exists, F-update-missing: the first stops a stream, the second is skipped and counted.
 * - F-disable-late: a worker that waits applies and acknowledges after DISABLE, until it is terminated and gone.
 */
import { compareEpochs, type Epoch } from 'lanekeeper/model';
import { isAfterUndo, isHeld, markKey, waitsFor } from './marks.ts';
import { RelaySlots } from './relay.ts';
import {
  ApplyError,
  type Change,
  type Deed,
  type Frozen,
  fold,
  type Rejoining,
  type SuccessionRow,
  type TableName,
  type Transaction,
  type Value,
} from './rows.ts';
import { ModelServer } from './server.ts';

/** A client's transaction. It holds its locks until `done`. */
export type Writer = {
  readonly account: string;
  /** At REPEATABLE READ: what was there when it began. */
  readonly snapshot: { readonly term: number; readonly deed: Deed | undefined } | null;
  epoch: Epoch | null;
  done: boolean;
};
export type Refusal = 'no-lease' | 'elsewhere' | 'not-accepted' | 'draining' | 'serialization' | 'unknown';

export type Waiting = {
  readonly lsn: number;
  readonly sinceMs: number;
  readonly end: (how: 'flushed' | 'cancelled' | 'crashed') => void;
};

/** A walsender, as the others of the same server see it. */
export type Reader = {
  readonly reader: string;
  readonly connected: boolean;
  readonly flushedLsn: number;
  readonly listRead: readonly string[];
};

export const epochKey = (account: string, { term, counter }: Epoch) => `${account}@${term}.${counter}`;

export class ModelPostgres extends ModelServer {
  readonly tables: Record<TableName, Map<string, Value>> = {
    row: new Map(),
    deed: new Map(),
    acceptance: new Map(),
    adoption: new Map(),
    succession: new Map(),
    stranded: new Map(),
  };
  readonly wal: Transaction[] = [];
  /** How far the log of each of the others was applied here, and of which generation that log is. */
  readonly progress = new Map<string, number>();
  readonly generations = new Map<string, number>();
  readonly relay = new RelaySlots();
  /** Where its slots begin since it came back: nothing was written here while they were made one after the other. */
  beganLsn = 0;
  readers: readonly Reader[] = [];
  /** With a third data center there are two streams about one account: marks say what may not overtake what. */
  marks = false;
  /** Nothing is flushed beyond it: commits flush as they are written. */
  lsn = 256;
  view = 1;
  syncView = 1;
  syncMembers = 0;
  /** `synchronous_standby_names` without the pad. */
  names: readonly string[] = [];
  generation = 1;
  /** Publishers from which nothing is applied. */
  readonly frozen = new Map<string, Frozen>();
  /** Publishers that come back from a takeover, by its term: read from again already. */
  readonly thawed = new Map<string, number>();
  rejoining: Rejoining | null = null;
  /** Of accounts whose deed was undone, and has not been sent again: who had them, and in which term. */
  readonly bases = new Map<string, { readonly home: string; readonly term: number }>();
  /** The agent's process that holds the lead's session. */
  leader: object | null = null;
  readonly drains = new Map<string, { readonly move: number; hard: boolean; readonly untilMs: number }>();
  readonly waiting = new Set<Waiting>();
  conflicts = 0;
  onCommit: (transaction: Transaction) => void = () => {};
  /** A change was skipped, or stops the stream: nothing that happens without saying so. */
  onConflict: (what: string) => void = () => {};
  onNotify: (word: { kind: 'succession' } | { kind: 'deed'; account: string; deed: Deed }) => void = () => {};
  readonly writers = new Set<Writer>();
  readonly #shares = new Map<string, number>();
  /** ACCESS EXCLUSIVE on `succession`: asked for, then granted. */
  #exclusive: { granted: boolean; readonly owner: object } | null = null;
  #blocked: (() => void)[] = [];
  #moves = 0;
  readonly #folds = new Map<string, { readonly home: string; readonly term: number }>();
  // ── Where an account is written ──────────────────────────────────────────────────────────────────────────────────

  get successions(): readonly SuccessionRow[] {
    return [...this.tables.succession.values()].map((row) => row as SuccessionRow).sort((a, b) => a.term - b.term);
  }

  get latest(): number {
    let latest = 1;
    for (const row of this.tables.succession.values()) latest = Math.max(latest, (row as SuccessionRow).term);
    return latest;
  }

  deed(account: string): Deed | undefined {
    return this.tables.deed.get(account) as Deed | undefined;
  }

  /** The deed as the successions left it. `upTo`: those that a snapshot shows. */
  present(account: string, deed = this.deed(account), upTo = Number.POSITIVE_INFINITY) {
    if (deed === undefined) return null;
    const { home, epoch } = deed;
    const name = `${home}/${epoch.term}/${upTo}`;
    let folded = this.#folds.get(name);
    if (folded === undefined) {
      folded = fold(
        this.successions.filter(({ term }) => term <= upTo),
        home,
        epoch.term,
      );
      this.#folds.set(name, folded);
    }
    const applied = folded.term !== epoch.term;
    const accepted =
      (applied && this.landed(folded.term)) ||
      (!applied && deed.giver === null) ||
      this.broken('arrived means accepted') ||
      this.tables.acceptance.has(epochKey(account, epoch));
    return { home: folded.home, epoch: { term: folded.term, counter: epoch.counter }, accepted, applied };
  }

  /** Whether what a succession brought here may be written: a takeover is its own mark. */
  landed(term: number): boolean {
    if (!this.marks || this.broken('written before the mark')) return true;
    const row = this.tables.succession.get(String(term)) as SuccessionRow | undefined;
    return row?.kind === 'take' || this.tables.acceptance.has(markKey(term));
  }

  /** Puts down the marks of the successions that made this data center a home. */
  land(): void {
    if (!this.marks || this.broken('written before the mark')) return;
    for (const { term, kind, to } of this.successions)
      if (to === this.here && kind !== 'take' && !this.tables.acceptance.has(markKey(term)))
        this.commit([{ op: 'insert', table: 'acceptance', key: markKey(term), value: this.here }]);
  }

  // ── Writers ──────────────────────────────────────────────────────────────────────────────────────────────────────

  begin(account: string, old: boolean): Writer {
    return {
      account,
      snapshot: old ? { term: this.latest, deed: this.deed(account) } : null,
      epoch: null,
      done: false,
    };
  }

  /** The fence of a statement. `wait`: somebody holds a lock; try again when `unlocked`. */
  fence(writer: Writer): 'ok' | 'wait' | Refusal {
    if (this.#exclusive !== null) return 'wait';
    if (this.leaseLeftMs() <= 0) return 'no-lease';
    const { account, snapshot } = writer;
    const deed = this.deed(account);
    if (snapshot !== null && snapshot.deed !== deed && !this.broken('unlocked deed read')) return 'serialization';
    const seen = snapshot?.term ?? this.latest;
    if (seen < this.view && !this.broken('no view check')) return 'serialization';
    const present = this.present(account, snapshot?.deed ?? deed, snapshot?.term);
    if (present === null) return 'unknown';
    if (present.home !== this.here) return 'elsewhere';
    if (!present.accepted) return 'not-accepted';
    for (const name of [account, '*']) {
      const drain = this.drains.get(name);
      if (drain?.hard && drain.untilMs > this.timeline.nowMs) return 'draining';
    }
    writer.epoch = present.epoch;
    this.writers.add(writer);
    this.#shares.set(account, (this.#shares.get(account) ?? 0) + 1);
    return 'ok';
  }

  end(writer: Writer): void {
    if (writer.done) return;
    writer.done = true;
    if (!this.writers.delete(writer)) return;
    this.#shares.set(writer.account, (this.#shares.get(writer.account) ?? 1) - 1);
    if (this.#exclusive !== null && !this.#exclusive.granted && this.writers.size === 0) this.#exclusive.granted = true;
    this.#wake();
  }

  whenUnlocked(run: () => void): void {
    this.#blocked.push(run);
  }

  isShared(account: string): boolean {
    return (
      !this.broken('unlocked deed read') && !this.broken('give without waiting') && (this.#shares.get(account) ?? 0) > 0
    );
  }

  get locked(): boolean {
    return this.#exclusive?.granted === true;
  }

  /** Asks for the lock that all writers hold a share of. True: granted at once; otherwise look at `locked` when woken. */
  lockWriters(owner: object): boolean {
    if (this.#exclusive !== null) return this.#exclusive.owner === owner && this.#exclusive.granted;
    this.#exclusive = { owner, granted: this.writers.size === 0 || this.broken('switch without the lock') };
    return this.#exclusive.granted;
  }

  holdsLock(owner: object): boolean {
    return this.#exclusive?.owner === owner && this.#exclusive.granted;
  }

  unlockWriters(owner: object): void {
    if (this.#exclusive?.owner !== owner) return;
    this.#exclusive = null;
    this.#wake();
  }

  #wake(): void {
    const blocked = this.#blocked;
    this.#blocked = [];
    for (const run of blocked) run();
  }

  // ── Commits ──────────────────────────────────────────────────────────────────────────────────────────────────────

  commit(changes: readonly Change[], origin: string | null = null, originLsn: number | null = null): Transaction {
    const applied = changes.flatMap((change) => (this.#apply(change, origin !== null) ? [change] : []));
    this.lsn += 16;
    const transaction = { lsn: this.lsn, origin, originLsn, atMs: this.timeline.nowMs, changes: applied };
    this.wal.push(transaction);
    this.onCommit(transaction);
    return transaction;
  }

  /** What an apply worker does with one transaction of a publisher, progress included. */
  applyFrom(publisher: string, transaction: Transaction): void {
    for (const change of transaction.changes) this.#mayApply(change);
    this.commit(transaction.changes, this.broken('what was applied is sent on') ? null : publisher, transaction.lsn);
    this.progress.set(publisher, transaction.lsn);
  }

  /** What has to come first, and from another stream than this one; null when nothing is missing. */
  waitsFor(changes: readonly Change[]): string | null {
    return waitsFor(this, changes);
  }

  /** Errors that stop a stream are found before anything is written: the transaction is rolled back. */
  #mayApply({ op, table, key, value }: Change): void {
    if (table === 'succession' && op === 'insert' && isHeld(this, value as SuccessionRow)) throw new ApplyError('held');
    if (op === 'insert' && table !== 'succession' && table !== 'deed' && this.tables[table].has(key)) {
      this.onConflict(`insert_exists: ${table} ${key}`);
      throw new ApplyError(`insert_exists: ${table} ${key}`);
    }
  }

  /** An agent that was killed may have left the last stage unwritten. */
  get isComingBack(): boolean {
    return this.rejoining !== null && this.rejoining.stage !== 'readmitted' && this.leaseLeftMs() <= 0;
  }

  /** Rows that were undone are missing until the home has sent them again. */
  get isUndone(): boolean {
    return this.isComingBack && (isAfterUndo(this.rejoining) || this.rejoining?.keys.length !== 0);
  }

  /** False: a trigger left it out, or there was nothing to change. */
  #apply(change: Change, replica: boolean): boolean {
    const { op, table, key, value } = change;
    const rows = this.tables[table];
    if (op === 'repair') {
      const present = rows.get(key);
      if (
        table === 'deed' &&
        present !== undefined &&
        (value === undefined || compareEpochs((present as Deed).epoch, (value as Deed).epoch) > 0)
      )
        return true;
      rows.delete(key);
      if (value !== undefined) rows.set(key, value);
      return true;
    }
    if (table === 'deed' && op !== 'delete') return this.#applyDeed(key, value as Deed, replica);
    if (table === 'succession' && op !== 'delete') return this.#applySuccession(key, value as SuccessionRow);
    if (table === 'succession') this.#folds.clear();
    if (replica && op !== 'insert' && !rows.has(key)) {
      this.conflicts++;
      if (!this.isUndone) this.onConflict(`${op} of a missing ${table} ${key}`);
      return true;
    }
    if (op === 'delete') rows.delete(key);
    else rows.set(key, value as Value);
    return true;
  }

  #applyDeed(account: string, deed: Deed, replica: boolean): boolean {
    const present = this.deed(account);
    if (present !== undefined && replica) {
      if (compareEpochs(deed.epoch, present.epoch) <= 0) return false;
      const { home, epoch } = present;
      if (deed.giver !== null && deed.giver !== home && deed.giver !== fold(this.successions, home, epoch.term).home)
        return false;
    }
    this.tables.deed.set(account, deed);
    if (replica) this.onNotify({ kind: 'deed', account, deed });
    return true;
  }

  #applySuccession(key: string, row: SuccessionRow): boolean {
    if (this.tables.succession.has(key)) return false;
    this.tables.succession.set(key, row);
    this.#folds.clear();
    if (row.from === this.here) this.view = Math.max(this.view, row.term);
    this.drains.delete('*');
    this.onNotify({ kind: 'succession' });
    return true;
  }

  /** Everything was copied from elsewhere. */
  onSeeded(): void {
    this.#folds.clear();
  }

  settleView(): void {
    this.view = this.latest;
  }

  /** The table is locked for as long as this waits: `false` when somebody holds it. */
  get mayTouchSuccessions(): boolean {
    return this.#exclusive === null;
  }

  // ── Drains ────────────────────────────────────────────────────────────────────────────────────────────────────────

  beginDrain(account: string, forMs: number): number | null {
    const { nowMs } = this.timeline;
    const present = this.drains.get(account);
    if (present !== undefined && present.untilMs > nowMs) return null;
    const move = ++this.#moves;
    this.drains.set(account, { move, hard: false, untilMs: nowMs + forMs });
    return move;
  }

  endDrain(account: string, move: number | null): void {
    const present = this.drains.get(account);
    if (present !== undefined && (move === null || present.move === move)) this.drains.delete(account);
  }

  // ── Crash ────────────────────────────────────────────────────────────────────────────────────────────────────────

  crash(): void {
    this.up = false;
    this.life++;
    this.leader = null;
    if (!this.broken('the lease survives a crash')) this.lease = null;
    this.syncMembers = 0;
    // A sequence that was moved by a transaction which did not commit: whether that was flushed is chance.
    if (this.view > this.latest && this.random.chance(0.5)) this.view = this.latest;
    this.drains.clear();
    this.#exclusive = null;
    for (const writer of this.writers) writer.done = true;
    this.writers.clear();
    this.#shares.clear();
    this.#blocked = [];
    for (const one of [...this.waiting]) one.end('crashed');
    this.waiting.clear();
  }
}
