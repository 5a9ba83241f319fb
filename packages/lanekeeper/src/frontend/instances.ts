/** The backends of the data centers, each asked in turn; one that could not be reached is asked last for a while. */
import type { Configuration } from '../config/index.ts';
import type { DataCenterName } from '../model/index.ts';

const shunnedMs = 2_000;

export class Instances {
  readonly #origins: Readonly<Record<DataCenterName, readonly string[]>>;
  readonly #failedAtMs = new Map<string, number>();
  #turn = 0;

  constructor({ dataCenters }: Pick<Configuration, 'dataCenters'>) {
    this.#origins = Object.fromEntries(Object.values(dataCenters).map(({ name, backends }) => [name, backends]));
  }

  /** All of a data center, in the order in which to try them. */
  of(dataCenter: DataCenterName, nowMs: number): readonly string[] {
    const all = this.#origins[dataCenter] ?? [];
    this.#turn = (this.#turn + 1) % 0x3fffffff;
    const turned = all.map((_, index) => all[(index + this.#turn) % all.length] as string);
    const shunned = (origin: string): boolean => nowMs < (this.#failedAtMs.get(origin) ?? -shunnedMs) + shunnedMs;
    return [...turned.filter((origin) => !shunned(origin)), ...turned.filter(shunned)];
  }

  counts(): Readonly<Record<DataCenterName, number>> {
    return Object.fromEntries(Object.entries(this.#origins).map(([name, all]) => [name, all.length]));
  }

  failed(origin: string, nowMs: number): void {
    this.#failedAtMs.set(origin, nowMs);
  }

  answered(origin: string): void {
    this.#failedAtMs.delete(origin);
  }
}
