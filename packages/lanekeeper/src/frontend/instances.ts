/**
 * The backends of the data centers, each asked in turn. One that could not be reached, or broke off, is not called until it has answered a
 * probe, the first of which is sent at once: behind something that accepts connections for it, customers' calls would otherwise be what finds out.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Configuration } from '../config/index.ts';
import type { DataCenterName } from '../model/index.ts';

const firstProbeMs = 50;
const probeEveryMs = 1_000;

export class Instances {
  readonly #origins: Readonly<Record<DataCenterName, readonly string[]>>;
  readonly #answers: (origin: string) => Promise<boolean>;
  readonly #down = new Set<string>();
  #turn = 0;
  #closed = false;

  /** `answers`: whether anybody is there; must not reject. */
  constructor({ dataCenters }: Pick<Configuration, 'dataCenters'>, answers: (origin: string) => Promise<boolean>) {
    this.#origins = Object.fromEntries(Object.values(dataCenters).map(({ name, backends }) => [name, backends]));
    this.#answers = answers;
  }

  /** All of a data center, in the order in which to try them. */
  of(dataCenter: DataCenterName): readonly string[] {
    const all = this.#origins[dataCenter] ?? [];
    this.#turn = (this.#turn + 1) % 0x3fffffff;
    const turned = all.map((_, index) => all[(index + this.#turn) % all.length] as string);
    return [...turned.filter((origin) => !this.isDown(origin)), ...turned.filter((origin) => this.isDown(origin))];
  }

  isDown(origin: string): boolean {
    return this.#down.has(origin);
  }

  counts(): Readonly<Record<DataCenterName, number>> {
    return Object.fromEntries(Object.entries(this.#origins).map(([name, all]) => [name, all.length]));
  }

  failed(origin: string): void {
    if (this.#down.has(origin)) return;
    this.#down.add(origin);
    void this.#watch(origin);
  }

  answered(origin: string): void {
    this.#down.delete(origin);
  }

  close(): void {
    this.#closed = true;
  }

  async #watch(origin: string): Promise<void> {
    for (let waitMs = firstProbeMs; this.#down.has(origin) && !this.#closed; waitMs = probeEveryMs) {
      await sleep(waitMs, undefined, { ref: false });
      if (!this.#closed && (await this.#answers(origin))) this.answered(origin);
    }
  }
}
