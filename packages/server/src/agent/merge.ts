/**
 * Shared rows: merges what was left pending, tells the others how far that has come, forgets what all have forgotten. The
 * leader does it, with or without a lease: nobody has to be asked before a shared row is written.
 */
import type { Configuration } from 'lanekeeper/config';
import {
  announceToReaders,
  finishPending,
  hasNewReaders,
  hasPending,
  type MergeStanding,
  markMerged,
  mergedNames,
  pendingAtOnce,
  purgeMerged,
  readMergeStanding,
} from '../postgres/index.ts';
import type { LocalDatabase } from './database.ts';
import type { Log } from './options.ts';
import type { Reign } from './reign.ts';
import { Rounds } from './rounds.ts';

export type MergingOptions = {
  readonly configuration: Configuration;
  readonly database: LocalDatabase;
  readonly log: Log;
  readonly reign: () => Reign | null;
};

const pendingEveryMs = 250;
const announceEveryMs = 2_000;
/** All rows of a table are read and sent. */
const announceMaxMs = 3_600_000;
const markEveryMaxMs = 5 * 60_000;
const purgeEveryMaxMs = 10 * 60_000;
/** A tenth of what tombstones are kept for, so that they are not kept for much longer. */
const parts = 10;
const leastMs = 1_000;
/** Longer than any row should be locked. */
const lockedForLongSeconds = 60;
const insufficientPrivilege = '42501';

export class Merging {
  readonly #options: MergingOptions;
  readonly #rounds: Rounds;
  readonly #any: boolean;
  #problem: string | null = null;

  constructor(options: MergingOptions) {
    this.#options = options;
    this.#rounds = new Rounds(options);
    this.#any = mergedNames(options.configuration).length > 0;
  }

  start(): void {
    const keepMs = this.#options.configuration.merge.keepTombstonesMs;
    const often = (maxMs: number) => Math.min(maxMs, Math.max(leastMs, keepMs / parts));
    // Also where no table is merged here yet: what arrives for one waits in `merge_pending` until it is declared.
    this.#rounds.repeat('pending merges', pendingEveryMs, () => this.#finish());
    if (!this.#any) return;
    this.#rounds.repeat('announcing shared rows', announceEveryMs, () => this.#announce());
    this.#rounds.repeat('marks of the merge log', often(markEveryMaxMs), () => this.#options.database.run(markMerged));
    this.#rounds.repeat('purging shared rows', often(purgeEveryMaxMs), () => this.#purge());
  }

  close(): void {
    this.#rounds.close();
  }

  /** Null where no table is merged. */
  async standing(): Promise<(MergeStanding & { readonly problems: readonly string[] }) | null> {
    if (!this.#any) return null;
    const standing = await this.#options.database.run(readMergeStanding);
    return { ...standing, problems: [...mergeTroubles(standing), ...(this.#problem === null ? [] : [this.#problem])] };
  }

  async #finish(): Promise<void> {
    const { database } = this.#options;
    if (!(await database.run(hasPending))) return;
    try {
      while (!this.#rounds.closed && (await database.run((client) => finishPending(client))) === pendingAtOnce);
      this.#problem = null;
    } catch (error) {
      if ((error as { code?: unknown }).code !== insufficientPrivilege) throw error;
      this.#problem =
        'pending changes of shared rows cannot be merged: GRANT SET ON PARAMETER session_replication_role TO the agent';
    }
  }

  async #announce(): Promise<void> {
    const { configuration, database, log } = this.#options;
    if (!(await database.run((client) => hasNewReaders(client, configuration)))) return;
    const session = await database.session('announcing shared rows', announceMaxMs);
    const readers = await announceToReaders(session, configuration).finally(() => session.end().catch(() => {}));
    if (readers.length > 0) log('info', 'sent shared rows to who reads them from now on', { readers });
  }

  async #purge(): Promise<void> {
    const { configuration, database, log } = this.#options;
    const purged = await database.run((client) => purgeMerged(client, configuration.merge));
    if (purged.tombstones > 0 || purged.conflicts > 0) log('info', 'forgot deleted shared rows and conflicts', purged);
  }
}

/** What needs somebody's attention. */
export function mergeTroubles({ locked, failed, oldestSeconds }: MergeStanding): readonly string[] {
  const troubles = failed.map(
    ({ table, reason, changes }) =>
      `${changes} change${changes === 1 ? '' : 's'} of ${table} cannot be merged here: ${reason}`,
  );
  if (locked > 0 && failed.length === 0 && oldestSeconds !== null && oldestSeconds > lockedForLongSeconds)
    troubles.push(
      `${locked} change${locked === 1 ? '' : 's'} of shared rows wait for rows that are locked for ${Math.round(oldestSeconds)} s`,
    );
  return troubles;
}
