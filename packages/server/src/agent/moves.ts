/**
 * Moves as people and applications ask for them. The destination drives: it has looked at its own gate, asks the home to
 * give, and hears first when the deed arrives. Whoever else is asked passes the question on.
 */

import {
  type AccountId,
  compareEpochs,
  type DataCenterName,
  type Epoch,
  type MoveKind,
  moveKinds,
} from 'lanekeeper/model';
import { explain, type GiveOutcome, type Reason, reason, reasonTable } from '../ownership/index.ts';
import { readDeed, readDeedLocked } from '../postgres/index.ts';
import type { Arrivals } from './arrivals.ts';
import type { LocalDatabase } from './database.ts';
import type { PeerAnswer, Peers } from './peers.ts';
import type { Reign } from './reign.ts';

export type MoveRequest = {
  readonly account: AccountId;
  readonly to: DataCenterName;
  /** Only when nobody uses the account where it is. */
  readonly ifIdle: boolean;
  /** The answer comes by then. A move that was not given by then is not made. */
  readonly waitMs: number;
  /** For the record: who wants it and why. */
  readonly reason: string | null;
  /** Only while it is the account's epoch. */
  readonly epoch: Epoch | null;
};

export type MoveAnswer = {
  readonly kind: MoveKind;
  /** Where the account is written, as far as is known here. */
  readonly home: DataCenterName | null;
  readonly epoch: Epoch | null;
  /** In words, when it did not move. */
  readonly reason?: string;
  readonly reasons?: readonly Reason[];
  /** From the question to the home until it was accepted here: the longest that its writes can have waited. */
  readonly pauseMs?: number;
  readonly retryAfterMs?: number;
};

export type MovesContext = {
  readonly here: DataCenterName;
  readonly database: LocalDatabase;
  readonly peers: Peers;
  readonly arrivals: Arrivals;
  /** How long after `waitMs` a passed-on question may still be answered. */
  readonly marginMs: number;
};

export async function requestMove(context: MovesContext, reign: Reign, request: MoveRequest): Promise<MoveAnswer> {
  const { here, database } = context;
  const { account, to } = request;
  const deed = await database.run((client) => readDeed(client, account));
  if (deed === null)
    return { kind: 'refused', home: null, epoch: null, reason: `no deed of ${account} is known in ${here}` };
  const { home, epoch } = deed;
  if (to === here && home === here && deed.accepted) return stayOrReturn(context, reign, request, epoch);
  if (request.epoch !== null && compareEpochs(request.epoch, epoch) !== 0)
    return { ...refusal(home, epoch, [reason('epoch-changed')]) };
  if (to !== here) return passOn(context, request, home, epoch);
  if (home === here) return awaitArrival(context, request, { ...epoch, counter: epoch.counter - 1 }, home);
  const reasons = reign.reasonsNotToStart(home);
  if (reasons.length > 0) return refusal(home, epoch, reasons);
  return fetchAccount(context, request, home, epoch);
}

/** What is given away is read here as before until a peer has acknowledged it, and may be accepted there by then. */
async function stayOrReturn(
  context: MovesContext,
  reign: Reign,
  request: MoveRequest,
  epoch: Epoch,
): Promise<MoveAnswer> {
  const { account, to: here, waitMs } = request;
  const beganMs = performance.now();
  try {
    const deed = await context.database.run((client) => readDeedLocked(client, account, 'FOR SHARE', waitMs));
    if (deed?.home === here) return { kind: 'already-there', home: here, epoch: deed.epoch };
  } catch (error) {
    if ((error as { code?: unknown }).code !== '55P03') throw error;
    const why = 'it is being given away, and no peer has acknowledged that yet';
    return { kind: 'pending', home: here, epoch, reason: why };
  }
  return requestMove(context, reign, {
    ...request,
    waitMs: Math.max(1, Math.floor(waitMs - performance.now() + beganMs)),
  });
}

/** The destination asks the home, and listens for the deed at the same time. */
async function fetchAccount(
  { peers, arrivals }: MovesContext,
  request: MoveRequest,
  home: DataCenterName,
  epoch: Epoch,
): Promise<MoveAnswer> {
  const { account, to, ifIdle, waitMs } = request;
  const beganMs = performance.now();
  const arrival = arrivals.expect(account, epoch, waitMs);
  const body = { account, to, ifIdle, withinMs: waitMs, expected: request.epoch, reason: request.reason };
  const asked = peers.call(home, { method: 'POST', path: '/v1/gives', body, timeoutMs: waitMs });
  // Whatever comes first: the deed itself, or a refusal, which ends the waiting for it.
  const refused = asked.then((answer) => {
    const no = refusalIn(answer, home, epoch);
    if (no !== null) arrival.cancel();
    return no;
  });
  const settled = await arrival.settled;
  const pauseMs = Math.round(performance.now() - beganMs);
  if (settled === null)
    return (await refused) ?? { kind: 'pending', home, epoch, reason: `not here yet after ${waitMs} ms` };
  if (settled.outcome === 'accepted') return { kind: 'moved', home: to, epoch: settled.epoch, pauseMs };
  if (settled.outcome === 'declined')
    return {
      ...refusal(home, { ...settled.epoch, counter: settled.epoch.counter + 1 }, settled.reasons),
      kind: 'declined',
    };
  return { kind: 'pending', home, epoch, reason: 'the account has moved on' };
}

/** Its deed is here already; the decision is under way. */
async function awaitArrival(
  { arrivals }: MovesContext,
  { account, to, waitMs }: MoveRequest,
  after: Epoch,
  home: DataCenterName,
): Promise<MoveAnswer> {
  const settled = await arrivals.expect(account, after, waitMs).settled;
  if (settled?.outcome === 'accepted') return { kind: 'moved', home: to, epoch: settled.epoch };
  if (settled?.outcome === 'declined') return { ...refusal(home, settled.epoch, settled.reasons), kind: 'declined' };
  return { ...refusal(home, null, [reason('arriving')]), kind: 'pending' };
}

async function passOn(
  { peers, marginMs }: MovesContext,
  request: MoveRequest,
  home: DataCenterName,
  epoch: Epoch,
): Promise<MoveAnswer> {
  const timeoutMs = request.waitMs + marginMs;
  const answer = await peers.call(request.to, { method: 'POST', path: '/v1/moves', body: request, timeoutMs });
  if (answer.kind === 'answered' && isMoveAnswer(answer.body)) return answer.body;
  if (answer.kind === 'lost')
    return { kind: 'pending', home, epoch, reason: `${request.to} was asked and did not answer` };
  return { kind: 'unreachable', home, epoch, reason: `no agent of ${request.to} can be reached` };
}

function isMoveAnswer(body: Readonly<Record<string, unknown>>): body is MoveAnswer {
  return moveKinds.some((kind) => kind === body.kind);
}

/** Null: given, or on its way as far as anybody knows. */
function refusalIn(answer: PeerAnswer, home: DataCenterName, epoch: Epoch): MoveAnswer | null {
  if (answer.kind === 'unreachable')
    return { kind: 'unreachable', home, epoch, reason: `no agent of ${home} can be reached` };
  if (answer.kind === 'lost') return null;
  const outcome = answer.body as GiveOutcome | { readonly kind: 'unavailable' };
  switch (outcome.kind) {
    case 'given':
      return null;
    case 'elsewhere':
      // Given to us by another request; its deed is on the way.
      return null;
    case 'in-use':
      return { kind: 'in-use', home, epoch, reason: `the account is in use in ${home}` };
    case 'dwelling':
    case 'over-budget': {
      const why = outcome.kind === 'dwelling' ? 'it has only just moved' : 'it has moved often enough for an hour';
      return { kind: outcome.kind, home, epoch, reason: why, retryAfterMs: outcome.retryAfterMs };
    }
    case 'unknown-account':
      return { kind: 'refused', home, epoch, reason: `${home} does not know this account` };
    case 'refused':
      return refusal(
        home,
        epoch,
        outcome.reasons.filter(({ code }) => Object.hasOwn(reasonTable, code)),
      );
    default:
      return { kind: 'unreachable', home, epoch, reason: `no agent leads in ${home}` };
  }
}

function refusal(home: DataCenterName, epoch: Epoch | null, reasons: readonly Reason[]): MoveAnswer {
  return { kind: 'refused', home, epoch, reasons, reason: reasons.map(explain).join('; ') };
}
