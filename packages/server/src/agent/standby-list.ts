/**
 * The list of standbys that PostgreSQL waits for: who changes it does so alone, and standbys of this data center's own come and
 * go in it. Only those that are there and have caught up are waited for, so that one that is lost holds nobody up for longer than a
 * lost peer does.
 */
import type { Configuration } from 'lanekeeper/config';
import { bytesBetween, comparePositions } from 'lanekeeper/model';
import {
  membersIn,
  type Queryable,
  type ReplicationReport,
  readReplication,
  relistStandbys,
  standbysIn,
} from '../postgres/index.ts';
import type { LocalDatabase } from './database.ts';
import type { Log } from './options.ts';

export class StandbyList {
  /** All that are configured. */
  readonly all: readonly string[];
  /** Those that `remote` commits wait for as well. */
  readonly names: readonly string[];
  readonly #peerTimeoutMs: number;
  #last: Promise<unknown> = Promise.resolve();
  /** What was wrong at the look before this one. */
  #differed = '';

  constructor({ here, dataCenters, durability }: Pick<Configuration, 'here' | 'dataCenters' | 'durability'>) {
    const standbys = dataCenters[here]?.standbys ?? [];
    this.all = standbys.map(({ name }) => name);
    this.names = standbys.filter(({ sync }) => sync).map(({ name }) => name);
    this.#peerTimeoutMs = durability.peerTimeoutMs;
  }

  /** One after another: a list that was read may not be written over a newer one. */
  async alone<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#last.then(work);
    this.#last = done.catch(() => {});
    return done;
  }

  /** Those that can be waited for from now on. */
  async present(client: Queryable): Promise<readonly string[]> {
    if (this.names.length === 0) return [];
    const report = await readReplication(client, [], new Map(), performance.now(), this.names);
    return this.names.filter((name) => report.standbys[name]?.state === 'streaming');
  }

  /** `moment`: what was current some looks ago. Two looks must agree. */
  async follow(database: LocalDatabase, report: ReplicationReport, moment: string, log: Log): Promise<void> {
    if (this.names.length === 0 || (membersIn(report.standbyNames) ?? []).length === 0) return;
    const well = this.names.filter((name) => {
      const { state, flushedLsn, replyAgeMs } = report.standbys[name] ?? {
        state: 'absent',
        flushedLsn: null,
        replyAgeMs: 0,
      };
      const caughtUp = flushedLsn !== null && comparePositions(flushedLsn, moment) >= 0;
      return state === 'streaming' && (caughtUp || replyAgeMs <= this.#peerTimeoutMs);
    });
    const wanted = [...well].sort().join();
    const differs = wanted !== [...standbysIn(report.standbyNames)].sort().join();
    const again = this.#differed === `to ${wanted}`;
    this.#differed = differs ? `to ${wanted}` : '';
    if (!differs || !again) return;
    const set = await this.alone(() => database.run((client) => relistStandbys(client, well)));
    if (set?.kind === 'set') log('info', 'remote commits wait for standbys of our own', { standbys: well });
  }
}

export type StandbyStatus = {
  readonly name: string;
  /** `pg_stat_replication.state`; `absent` when it does not read. */
  readonly state: string;
  /** `remote` commits wait for it. */
  readonly waitedFor: boolean;
  /** How much of our log it has yet to store; null while that is not known. */
  readonly behindBytes: number | null;
};

export function standbyStatus(report: ReplicationReport | null): readonly StandbyStatus[] {
  if (report === null) return [];
  const waitedFor = standbysIn(report.standbyNames);
  return Object.entries(report.standbys).map(([name, { state, flushedLsn }]) => ({
    name,
    state,
    waitedFor: waitedFor.includes(name),
    behindBytes: flushedLsn === null ? null : bytesBetween(flushedLsn, report.currentLsn),
  }));
}

/** In words, for a person; empty when all are there. */
export function standbyProblems(standbys: readonly StandbyStatus[]): readonly string[] {
  return standbys.flatMap(({ name, state }) =>
    state === 'absent' ? [`the standby ${name} does not read: promoted now, it would lack what was written since`] : [],
  );
}
