/**
 * Bookmarks: a read sees what the same session wrote before, wherever it is served, or is told that it may not.
 *
 * A session remembers the place of its last write that only one data center was known to hold (`last-write.ts`). Before a read, this
 * says whether that has arrived in the database here, waits for it a little, or says that it will never come. Whoever waits for one
 * data center shares one question after another.
 */
import { setTimeout as delay } from 'node:timers/promises';
import type { DataCenterName } from '../model/index.ts';
import type { Bookmark } from '../session/index.ts';
import type { RunSql } from './deeds.ts';

export type Arrival =
  | 'here'
  /** It may yet come. */
  | 'late'
  /** Whoever wrote it was taken over without it. */
  | 'missing';

type Cut = { readonly generation: number; readonly position: bigint };

/** What was heard is as good as news for so long: a data center that is set up anew begins to count from elsewhere. */
const rememberMs = 1_000;
const cutsRememberMs = 5_000;
const firstPauseMs = 2;
const longestPauseMs = 20;

export class Bookmarks {
  readonly #here: DataCenterName;
  readonly #run: RunSql;
  readonly #arrived = new Map<DataCenterName, { readonly position: bigint; readonly untilMs: number }>();
  readonly #asking = new Map<DataCenterName, Promise<void>>();
  #cuts: { readonly all: Promise<ReadonlyMap<DataCenterName, readonly Cut[]>>; readonly untilMs: number } | null = null;

  /** `run` asks the database here. */
  constructor(here: DataCenterName, run: RunSql) {
    this.#here = here;
    this.#run = run;
  }

  /** There is a succession that was not known. */
  forget(): void {
    this.#cuts = null;
    this.#arrived.clear();
  }

  /** Waits at most `withinMs`. A database that cannot be asked has nothing. */
  async arrival(bookmark: Bookmark, withinMs: number): Promise<Arrival> {
    const { dataCenter } = bookmark;
    const position = toNumber(bookmark.position);
    const cut = await this.#cutOf(bookmark);
    if (cut !== null) return position > cut ? 'missing' : 'here';
    if (dataCenter === this.#here) return 'here';
    const deadlineMs = performance.now() + withinMs;
    for (let pauseMs = firstPauseMs; ; pauseMs = Math.min(pauseMs * 2, longestPauseMs)) {
      if (this.#has(dataCenter, position)) return 'here';
      await this.#ask(dataCenter);
      if (this.#has(dataCenter, position)) return 'here';
      const leftMs = deadlineMs - performance.now();
      if (leftMs <= 0) return 'late';
      await delay(Math.min(pauseMs, leftMs));
    }
  }

  #has(dataCenter: DataCenterName, position: bigint): boolean {
    const known = this.#arrived.get(dataCenter);
    return known !== undefined && known.position >= position && known.untilMs > performance.now();
  }

  #ask(dataCenter: DataCenterName): Promise<void> {
    const asked = this.#asking.get(dataCenter);
    if (asked !== undefined) return asked;
    const asking = this.#run('SELECT lanekeeper.arrived($1)::text AS position', [dataCenter])
      .then(([row]) => {
        if (typeof row?.position !== 'string') return;
        this.#arrived.set(dataCenter, {
          position: toNumber(row.position),
          untilMs: performance.now() + rememberMs,
        });
      })
      .catch(() => {})
      .finally(() => this.#asking.delete(dataCenter));
    this.#asking.set(dataCenter, asking);
    return asking;
  }

  /** Where the life ended in which the bookmark was made; null: it has not. */
  async #cutOf({ dataCenter, generation }: Bookmark): Promise<bigint | null> {
    if (this.#cuts === null || this.#cuts.untilMs < performance.now()) {
      this.#cuts = { all: this.#readCuts(), untilMs: performance.now() + cutsRememberMs };
    }
    try {
      const cuts = (await this.#cuts.all).get(dataCenter) ?? [];
      return cuts.find((cut) => cut.generation === generation)?.position ?? null;
    } catch {
      this.#cuts = null;
      return null;
    }
  }

  async #readCuts(): Promise<ReadonlyMap<DataCenterName, readonly Cut[]>> {
    const cuts = new Map<DataCenterName, Cut[]>();
    for (const row of await this.#run('SELECT dc, generation, place::text FROM lanekeeper.cuts()', [])) {
      const dc = String(row.dc);
      cuts.set(dc, [
        ...(cuts.get(dc) ?? []),
        { generation: Number(row.generation), position: toNumber(String(row.place)) },
      ]);
    }
    return cuts;
  }
}

/** PostgreSQL prints a place in its log as two halves of 64 bits. */
function toNumber(position: string): bigint {
  const [high = '0', low = '0'] = position.split('/');
  return (BigInt(`0x${high}`) << 32n) | BigInt(`0x${low}`);
}
