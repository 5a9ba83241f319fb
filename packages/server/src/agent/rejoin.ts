/** Carries out the stages of coming back after a takeover (`../ownership/rejoin.ts` has their order and meaning). */
import type { Action, OwnershipEvent } from '../ownership/index.ts';
import { freezeStreams } from '../postgres/index.ts';
import type { LocalDatabase } from './database.ts';

type RejoinAction = Extract<Action, { kind: 'rejoin' }>;
type Result = Extract<OwnershipEvent, { kind: 'rejoined' }>['result'];

const freezeWithinMs = 5_000;

export type RejoinOptions = { readonly database: LocalDatabase };

export class RejoinEffects {
  readonly #options: RejoinOptions;

  constructor(options: RejoinOptions) {
    this.#options = options;
  }

  async perform(action: RejoinAction): Promise<Result> {
    const { database } = this.#options;
    const { stage, successor, term } = action;
    if (stage === 'frozen') {
      await database.run((client) => freezeStreams(client, successor, term, freezeWithinMs));
      return { kind: 'reached', stage };
    }
    return { kind: 'not-yet', problem: `${stage} cannot be reached in this version` };
  }
}
