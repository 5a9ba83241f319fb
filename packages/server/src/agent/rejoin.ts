/**
 * Carries out the stages of coming back after a takeover (`../ownership/rejoin.ts` has their order and meaning).
 *
 *   rejoin-work.ts     who is there, and where the logs of those who were taken over end
 *   rejoin-again.ts    back to the first stage, when that has changed since
 *   rejoin-strand.ts   stranded, undone
 *   rejoin-streams.ts  caught-up, streaming
 *   rejoin-verify.ts   verified, readmitted
 *
 * How far it has come is in `lanekeeper.rejoining`, written when a stage is reached: the trigger that holds the successor's
 * stream goes by it, and so does the agent that starts anew. Each stage may be repeated as long as it is not written down.
 * Works on the databases of all who are there, on those of others as their agents' role, as `verify` does.
 *
 * When the successor is lost on the way, all begins anew at the one after it, in that one's term. Nothing is lost by that: what was
 * stranded is in the logs here or in the ledger of everybody who was there, and rows are taken away by the ledger.
 */
import type { OwnershipEvent, RejoinStage } from '../ownership/index.ts';
import { rejoinStages } from '../ownership/index.ts';
import { freezeForReturn } from '../postgres/index.ts';
import { message } from './effect-context.ts';
import { beginAgain } from './rejoin-again.ts';
import { strand, undo } from './rejoin-strand.ts';
import { catchUp, stream } from './rejoin-streams.ts';
import { readmit, verify } from './rejoin-verify.ts';
import {
  NotYet,
  type RejoinAction,
  type RejoinOptions,
  readPresence,
  readStage,
  type Work,
  withWork,
} from './rejoin-work.ts';

export type { RejoinOptions } from './rejoin-work.ts';

type Result = Extract<OwnershipEvent, { kind: 'rejoined' }>['result'];

const freezeWithinMs = 5_000;

const stages: Readonly<
  Record<Exclude<RejoinStage, 'frozen'>, (work: Work) => Promise<Readonly<Record<string, unknown>>>>
> = {
  stranded: strand,
  undone: undo,
  'caught-up': catchUp,
  streaming: stream,
  verified: verify,
  readmitted: readmit,
};

export class RejoinEffects {
  readonly #options: RejoinOptions;

  constructor(options: RejoinOptions) {
    this.#options = options;
  }

  async perform(action: RejoinAction): Promise<Result> {
    const { log } = this.#options;
    try {
      const reached = await this.#reach(action);
      log('warn', `coming back: ${reached}`, { term: action.term, successor: action.successor });
      return { kind: 'reached', stage: reached };
    } catch (error) {
      const problem = message(error);
      if (!(error instanceof NotYet)) log('error', `coming back: ${action.stage} failed`, { error: problem });
      return { kind: 'not-yet', problem };
    }
  }

  async #reach(action: RejoinAction): Promise<RejoinStage> {
    const { database } = this.#options;
    const { term, stage } = action;
    const written = await database.run((client) => readStage(client, term));
    if (written !== null && rejoinStages.indexOf(written.stage) >= rejoinStages.indexOf(stage)) return written.stage;
    if (stage === 'frozen') {
      const { living } = await readPresence(this.#options, action.successor);
      await database.run((client) => freezeForReturn(client, living, term, freezeWithinMs));
      return stage;
    }
    if (written === null) throw new NotYet('the streams were not frozen yet');
    return withWork(this.#options, action, written, async (work) => {
      if (await beginAgain(work, stage, written.stage)) return 'frozen';
      const detail = await stages[stage](work);
      // An agent that stood still in a stage may wake up when another one has come further.
      const { rowCount } = await work.own.query(
        `UPDATE lanekeeper.rejoining SET stage = $2, detail = detail || $3::jsonb, at = clock_timestamp() WHERE term = $1 AND stage = $4`,
        [term, stage, JSON.stringify(detail), written.stage],
      );
      if (rowCount === 0) throw new NotYet('another agent has come further meanwhile');
      return stage;
    });
  }
}
