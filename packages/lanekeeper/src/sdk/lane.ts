/** In which database a piece of work is done, and how that changes while it goes on. Always here unless `routing: connection`. */
import type { AccountId, DataCenterName, LanekeeperError } from '../model/index.ts';
import type { Runtime } from './runtime.ts';

export class Lane {
  #dataCenter: DataCenterName;

  constructor({ here }: Runtime) {
    this.#dataCenter = here;
  }

  get dataCenter(): DataCenterName {
    return this.#dataCenter;
  }

  goTo(dataCenter: DataCenterName): void {
    this.#dataCenter = dataCenter;
  }

  /** One statement was refused and then done in `dataCenter`. What that says of `owner`'s work goes for the rest of it. */
  followed(dataCenter: DataCenterName, { details }: LanekeeperError, owner: AccountId | null): void {
    if (owner === null || details.account === undefined || details.account === owner) this.#dataCenter = dataCenter;
  }
}

/** Whether work that is written there can be done from here. */
export function reaches({ lanes }: Runtime, home: DataCenterName): boolean {
  return lanes?.has(home) === true;
}
