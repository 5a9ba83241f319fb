/** Watches who reads our log, several times a second, and ends waits for peers that nobody waits for any more. */
import { comparePositions, type DataCenterName } from 'lanekeeper/model';
import type { Link } from '../ownership/index.ts';
import {
  cancelSyncWaiters,
  membersIn,
  type ReplicationReport,
  type ReplyMemory,
  readReplication,
  stopReading,
} from '../postgres/index.ts';
import type { LocalDatabase } from './database.ts';
import { message } from './effect-context.ts';
import type { Log } from './options.ts';
import type { Reign } from './reign.ts';
import type { StandbyList } from './standby-list.ts';

export type ReplicationOptions = {
  readonly database: LocalDatabase;
  readonly others: readonly DataCenterName[];
  readonly standbys: StandbyList;
  readonly log: Log;
  readonly reign: () => Reign | null;
};

const lookEveryMs = 250;
/** Three quarters of a second: longer than the way to a data center and back. */
const momentLooks = 3;

export class ReplicationWatch {
  readonly #options: ReplicationOptions;
  readonly #memory: ReplyMemory = new Map();
  /** What was current at the last few looks, the oldest first: who has flushed that is only moments behind. */
  readonly #current: string[] = [];
  /** What each peer had flushed, and since when that has not changed although there was more. */
  readonly #flushed = new Map<DataCenterName, { readonly lsn: string | null; readonly sinceMs: number }>();
  /** The look before this one found that the database does not wait for those that it was told to wait for. */
  #differed = false;
  #timer: NodeJS.Timeout | undefined;
  #closed = false;
  report: ReplicationReport | null = null;

  constructor(options: ReplicationOptions) {
    this.#options = options;
  }

  start(): void {
    this.#timer = setTimeout(async () => {
      const reign = this.#options.reign();
      if (reign !== null)
        try {
          await this.#look(reign);
        } catch (error) {
          this.#options.log('warn', 'the readers of our log cannot be looked at', { error: message(error) });
        }
      if (!this.#closed) this.start();
    }, lookEveryMs);
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
  }

  async #look(reign: Reign): Promise<void> {
    const { database, others, standbys, log } = this.#options;
    const { sync, lease } = reign.state;
    if ('reasons' in lease && lease.reasons.some(({ code }) => code === 'demoted'))
      if (await database.run((client) => stopReading(client, others)))
        log('error', 'a standby of this database was promoted: it reads from nobody any more');
    const report = await database.run((client) =>
      readReplication(client, others, this.#memory, performance.now(), standbys.all),
    );
    this.report = report;
    const nowMs = performance.now();
    const moment = this.#current[0] ?? null;
    const links: Record<DataCenterName, Link> = {};
    for (const [peer, { state, replyAgeMs, flushedLsn }] of Object.entries(report.peers)) {
      const caughtUp = moment !== null && flushedLsn !== null && comparePositions(flushedLsn, moment) >= 0;
      const known = this.#flushed.get(peer);
      const sinceMs = caughtUp || known?.lsn !== flushedLsn ? nowMs : (known?.sinceMs ?? nowMs);
      this.#flushed.set(peer, { lsn: flushedLsn, sinceMs });
      // One that answers and confirms nothing more does not hear us: the way there may be cut and the way back not.
      links[peer] = { streaming: state === 'streaming', caughtUp, replyAgeMs: Math.max(replyAgeMs, nowMs - sinceMs) };
    }
    this.#current.push(report.currentLsn);
    if (this.#current.length > momentLooks) this.#current.shift();
    // Other sessions hear of a new list a moment later, so that one look proves nothing.
    const settled = sync.setting === null && reign.state.sync.setting === null && reign.state.sync.waits === sync.waits;
    const differs = settled && [...report.waitsFor].sort().join() !== [...sync.waits].sort().join();
    const waitsFor = differs && this.#differed ? { waitsFor: report.waitsFor } : {};
    this.#differed = differs;
    reign.handle({ kind: 'replication', links, ...waitsFor });
    if (settled && moment !== null) await standbys.follow(database, report, moment, log);
    // Alone, or without a lease: what began to wait before that was known waits for nobody. A list that somebody else
    // wrote has waits of its own.
    const ours = membersIn(report.standbyNames) !== null;
    if (ours && (report.members === 0 || reign.leaseLeftMs() === 0)) await database.run(cancelSyncWaiters);
  }
}
