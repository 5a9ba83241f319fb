/**
 * Applications: transactions that pass the fence at a statement, may take their time, are checked again when they commit,
 * and wait for the others when they are `remote`. What the client is told is what the SDK would say.
 */

import type { DataCenter } from './data-center.ts';
import type { Waiting, Writer } from './postgres.ts';
import type { Change } from './rows.ts';
import type { Simulation } from './simulation.ts';

/** `unknown`: the client cannot say whether it was committed. */
export type Acknowledged = 'remote' | 'local' | 'unknown' | 'refused';

export type Write = {
  readonly id: string;
  readonly account: string;
  readonly dc: string;
  readonly remote: boolean;
  /** Null until it is committed. */
  lsn: number | null;
  acknowledged: Acknowledged | null;
};

const lockWaitMs = 1200;

export class Applications {
  readonly #simulation: Simulation;
  readonly #dc: DataCenter;
  #count = 0;
  /** The next commit stands still between its check and its record, for this long. */
  stallNextMs = 0;

  constructor(simulation: Simulation, dc: DataCenter) {
    this.#simulation = simulation;
    this.#dc = dc;
  }

  start(): void {
    const { timeline, accounts } = this.#simulation;
    const { load } = this.#dc;
    const again = () => {
      timeline.after(load.between(15, 110), again);
      if (!this.#simulation.loaded || timeline.nowMs < this.#dc.stoppedUntilMs) return;
      this.#write(load.pick(accounts));
    };
    timeline.after(load.between(0, 60), again);
  }

  #write(account: string): void {
    const { timeline } = this.#simulation;
    const { pg, load } = this.#dc;
    const id = `${this.#dc.name}${++this.#count}`;
    const write: Write = { id, account, dc: this.#dc.name, remote: load.chance(0.5), lsn: null, acknowledged: null };
    const longMs = load.chance(0.06) ? load.between(100, 1200) : load.between(0, 8);
    const old = load.chance(0.3);
    const waitUntilMs = timeline.nowMs + lockWaitMs;
    if (!pg.up) return;
    const { life } = pg;
    pg.later(1, () => {
      const writer = pg.begin(account, old);
      const statement = () => {
        if (life !== pg.life) return;
        const answer = pg.fence(writer);
        if (answer === 'wait') {
          if (timeline.nowMs < waitUntilMs) pg.whenUnlocked(() => pg.later(0, statement));
          return;
        }
        if (answer === 'ok') pg.later(longMs, () => this.#commit(writer, write, life));
      };
      // With an old snapshot the statement comes some time after the transaction began.
      pg.later(old ? load.between(0, 60) : 0, statement);
    });
  }

  #commit(writer: Writer, write: Write, life: number): void {
    const { pg, load } = this.#dc;
    if (life !== pg.life) return;
    const { syncMembers: members, syncView: view } = pg;
    if (pg.leaseLeftMs() <= 0 && !this.#simulation.broken('no commit check')) {
      write.acknowledged = 'refused';
      return pg.end(writer);
    }
    const leaseInDoubt = pg.clockInDoubt;
    const stallMs = this.stallNextMs;
    this.stallNextMs = 0;
    const put = () => {
      if (life !== pg.life) return;
      if (!pg.up) return;
      const { observer } = this.#simulation;
      observer.beforeCommit(this.#dc, writer, write, leaseInDoubt || stallMs > 0);
      const { lsn } = pg.commit(this.#changes(writer, write));
      write.lsn = lsn;
      observer.committed(write);
      // A crash right here: it is in the log, and nobody was told.
      pg.later(load.next() * 2, () => this.#wait(writer, write, lsn, write.remote ? members : 0, view));
    };
    if (stallMs > 0) pg.later(stallMs, put);
    else put();
  }

  #wait(writer: Writer, write: Write, lsn: number, members: number, view: number): void {
    const { pg, outgoing } = this.#dc;
    const finish = (how: 'flushed' | 'cancelled' | 'crashed' | 'at once') => {
      if (how === 'crashed') return;
      pg.end(writer);
      pg.later(1, () => {
        if (!write.remote || members === 0) write.acknowledged = 'local';
        // The SDK: PostgreSQL's WARNING, or another view than the one that the commit was decided by.
        else if (
          (how === 'cancelled' && !this.#simulation.broken('a cancelled wait is success')) ||
          (pg.syncView !== view && !this.#simulation.broken('the view is not compared'))
        )
          write.acknowledged = 'local';
        else write.acknowledged = 'remote';
      });
    };
    if (members === 0 || (this.#simulation.broken('an empty list of standbys') && pg.names.length === 0))
      return finish('at once');
    const waiting: Waiting = {
      lsn,
      sinceMs: this.#simulation.timeline.nowMs,
      end: (how) => {
        if (pg.waiting.delete(waiting)) finish(how);
      },
    };
    pg.waiting.add(waiting);
    for (const stream of outgoing.values()) stream.release();
  }

  /** A new row, and a row that every write of the account changes; now and then a row that comes and goes. */
  #changes({ account, epoch }: Writer, { id }: Write): Change[] {
    const { pg, load, name } = this.#dc;
    const hot = `${account}/hot`;
    const changes: Change[] = [
      { op: 'insert', table: 'row', key: `${account}/${id}`, value: id },
      { op: pg.tables.row.has(hot) ? 'update' : 'insert', table: 'row', key: hot, value: id },
    ];
    const cart = `${account}/cart`;
    if (load.chance(0.2)) {
      if (pg.tables.row.has(cart)) changes.push({ op: 'delete', table: 'row', key: cart });
      else changes.push({ op: 'insert', table: 'row', key: cart, value: id });
    }
    const adoption = `${account}@${epoch?.term}`;
    if (pg.present(account)?.applied === true && !pg.tables.adoption.has(adoption))
      changes.push({ op: 'insert', table: 'adoption', key: adoption, value: name });
    return changes;
  }
}
