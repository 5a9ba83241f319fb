/**
 * One data center's database as a model: deeds, acceptances, drains, the lease, row locks, and the log that the peer
 * applies in order. It does what the SQL functions of the same names do, and checks nothing that they do not check.
 */
import { compareEpochs, type DataCenterName, type Epoch, type LeaseCredential } from 'lanekeeper/model';

export type ModelDeed = {
  readonly home: DataCenterName;
  readonly epoch: Epoch;
  readonly giver: DataCenterName | null;
  readonly digest: string | null;
};

export type Change =
  | { readonly kind: 'row'; readonly account: string; readonly write: string }
  | { readonly kind: 'deed'; readonly account: string; readonly deed: ModelDeed }
  | { readonly kind: 'acceptance'; readonly account: string; readonly epoch: Epoch };

export type Committed = { readonly change: Change; readonly atMs: number };

export class ModelDatabase {
  readonly here: DataCenterName;
  up = true;
  /** How far the server's wall clock is off, and how fast it runs. */
  clockOffsetMs: number;
  readonly hasUptime: boolean;
  readonly deeds = new Map<string, ModelDeed>();
  readonly acceptances = new Map<string, Epoch>();
  readonly rows = new Map<string, string[]>();
  readonly drains = new Map<string, { readonly move: number; hard: boolean; readonly untilMs: number }>();
  readonly log: Committed[] = [];
  /** How many of the peer's changes were applied here. */
  applied = 0;
  /** Changes of rows that a hole in the stream swallowed. */
  swallowed = 0;
  lease: { validUntilMs: number; validUntilUptimeMs: number | null } | null = null;
  credential: LeaseCredential | null = null;
  /** Share locks on deeds, by writers under way. A crash starts a new life, and old locks count no more. */
  readonly shareLocks = new Map<string, number>();
  life = 0;
  #moves = 0;

  constructor(here: DataCenterName, clockOffsetMs: number, hasUptime: boolean) {
    this.here = here;
    this.clockOffsetMs = clockOffsetMs;
    this.hasUptime = hasUptime;
  }

  wallMs(nowMs: number): number {
    return 1_000_000_000 + nowMs + this.clockOffsetMs;
  }

  leaseLeftMs(nowMs: number): number {
    if (this.lease === null) return 0;
    const byClockMs = this.lease.validUntilMs - this.wallMs(nowMs);
    const { validUntilUptimeMs } = this.lease;
    return Math.max(0, validUntilUptimeMs === null ? byClockMs : Math.min(byClockMs, validUntilUptimeMs - nowMs));
  }

  isAccepted(account: string): boolean {
    const deed = this.deeds.get(account);
    if (deed === undefined) return false;
    const accepted = this.acceptances.get(account);
    return deed.giver === null || (accepted !== undefined && compareEpochs(accepted, deed.epoch) === 0);
  }

  /** The fence: the epoch under which the account may be written here now, or null. */
  mayWrite(account: string, nowMs: number): Epoch | null {
    const deed = this.deeds.get(account);
    if (!this.up || deed?.home !== this.here || !this.isAccepted(account)) return null;
    if (this.drains.get(account)?.hard === true || this.leaseLeftMs(nowMs) <= 0) return null;
    return deed.epoch;
  }

  digest(account: string): string {
    return [...(this.rows.get(account) ?? [])].sort().join(' ');
  }

  commit(change: Change, atMs: number): void {
    this.log.push({ change, atMs });
    this.#write(change);
  }

  /** What the apply worker does with the peer's next change. Returns a deed that arrived, to be told. */
  apply(change: Change, hole: boolean): { readonly account: string; readonly deed: ModelDeed } | null {
    this.applied++;
    if (change.kind === 'row' && hole) {
      this.swallowed++;
      return null;
    }
    if (change.kind === 'deed') {
      const present = this.deeds.get(change.account);
      if (present !== undefined) {
        if (compareEpochs(change.deed.epoch, present.epoch) <= 0) return null;
        if (change.deed.giver !== null && change.deed.giver !== present.home) return null;
      }
    }
    this.#write(change);
    return change.kind === 'deed' ? { account: change.account, deed: change.deed } : null;
  }

  beginDrain(account: string, nowMs: number, forMs: number): number | null {
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

  give(account: string, to: DataCenterName, expected: Epoch, nowMs: number): Epoch | 'no-lease' | 'not-here' | 'stale' {
    const deed = this.deeds.get(account);
    if (this.leaseLeftMs(nowMs) <= 0) return 'no-lease';
    if (deed?.home !== this.here || !this.isAccepted(account)) return 'not-here';
    if (compareEpochs(deed.epoch, expected) !== 0) return 'stale';
    const epoch = { term: 1, counter: deed.epoch.counter + 1 };
    const given = { home: to, epoch, giver: this.here, digest: this.digest(account) };
    this.drains.delete(account);
    this.commit({ kind: 'deed', account, deed: given }, nowMs);
    return epoch;
  }

  accept(
    account: string,
    expected: Epoch,
    nowMs: number,
  ): 'accepted' | 'already' | 'stale' | 'no-lease' | 'digest-differs' {
    const deed = this.deeds.get(account);
    if (deed?.home !== this.here || compareEpochs(deed.epoch, expected) !== 0) return 'stale';
    if (this.isAccepted(account)) return 'already';
    if (this.leaseLeftMs(nowMs) <= 0) return 'no-lease';
    if (deed.digest !== null && deed.digest !== this.digest(account)) return 'digest-differs';
    this.commit({ kind: 'acceptance', account, epoch: deed.epoch }, nowMs);
    return 'accepted';
  }

  decline(account: string, expected: Epoch, nowMs: number): 'declined' | 'already' | 'stale' | 'no-lease' {
    const deed = this.deeds.get(account);
    if (deed?.home !== this.here || compareEpochs(deed.epoch, expected) !== 0 || deed.giver === null) return 'stale';
    if (this.isAccepted(account)) return 'already';
    if (this.leaseLeftMs(nowMs) <= 0) return 'no-lease';
    const epoch = { term: 1, counter: deed.epoch.counter + 1 };
    const returned = { home: deed.giver, epoch, giver: this.here, digest: null };
    this.commit({ kind: 'deed', account, deed: returned }, nowMs);
    return 'declined';
  }

  /** Deeds that name this dc and wait for its word. */
  unaccepted(): { readonly account: string; readonly deed: ModelDeed }[] {
    return [...this.deeds]
      .filter(([account, deed]) => deed.home === this.here && !this.isAccepted(account))
      .map(([account, deed]) => ({ account, deed }));
  }

  crash(): void {
    this.up = false;
    this.life++;
    this.shareLocks.clear();
    // Unlogged in PostgreSQL: after a crash there is no lease and no drain.
    this.lease = null;
    this.drains.clear();
  }

  #write(change: Change): void {
    if (change.kind === 'row') {
      const rows = this.rows.get(change.account);
      if (rows === undefined) this.rows.set(change.account, [change.write]);
      else rows.push(change.write);
    } else if (change.kind === 'acceptance') this.acceptances.set(change.account, change.epoch);
    else {
      const present = this.deeds.get(change.account);
      if (present !== undefined && compareEpochs(change.deed.epoch, present.epoch) <= 0)
        throw new Error(`E1: the deed of ${change.account} in ${this.here} fell to ${change.deed.epoch.counter}`);
      this.deeds.set(change.account, change.deed);
    }
  }
}
