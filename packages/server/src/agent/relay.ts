/** Fetches from another data center what it has of the log of one that is gone, and this one has not. */
import type { Configuration, RoleName } from 'lanekeeper/config';
import type { DataCenterName } from 'lanekeeper/model';
import type { Action, OwnershipEvent } from '../ownership/index.ts';
import { type Connect, replayTail } from '../postgres/index.ts';
import type { LocalDatabase } from './database.ts';
import type { Log } from './options.ts';
import { RelaySlots } from './relay-slots.ts';

type MendAction = Extract<Action, { kind: 'mend' }>;
type MendResult = Extract<OwnershipEvent, { kind: 'mended' }>['result'];

export type RelayOptions = {
  readonly configuration: Configuration;
  readonly database: LocalDatabase;
  /** Connections to any data center's database, this one's included. */
  readonly connect: (dc: DataCenterName, role: RoleName) => Connect;
  readonly log: Log;
};

export class RelayEffects {
  readonly slots: RelaySlots;
  readonly #options: RelayOptions;
  /** By whose log it is: one at a time, as its origin can be used once. */
  readonly #underWay = new Set<DataCenterName>();

  constructor(options: RelayOptions) {
    this.#options = options;
    this.slots = new RelaySlots(options);
  }

  async mend({ of, term, from, upTo }: MendAction): Promise<MendResult> {
    if (this.#underWay.has(of)) return { kind: 'not-yet', problem: `what is missing of ${of} is being fetched` };
    this.#underWay.add(of);
    const { configuration, connect, database, log } = this.#options;
    const { here } = configuration;
    try {
      const result = await replayTail({
        here: { name: here, agent: connect(here, 'agent') },
        there: { name: from, agent: connect(from, 'agent'), replication: connect(from, 'replication') },
        of,
        term,
        upTo,
      });
      if (result.kind === 'reached') {
        const { kind: _, ...cut } = result;
        log('warn', 'fetched what was missing', { of, term, from, ...cut });
        return { kind: 'reached', cut };
      }
      log(result.kind === 'lost' ? 'error' : 'warn', 'what is missing is not here', { of, term, from, ...result });
      if (result.kind === 'lost')
        await database.run((client) =>
          client.query('UPDATE lanekeeper.frozen SET lost = true WHERE publisher = $1 AND term = $2', [of, term]),
        );
      return result;
    } finally {
      this.#underWay.delete(of);
    }
  }
}
