/**
 * What a request wrote last without another data center being known to hold it, for the session's bookmark. The place in the log is
 * looked up beside the application's own statements, while it makes its answer; it is a little behind the commit, never before it.
 */
import { setTimeout as delay } from 'node:timers/promises';
import type { DataCenterName, Durability } from '../model/index.ts';
import type { Bookmark } from '../session/index.ts';
import type { RunSql } from './deeds.ts';
import type { Runtime } from './runtime.ts';

export type Look = (dataCenter: DataCenterName) => Promise<Bookmark | null>;

/** A place behind everything that was committed in that data center until now. */
export async function placeInLog({ here, lanes, run }: Runtime, dataCenter: DataCenterName): Promise<Bookmark | null> {
  const ask: RunSql =
    dataCenter === here || lanes === null ? run : (text, values) => lanes.run(dataCenter, text, values);
  const [row] = await ask('SELECT place::text, generation FROM lanekeeper.log_place()', []);
  if (typeof row?.place !== 'string') return null;
  return { dataCenter, position: row.place, generation: Number(row.generation) };
}

export class LastWrite {
  readonly #look: Look;
  /** Where the last of them was; null when it needs no bookmark. */
  #at: DataCenterName | null = null;
  /** Whoever held the session's bookmark holds nothing alone any more. */
  #covered: DataCenterName | null = null;
  #found: Bookmark | null = null;
  #looking: Promise<void> | null = null;
  #again = false;

  constructor(look: Look) {
    this.#look = look;
  }

  note(durability: Durability, dataCenter: DataCenterName): void {
    if (durability === 'remote') {
      // Whoever holds this one holds what was committed there before.
      this.#covered = dataCenter;
      if (this.#at === dataCenter) this.#at = null;
      return;
    }
    this.#at = dataCenter;
    this.#again = true;
    this.#looking ??= this.#lookUp();
  }

  /** Null when there is nothing to wait for. */
  settled(withinMs: number): Promise<void> | null {
    if (this.#looking === null || this.#at === null) return null;
    return Promise.race([this.#looking, delay(withinMs, undefined, { ref: false })]);
  }

  /** What the session's bookmark is from now on. */
  after(before: Bookmark | null): Bookmark | null {
    if (this.#at !== null && this.#found?.dataCenter === this.#at) return this.#found;
    return before !== null && before.dataCenter === this.#covered ? null : before;
  }

  async #lookUp(): Promise<void> {
    while (this.#again && this.#at !== null) {
      this.#again = false;
      this.#found = (await this.#look(this.#at).catch(() => null)) ?? this.#found;
    }
    this.#looking = null;
  }
}
