/** Fetches from another data center what it has of the log of one that is gone, and this one has not. */
import type { Configuration, RoleName } from 'lanekeeper/config';
import { comparePositions, type DataCenterName } from 'lanekeeper/model';
import type { Action, OwnershipEvent } from '../ownership/index.ts';
import type { Connect } from '../postgres/index.ts';
import type { LocalDatabase } from './database.ts';
import type { Log } from './options.ts';

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
  readonly #options: RelayOptions;

  constructor(options: RelayOptions) {
    this.#options = options;
  }

  async mend({ of, upTo }: MendAction): Promise<MendResult> {
    const { rows } = await this.#options.database.run((client) =>
      client.query<{ homed: string; rest: string }>(
        'SELECT homed::text, rest::text FROM lanekeeper.frozen WHERE publisher = $1',
        [of],
      ),
    );
    const [cut] = rows;
    if (cut === undefined) return { kind: 'not-yet', problem: `the streams from ${of} have not ended yet` };
    const whole = (['homed', 'rest'] as const).every((stream) => comparePositions(cut[stream], upTo[stream]) >= 0);
    return whole ? { kind: 'reached', cut } : { kind: 'not-yet', problem: `${of} is not fetched from others yet` };
  }
}
