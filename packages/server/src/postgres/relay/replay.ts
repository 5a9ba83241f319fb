/**
 * What this data center lacks of one that is gone, and another one has: fetched from that one's relay slot and applied here.
 *
 * Repeatable at any moment: a transaction is here with its progress or not at all, and what is here is passed over.
 */
import { comparePositions, type DataCenterName } from 'lanekeeper/model';
import type { Client } from 'pg';
import type { Connect } from '../connect.ts';
import { type DecodedTransaction, DecodeError, type Lsn, peekTransactions, type SlotLost } from '../decode/index.ts';
import type { Queryable } from '../queryable.ts';
import { relayPublications, relaySlotName, type StreamName, streamNames } from '../streams/names.ts';
import { databaseProblem } from '../transaction.ts';
import { Applier } from './apply.ts';
import { mergedChanges } from './merged.ts';
import { ReplayProblem } from './statements.ts';
import { readTails } from './tails.ts';

export type TailPlace = { readonly homed: Lsn; readonly rest: Lsn };

export type ReplayOptions = {
  /** This data center and, as the agent, its database. */
  readonly here: { readonly name: DataCenterName; readonly agent: Connect };
  /** Who has more. */
  readonly there: { readonly name: DataCenterName; readonly agent: Connect; readonly replication: Connect };
  /** Who is gone, and in which term it was taken over. */
  readonly of: DataCenterName;
  readonly term: number;
  /** What `there` has said that it has. */
  readonly upTo: TailPlace;
  /** It ends after the transaction that reaches this, and goes on where it was when it is called again. Default 45000. */
  readonly withinMs?: number;
};

export type ReplayResult =
  | ({ readonly kind: 'reached' } & TailPlace)
  /** Worth another try: somebody does not answer, something is in the way; or for a person, when a row does not fit. */
  | { readonly kind: 'not-yet'; readonly problem: string }
  /** What is missing cannot be had there any more. */
  | { readonly kind: 'lost'; readonly problem: string };

export async function replayTail(options: ReplayOptions): Promise<ReplayResult> {
  const clients: Client[] = [];
  const open = async (connect: Connect): Promise<Client> => {
    const connected = await connect('lanekeeper relay');
    if (connected.kind === 'unavailable') throw new NotYet(connected.message);
    clients.push(connected.client);
    return connected.client;
  };
  try {
    return await replay(options, open);
  } catch (error) {
    return resultOf(error);
  } finally {
    await Promise.all(clients.map((client) => client.end().catch(() => {})));
  }
}

class NotYet extends Error {}
class Lost extends Error {}

function resultOf(error: unknown): ReplayResult {
  if (error instanceof Lost) return { kind: 'lost', problem: error.message };
  if (error instanceof NotYet || error instanceof ReplayProblem || error instanceof DecodeError) {
    return { kind: 'not-yet', problem: error.message };
  }
  const problem = databaseProblem(error);
  if (problem !== null) return { kind: 'not-yet', problem: `${problem.message} [${problem.code}]` };
  // The driver's own: a connection that was lost on the way.
  if (error instanceof Error && !(error instanceof TypeError)) return { kind: 'not-yet', problem: error.message };
  throw error;
}

type Open = (connect: Connect) => Promise<Client>;

async function replay(options: ReplayOptions, open: Open): Promise<ReplayResult> {
  const { here, there, of, term, upTo, withinMs = 45_000 } = options;
  const deadlineMs = performance.now() + withinMs;
  const own = await open(here.agent);
  const tail = await readOwnTail(own, of, term);
  const behind = streamNames.filter((stream) => comparePositions(upTo[stream], tail[stream]) > 0);
  if (behind.length === 0) return { kind: 'reached', ...tail };

  const agent = await open(there.agent);
  const relay = await readRelay(agent, options, tail, behind);
  const mayLackRows = await isComingBack(own);
  const appliers = new Map<string, { readonly stream: StreamName; readonly applier: Applier }>();
  for (const stream of behind) {
    const origin = await ownOrigin(own, of, stream);
    const applier = await Applier.open({ client: await open(here.agent), of, term, stream, origin, mayLackRows });
    appliers.set(relay.origins[stream], { stream, applier });
  }
  const peeked = await peekTransactions(await open(there.replication), {
    slot: relaySlotName(here.name),
    publications: relayPublications,
    afterEndLsn: '0/0',
    beginsAtMostLsn: relay.place,
    origin: 'any',
  });
  if (peeked.kind === 'slot-lost') {
    // Its keeper may have moved it since we looked, and has written that down before.
    const isMoved =
      peeked.reason === 'beyond-cut' && (await readRelay(agent, options, tail, behind)).place !== relay.place;
    if (isMoved) throw new NotYet(`${there.name} has just moved its relay slot`);
    throw new Lost(lostMessage(there.name, peeked));
  }
  if (peeked.kind === 'refused') throw new NotYet(`${peeked.error.message} [${peeked.error.code}]`);
  for await (const transaction of peeked.transactions) {
    const found = transaction.origin === null ? undefined : appliers.get(transaction.origin.name);
    if (found === undefined) continue;
    const { endLsn } = transaction.origin as NonNullable<DecodedTransaction['origin']>;
    if (comparePositions(endLsn, tail[found.stream]) <= 0 || comparePositions(endLsn, upTo[found.stream]) > 0) continue;
    if (performance.now() > deadlineMs) throw new NotYet(`there is more of ${of} to fetch from ${there.name}`);
    await found.applier.apply(transaction, endLsn);
  }
  for (const { stream, applier } of appliers.values()) {
    // What it had sent of shared rows has left nothing in that log, but what came of it is in the tables there.
    if (stream === 'rest') {
      for await (const changes of mergedChanges(agent, relay.merged)) await applier.merge(changes);
    }
    await applier.reach(upTo[stream]);
  }
  return { kind: 'reached', ...(await readOwnTail(own, of, term)) };
}

async function readOwnTail(own: Queryable, of: DataCenterName, term: number): Promise<TailPlace> {
  const { rows } = await own.query<{ homed: Lsn | null; rest: Lsn | null; lost: boolean }>(
    'SELECT homed::text, rest::text, lost FROM lanekeeper.frozen WHERE publisher = $1 AND term = $2',
    [of, term],
  );
  const row = rows[0];
  if (row === undefined || row.homed === null || row.rest === null) {
    throw new NotYet(`the streams from ${of} have not ended yet`);
  }
  if (row.lost) throw new Lost(`what is missing here of ${of} was found to be lost`);
  return { homed: row.homed, rest: row.rest };
}

/** It has taken rows away that will be sent again when it reads others, and all of it is compared before it gets a lease. */
async function isComingBack(own: Queryable): Promise<boolean> {
  const { rows } = await own.query<{ stage: string }>(
    'SELECT stage FROM lanekeeper.rejoining JOIN lanekeeper.generation USING (generation) ORDER BY term DESC LIMIT 1',
  );
  return ['undone', 'caught-up', 'streaming', 'verified'].includes(rows[0]?.stage ?? '');
}

async function ownOrigin(own: Queryable, of: DataCenterName, stream: StreamName): Promise<string> {
  const found = (await readTails(own, [of])).find((one) => one.stream === stream);
  if (found === undefined) throw new NotYet(`there is no subscription for the ${stream} stream of ${of} any more`);
  return found.origin;
}

type Relay = {
  /** By stream: under which origin it was applied there. */
  readonly origins: Readonly<Record<StreamName, string>>;
  readonly place: Lsn;
  readonly merged: string;
};

/** What the slot is known to hold must begin where our tail ends, or before. */
async function readRelay(
  agent: Queryable,
  { here, there, of, upTo }: ReplayOptions,
  tail: TailPlace,
  behind: readonly StreamName[],
): Promise<Relay> {
  const { rows } = await agent.query<{ stream: StreamName; origin: string; from: Lsn; place: Lsn; merged: string }>(
    `SELECT stream, origin, complete_from::text AS "from", place::text, merged::text FROM lanekeeper.relay
      WHERE peer = $1 AND publisher = $2`,
    [here.name, of],
  );
  const present = await readTails(agent, [of]);
  const origins: Partial<Record<StreamName, string>> = {};
  for (const stream of streamNames) {
    const row = rows.find((one) => one.stream === stream);
    const theirs = present.find((one) => one.stream === stream);
    if (row === undefined || theirs?.origin !== row.origin) {
      throw new Lost(`${there.name} does not know what it has kept of ${of} for ${here.name}`);
    }
    if (behind.includes(stream) && comparePositions(row.from, tail[stream]) > 0) {
      throw new Lost(
        `${there.name} has kept of ${of}'s ${stream} stream what is beyond ${row.from}, and here it ends at ${tail[stream]}`,
      );
    }
    if (comparePositions(theirs.tail, upTo[stream]) < 0) {
      throw new NotYet(`${there.name} has ${of}'s ${stream} stream up to ${theirs.tail}, and had said ${upTo[stream]}`);
    }
    origins[stream] = row.origin;
  }
  const [first] = rows as [(typeof rows)[number], ...typeof rows];
  const rest = rows.find(({ stream }) => stream === 'rest') ?? first;
  return { origins: origins as Relay['origins'], place: first.place, merged: rest.merged };
}

function lostMessage(there: DataCenterName, { message }: SlotLost): string {
  return `in ${there} ${message}`;
}
