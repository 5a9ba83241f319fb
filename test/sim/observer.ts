/**
 * Knows everything, and checks the invariants of `faults.md`: W1, G1 and E1 at every commit, D1, C1 and X1 when the world has
 * come to rest. R4 as well: nothing is committed after the lease by more than the skew, but where a clock was moved that
 * nobody could see, or a backend stood still in its commit; such a write has to be stranded.
 */
import { compareEpochs, type Epoch } from 'lanekeeper/model';
import { settings } from './agent.ts';
import type { Write } from './applications.ts';
import type { DataCenter } from './data-center.ts';
import type { Writer } from './postgres.ts';
import type { Deed, Stranded, SuccessionRow } from './rows.ts';
import type { Simulation } from './simulation.ts';

export class Violation extends Error {
  readonly invariant: string;

  constructor(invariant: string, message: string) {
    super(`${invariant}: ${message}`);
    this.invariant = invariant;
  }
}

type Known = { write: Write; epoch: Epoch; generation: number };

export class Observer {
  readonly #simulation: Simulation;
  readonly writes: Known[] = [];
  readonly #accounts = new Map<string, { epoch: Epoch; dc: string; writes: Known[] }>();
  /** Terms of takeovers that a person forced. */
  readonly forced = new Set<number>();
  readonly #deeds = new Map<string, Deed>();
  readonly seen = {
    commits: 0,
    remote: 0,
    stranded: 0,
    successions: 0,
    readmissions: 0,
    given: 0,
    refused: 0,
    mended: 0,
    foreign: 0,
    seeded: 0,
  };

  constructor(simulation: Simulation) {
    this.#simulation = simulation;
  }

  beforeCommit(dc: DataCenter, writer: Writer, write: Write, excused: boolean): void {
    const { account } = write;
    const epoch = writer.epoch as Epoch;
    const { nowMs } = this.#simulation.timeline;
    const where = `${write.id} for ${account} in ${dc.name} at ${Math.round(nowMs)}`;
    const lateMs = nowMs - this.#simulation.leaseUntilMs(dc.name);
    if (lateMs > settings.skewMs && !excused)
      throw new Violation('R4', `${where} was committed ${Math.round(lateMs)} ms after the lease`);
    const known: Known = { write, epoch, generation: dc.pg.generation };
    this.writes.push(known);
    this.seen.commits++;
    const before = this.#accounts.get(account);
    if (before === undefined) {
      this.#accounts.set(account, { epoch, dc: dc.name, writes: [known] });
      return;
    }
    const order = compareEpochs(epoch, before.epoch);
    const epochs = `epoch ${text(epoch)} after ${text(before.epoch)} of ${before.dc}`;
    if (order === 0 && before.dc !== dc.name)
      throw new Violation('W1', `${where} under the same epoch as ${before.dc}: ${text(epoch)}`);
    if (order < 0) {
      if (!excused || !this.#wasTaken(dc.name, epoch, dc.pg.generation))
        throw new Violation('W1', `${where} under ${epochs}`);
    } else {
      if (order > 0) this.#checkGrowth(dc, account, before.writes, where);
      this.#accounts.set(account, { epoch, dc: dc.name, writes: before.writes });
    }
    before.writes.push(known);
  }

  committed(write: Write): void {
    if (write.lsn === null) throw new Error(`${write.id} has no place in the log`);
  }

  /** Whether a takeover after `epoch` cut this generation of a dc off. */
  #wasTaken(dc: string, { term }: Epoch, generation: number): boolean {
    return (
      this.#simulation.successions().some((one) => one.kind === 'take' && one.from === dc && one.term > term) &&
      this.#simulation.dc(dc).pg.generation === generation
    );
  }

  /** G1: whoever writes first under a new epoch has everything that was not cut off. */
  #checkGrowth(dc: DataCenter, account: string, writes: readonly Known[], where: string): void {
    for (const known of writes) {
      const { write, epoch: earlier } = known;
      if (dc.pg.tables.row.has(`${account}/${write.id}`)) continue;
      const cut = this.#cutOff(dc, known);
      // A switchover that was decided and never carried out is recorded together with the takeover that cut it off.
      if (cut === null || cut.term <= earlier.term)
        throw new Violation('G1', `${where} was committed without ${write.id} of ${write.dc}`);
      if (write.acknowledged === 'remote' && !this.#isForced(cut.term))
        throw new Violation('D1', `${where} was committed without ${write.id}, acknowledged as remote in ${write.dc}`);
    }
  }

  /** The first takeover by which a write does not count, by what a data center has of the successions. */
  #cutOff({ pg }: DataCenter, { write, generation }: Known): SuccessionRow | null {
    const { successions } = pg;
    for (const row of successions) {
      const cut = row.cuts?.[write.dc];
      if (cut?.generation !== generation || (write.lsn ?? Number.POSITIVE_INFINITY) <= cut.homed) continue;
      // A row that was recorded late tells of those as well who were taken over after its term.
      const taken = successions.filter(({ kind, from }) => kind === 'take' && from === write.dc);
      const by = taken.findLast(({ term }) => term <= row.term) ?? taken[0];
      return by === undefined || by.term < row.term ? row : by;
    }
    return null;
  }

  /** A person forced this takeover, or a later one of the successor: what that one had is then given up as well. */
  #isForced(term: number): boolean {
    if (this.forced.has(term)) return true;
    const history = this.#simulation.successions();
    const to = history.find((one) => one.term === term)?.to;
    const next = history.find((one) => one.kind === 'take' && one.from === to && one.term > term);
    return next !== undefined && this.#isForced(next.term);
  }

  /** Everything that had been written in a data center was taken from elsewhere. */
  onSeeded(): void {
    this.seen.seeded++;
  }

  /** R3: what was given counts when everybody who holds a lease has heard of it. */
  checkAcceptance({ name, pg, peers }: DataCenter, key: string): void {
    const account = key.slice(0, key.indexOf('@'));
    const deed = pg.deed(account);
    // A mark of nobody's account, and what comes back undone: that has been written nowhere else.
    if (deed === undefined || deed.digest === null) return;
    for (const peer of peers) {
      if (peer.name === deed.giver || !this.#simulation.isKnownToLead(peer.name)) continue;
      const theirs = peer.pg.deed(account);
      if (theirs === undefined || compareEpochs(theirs.epoch, deed.epoch) < 0)
        throw new Violation(
          'R3',
          `${name} accepts ${account} of ${text(deed.epoch)}, and ${peer.name} has not heard of it`,
        );
    }
  }

  /** E1: as often as anything is written. */
  checkDeed(dc: string, account: string, deed: Deed): void {
    const name = `${dc}/${account}`;
    const before = this.#deeds.get(name);
    if (before !== undefined && compareEpochs(deed.epoch, before.epoch) < 0)
      throw new Violation(
        'E1',
        `the deed of ${account} in ${dc} fell from ${text(before.epoch)} to ${text(deed.epoch)}`,
      );
    this.#deeds.set(name, deed);
  }

  /** Undone: what this dc gave away beyond the cut never was. */
  forgetDeed(dc: string, account: string): void {
    this.#deeds.delete(`${dc}/${account}`);
  }

  /** D1, C1, X1: nothing is on its way any more. */
  checkRest(): void {
    const simulation = this.#simulation;
    const [one] = simulation.dcs as [DataCenter];
    const difference = simulation.difference();
    if (difference !== null) throw new Violation('C1', difference);
    const ledger = new Map<string, number>();
    for (const value of one.pg.tables.stranded.values()) {
      const { change } = value as Stranded;
      if (change.table === 'row' && change.op === 'insert') ledger.set(change.key, (ledger.get(change.key) ?? 0) + 1);
    }
    for (const known of this.writes) {
      const { write } = known;
      if (simulation.damaged.has(write.account)) continue;
      const { id, account, dc, acknowledged } = write;
      const key = `${account}/${id}`;
      const there = one.pg.tables.row.has(key) ? 1 : 0;
      const stranded = ledger.get(key) ?? 0;
      const what = `${id} for ${account} in ${dc}, ${acknowledged ?? 'not'} acknowledged`;
      // The cart comes and goes; every other row stays.
      if (there + stranded !== 1)
        throw new Violation('D1', `${what}: ${there} in the tables, ${stranded} in the ledger`);
      if (stranded > 0) {
        this.seen.stranded++;
        const term = this.#cutOff(one, known)?.term ?? 0;
        if (acknowledged === 'remote' && !this.#isForced(term)) throw new Violation('D1', `${what}, is stranded`);
      }
      if (acknowledged === 'remote') this.seen.remote++;
    }
    for (const { pg } of simulation.dcs)
      if (pg.conflicts > 0 && simulation.damaged.size === 0)
        throw new Violation('X1', `${pg.conflicts} changes were skipped in ${pg.here}`);
  }
}

function text({ term, counter }: Epoch): string {
  return `${term}.${counter}`;
}
