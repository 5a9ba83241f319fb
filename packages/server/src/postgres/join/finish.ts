/** After the copy: numbers that were never given out, the way back, the comparison, the lease store. */
import { comparePositions, type DataCenterName, type LeaseStore } from 'lanekeeper/model';
import { answerConflicts, readUnanswered } from '../deeds/index.ts';
import { readProof } from '../deeds/lease.ts';
import { forgetFrozen, waitUntilRead } from '../deeds/successions.ts';
import { quoteTable } from '../fence/names.ts';
import { readCatalog } from '../inspect/read-catalog.ts';
import { sequencesToStride } from '../plan/sequences.ts';
import { ensureRelaySlots } from '../relay/index.ts';
import { splitName } from '../sql-text.ts';
import { ensureStreams, type StreamOutcome } from '../streams/ensure.ts';
import { addMembers } from '../streams/members.ts';
import { streamNames, subscriptionName } from '../streams/names.ts';
import { type VerifyProgress, type VerifyResult, verifyTables } from '../verify/verify.ts';
import {
  connectIn,
  type JoinSides,
  othersOf,
  type Sessions,
  SideUnavailable,
  Stopped,
  travellingTables,
} from './sides.ts';

/** So many numbers of each sequence are left out: some were given out and seen, and their rows never left. */
const numbersLeftOut = 1_000n;

/** Beyond what the rows say that was given out (`apply` saw to that), and some more. */
export async function leaveNumbersOut(sessions: Sessions, { target }: JoinSides): Promise<void> {
  const owner = await sessions.get('target', 'owner');
  const { configuration } = target;
  for (const sequence of sequencesToStride(configuration, await readCatalog(owner))) {
    if (sequence.increment !== BigInt(configuration.stride)) continue;
    await owner.query(
      `SELECT setval($1::regclass, least(last_value::numeric + $2, $3)::bigint, is_called) FROM ${quoteTable(sequence)}`,
      [quoteTable(sequence), String(numbersLeftOut * sequence.increment), String(sequence.maxValue)],
    );
  }
}

/**
 * What the planner goes by. Autovacuum would come to it within minutes; until then the digest of an account on its way out, for which
 * nobody may write, would read whole tables. (PostgreSQL 18 manual, section 14.4.8 "Run ANALYZE Afterwards".)
 */
export async function countForPlanner(sessions: Sessions, { target }: JoinSides): Promise<void> {
  const owner = await sessions.get('target', 'owner');
  for (const name of travellingTables(target.configuration))
    await owner.query(`BEGIN; SET LOCAL statement_timeout = 0; ANALYZE ${quoteTable(splitName(name))}; COMMIT`);
}

const readWithinMs = 30_000;

/** Everybody reads the target, and the target says what it reads. From here on it takes part. */
export async function readBack(sessions: Sessions, sides: JoinSides): Promise<readonly StreamOutcome[]> {
  const here = sides.target.configuration.here;
  const others = othersOf(sides);
  const names = [here, ...others.map(({ configuration }) => configuration.here)];
  const outcomes: StreamOutcome[] = [];
  for (const side of [...others, sides.target]) {
    const agent = await sessions.of(side, 'agent');
    await addMembers(agent, names);
    const isTarget = side === sides.target;
    await forgetFrozen(agent, isTarget ? names : [here]);
    const { configuration, env } = side;
    const ensured = await ensureStreams({ connect: side.connect('agent'), configuration, env });
    if (ensured.kind === 'unavailable') throw new SideUnavailable(configuration.here, 'agent', ensured);
    if (ensured.kind === 'busy') throw new Stopped(`somebody else changes the streams of ${configuration.here}`);
    outcomes.push(...ensured.streams.filter(({ publisher }) => isTarget || publisher === here));
  }
  const troubled = outcomes.filter(({ kind }) => kind === 'waiting' || kind === 'lost' || kind === 'failed');
  if (troubled.length > 0) return troubled;
  const publisher = await sessions.get('target', 'agent');
  for (const { configuration } of others) {
    const there = configuration.here;
    for (const stream of streamNames) {
      if (await waitUntilRead(publisher, there, stream, readWithinMs)) continue;
      const message = `${there} does not read ${here} yet: can it reach it?`;
      return [{ publisher: here, stream, kind: 'waiting', message }];
    }
  }
  // Everybody keeps for everybody else what a third sends; where that waits for something, the agents do it later.
  for (const side of [...others, sides.target]) {
    const [agent, replication] = [await sessions.of(side, 'agent'), await sessions.of(side, 'replication')];
    await ensureRelaySlots({ agent, replication }, side.configuration);
  }
  return [];
}

export type Compared = { readonly with: DataCenterName; readonly result: Extract<VerifyResult, { kind: 'verified' }> };

/** With everybody, at a point in their streams. */
export async function compare(
  sessions: Sessions,
  sides: JoinSides,
  onProgress: (progress: VerifyProgress & { readonly with: DataCenterName }) => void,
): Promise<readonly Compared[]> {
  const { target } = sides;
  const here = target.configuration.here;
  const compared: Compared[] = [];
  for (const side of othersOf(sides)) {
    const there = side.configuration.here;
    const clients = [await sessions.get('target', 'agent'), await sessions.of(side, 'agent')];
    const conflicts = await Promise.all(clients.map(readUnanswered));
    const result = await verifyTables({
      configuration: target.configuration,
      here,
      there,
      connect: connectIn(sides, 'agent'),
      differencesMax: 100,
      onProgress: (progress) => onProgress({ ...progress, with: there }),
    });
    if (result.kind === 'unavailable') throw new SideUnavailable(result.dataCenter, 'agent', result);
    compared.push({ with: there, result });
    if (!result.clean) break;
    for (const [i, client] of clients.entries()) await answerConflicts(client, conflicts[i] ?? {});
  }
  return compared;
}

/** True: it may ask for a lease now. */
export async function readmit(
  sessions: Sessions,
  sides: JoinSides,
  store: LeaseStore,
  takenOver: number,
): Promise<boolean> {
  const agent = await sessions.get('target', 'agent');
  const here = sides.target.configuration.here;
  const others = othersOf(sides).map(({ configuration }) => configuration.here);
  const subscriptions = Object.fromEntries(
    others.map((dc) => [dc, streamNames.map((stream) => subscriptionName(dc, stream))]),
  );
  const { incarnation, positions } = await readProof(agent, subscriptions, true);
  if (await store.readmit({ dataCenter: here, takenOver, incarnation, positions })) return true;
  return (await store.read()).leases.find(({ dataCenter }) => dataCenter === here)?.takenOver === null;
}

/** A new generation, higher than every earlier one: what was taken from an earlier one has nothing to do with it. */
export async function raiseGeneration(
  sessions: Sessions,
  target: DataCenterName,
  recorded: number | null,
): Promise<number> {
  const source = await sessions.get('source', 'agent');
  const { rows: cuts } = await source.query<{ generation: number | null }>(
    'SELECT max((cuts -> $1 ->> $2)::integer) AS generation FROM lanekeeper.succession',
    [target, 'generation'],
  );
  const known = [recorded, cuts[0]?.generation ?? null].filter((one) => one !== null);
  const wanted = known.length === 0 ? 1 : Math.max(...known) + 1;
  const agent = await sessions.get('target', 'agent');
  await agent.query('UPDATE lanekeeper.generation SET generation = $1 WHERE generation < $1', [wanted]);
  const { rows } = await agent.query<{ generation: number }>('SELECT generation FROM lanekeeper.generation');
  return rows[0]?.generation ?? wanted;
}

/**
 * Whether a database is the one that the lease store knows, and not an older copy of it. Null: the store does not know it.
 * Needs the schema `lanekeeper`.
 */
export async function isWhole(
  sessions: Sessions,
  store: LeaseStore,
  side: 'target' | 'source',
  dataCenter: DataCenterName,
): Promise<boolean | null> {
  const record = (await store.read()).leases.find((one) => one.dataCenter === dataCenter);
  if (record === undefined) return null;
  const agent = await sessions.get(side, 'agent');
  const { incarnation, positions } = await readProof(agent, {}, false);
  return (
    incarnation.systemIdentifier === record.incarnation.systemIdentifier &&
    incarnation.timeline === record.incarnation.timeline &&
    comparePositions(positions.log, record.positions.log) >= 0
  );
}
