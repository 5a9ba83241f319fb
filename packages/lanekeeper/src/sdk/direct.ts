/**
 * Direct writes: to every data center at once, each independent of the others.
 *
 * Before anybody has it, one data center notes the write durably as lacking everywhere, in the transaction in which it takes it
 * itself: here, or where the first answers. So what some took and others did not is known whatever happens to this process, and
 * the agents there bring it to those that lack it (`lanekeeper buffer status`).
 */
import { type DataCenterName, LanekeeperError } from '../model/index.ts';
import type { DirectOutcome, DirectWrite } from './api.ts';
import { type Databases, isFault, reasonOf, uncertain } from './databases.ts';

/** How long the agents leave a write to the application that is at work on it. */
const grace = '10 seconds';

type Begun = {
  readonly of_number: string;
  readonly of_key: readonly string[];
  readonly image: string | null;
  readonly of_stamp: string;
  readonly refused_state: string | null;
  readonly refused_message: string | null;
};

export async function writeDirectly(
  databases: Databases,
  table: string,
  row: string,
  remove: boolean,
): Promise<DirectWrite> {
  const outcomes: Record<DataCenterName, DirectOutcome> = {};
  // Those that could not be reached a moment ago come last, and are asked all the same: what nobody else takes is lost.
  const recorders = databases.names.toSorted((a, b) => Number(databases.rests(a)) - Number(databases.rests(b)));
  for (const recorder of recorders) {
    const asked = await databases.askAnyway(
      recorder,
      `SELECT of_number::text, of_key, image::text, of_stamp::text, refused_state, refused_message
         FROM lanekeeper.direct_begin($1, $2::jsonb, $3, $4::interval)`,
      [table, row, remove, grace],
    );
    if (asked.kind === 'answered') return await spread(databases, recorder, table, asked.rows[0] as Begun, outcomes);
    // What is wrong with the row is so everywhere.
    if (isFault(asked.error)) throw asked.error;
    const kind = asked.kind === 'failed' ? 'unknown' : 'unavailable';
    outcomes[recorder] = { kind, reason: reasonOf(asked.error) };
  }
  const reasons = Object.entries(outcomes).map(
    ([dc, outcome]) => `${dc}: ${'reason' in outcome ? outcome.reason : ''}`,
  );
  if (Object.values(outcomes).some(({ kind }) => kind === 'unknown')) throw uncertain(reasons.join('; '));
  throw new LanekeeperError(
    'LK_NOT_LOGGED',
    `No data center takes this write, and nothing was written (${reasons.join('; ')}).`,
  );
}

async function spread(
  databases: Databases,
  recorder: DataCenterName,
  table: string,
  begun: Begun,
  before: Readonly<Record<DataCenterName, DirectOutcome>>,
): Promise<DirectWrite> {
  const outcomes: Record<DataCenterName, DirectOutcome> = { ...before };
  outcomes[recorder] =
    begun.refused_state === null
      ? { kind: 'written' }
      : { kind: 'refused', sqlstate: begun.refused_state, message: begun.refused_message ?? '' };
  const values = [table, begun.of_key, begun.image, begun.of_stamp, recorder, begun.of_number];
  // One that could not be asked to take note is not asked again: the agent brings it there.
  const others = databases.names.filter((name) => outcomes[name] === undefined);
  await Promise.all(
    others.map(async (name) => {
      const asked = await databases.ask(
        name,
        'SELECT lanekeeper.spread_apply($1, $2::text[], $3::jsonb, $4::bigint, $5, $6::bigint)',
        values,
      );
      outcomes[name] = outcomeOf(asked);
    }),
  );
  const written = Object.keys(outcomes).filter((name) => outcomes[name]?.kind === 'written');
  const nowhere = Object.values(outcomes).every(({ kind }) => kind === 'refused' || kind === 'unavailable');
  // Without it the agents do the same, once the grace is over.
  const ended = databases.ask(recorder, 'SELECT lanekeeper.direct_end($1::bigint, $2::text[], $3)', [
    begun.of_number,
    written,
    nowhere,
  ]);
  const all = written.length === databases.names.length;
  if (all) return { kind: 'written', dataCenters: outcomes, recordedIn: recorder };
  // As long as it is noted, the agents go on trying.
  const forgotten = (await ended).kind === 'answered' && nowhere;
  return {
    kind: forgotten ? 'refused' : 'incomplete',
    dataCenters: outcomes,
    recordedIn: forgotten ? null : recorder,
  };
}

function outcomeOf(asked: Awaited<ReturnType<Databases['ask']>>): DirectOutcome {
  if (asked.kind === 'answered') return { kind: 'written' };
  if (asked.kind === 'unavailable') return { kind: 'unavailable', reason: reasonOf(asked.error) };
  if (isFault(asked.error)) return { kind: 'refused', sqlstate: asked.error.code, message: asked.error.message };
  return { kind: 'unknown', reason: reasonOf(asked.error) };
}
