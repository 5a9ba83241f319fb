/**
 * Carries out what the protocol asks for. Every question ends in exactly one event, also when it failed: what cannot be
 * known is said as `failed` or `lost`, never guessed.
 */

import type { Client } from 'pg';
import {
  type Action,
  type ClockSample,
  explain,
  type OwnershipEvent,
  type Reason,
  reason,
} from '../ownership/index.ts';
import {
  acceptAccount,
  beginDrain,
  compareRows,
  declineAccount,
  endDrain,
  giveAccount,
  listInstances,
  readClock,
  readDeedLocked,
  readFacts,
  readProof,
  writeLease,
} from '../postgres/index.ts';
import { type EffectContext, message } from './effect-context.ts';
import { type Handover, handoverFailure, isHandover } from './handover.ts';
import type { RejoinEffects } from './rejoin.ts';
import type { RelayEffects } from './relay.ts';
import type { Seen } from './seen.ts';

export type Performers = EffectContext & {
  readonly handover: Handover;
  readonly rejoin: RejoinEffects;
  readonly relay: RelayEffects;
  readonly seen: Seen;
};

export type Effect = Exclude<
  Action,
  { readonly kind: 'left' | 'answer' | 'settled' | 'answer-failover' | 'answer-switch' }
>;

/** How long to wait for whoever holds a deed when nothing but its present state is wanted. */
const lookPatienceMs = 3_000;

export async function perform(context: Performers, action: Effect): Promise<OwnershipEvent> {
  try {
    return await attempt(context, action);
  } catch (error) {
    const about = 'account' in action ? { account: action.account } : {};
    context.log('warn', `${action.kind} failed`, { ...about, error: message(error) });
    return failure(action);
  }
}

async function attempt(context: Performers, action: Effect): Promise<OwnershipEvent> {
  if (isHandover(action)) return context.handover.perform(context, action);
  const { database, session, store, configuration } = context;
  switch (action.kind) {
    case 'prove':
      return prove(context, action.round);
    case 'read-store':
      return { kind: 'store-view', round: action.round, view: await store.read() };
    case 'acquire': {
      const result = await store.acquire(action.claim, action.predecessor ?? undefined);
      return { kind: 'store-answer', round: action.round, result };
    }
    case 'renew':
      return { kind: 'store-answer', round: action.round, result: await store.renew(action.claim, action.revision) };
    case 'write-lease':
      if (action.lease !== null) await context.promotion.accepted(session);
      await writeLease(session, context.instance, action.lease, action.credential);
      return { kind: 'lease-written', round: action.round, ok: true };
    case 'release':
      await store.release(configuration.here, action.credential, false);
      return { kind: 'released', round: action.round };
    case 'rejoin':
      return { kind: 'rejoined', round: action.round, result: await context.rejoin.perform(action) };
    case 'mend':
      return { kind: 'mended', round: action.round, result: await context.relay.mend(action) };
    case 'ask-seen':
      await context.seen.ask(action);
      return { kind: 'tick' };
    case 'list-instances':
      return { kind: 'instances', alive: await database.run(listInstances) };
    case 'read-facts': {
      const { account, round } = action;
      const facts = await database.run((client) => readFacts(client, account));
      if (facts === null) return { kind: 'facts', account, round, result: { kind: 'unknown' } };
      const { lastUsedAgoMs, arrivedAgoMs, ...rest } = facts;
      const inUse = lastUsedAgoMs !== null && lastUsedAgoMs < configuration.sessions.stickinessMs;
      const known = { ...rest, inUse, arrivedAgoMs: arrivedAgoMs === null ? null : Math.max(0, arrivedAgoMs) };
      return { kind: 'facts', account, round, result: { kind: 'known', facts: known } };
    }
    case 'begin-drain': {
      const { account, round, to, forMs } = action;
      const drain = await database.run((client) => beginDrain(client, account, to, forMs));
      const result = drain === null ? ({ kind: 'already' } as const) : { kind: 'begun' as const, ...drain };
      return { kind: 'drain-begun', account, round, result };
    }
    case 'give': {
      const { account, round } = action;
      const given = await database.run((client) => giveAccount(client, action));
      if (given.kind === 'given') return { kind: 'give-answered', account, round, result: given };
      return { kind: 'give-answered', account, round, result: { kind: 'kept', reason: keptBecause[given.kind] } };
    }
    case 'read-deed': {
      const { account, round } = action;
      const deed = await database.run((client) => readDeedLocked(client, account, 'FOR UPDATE', lookPatienceMs));
      return { kind: 'deed-read', account, round, deed };
    }
    case 'end-drain': {
      const { account, round, move } = action;
      await database.run((client) => endDrain(client, account, move));
      return { kind: 'drain-ended', account, round, ok: true };
    }
    case 'compare': {
      const { account, round, epoch } = action;
      return {
        kind: 'compared',
        account,
        round,
        same: await database.run((client) => compareRows(client, account, epoch)),
      };
    }
    case 'accept': {
      const { account, round, epoch, compared } = action;
      const { kind } = await database.run((client) => acceptAccount(client, account, epoch, compared));
      return { kind: 'accept-answered', account, round, result: kind === 'unknown' ? 'stale' : kind };
    }
    case 'decline': {
      const { account, round, epoch, reasons } = action;
      const { kind } = await database.run((client) => declineAccount(client, account, epoch, reasons.map(explain)));
      return { kind: 'decline-answered', account, round, result: kind === 'unknown' ? 'stale' : kind };
    }
  }
}

const keptBecause = {
  'not-here': reason('epoch-changed'),
  stale: reason('epoch-changed'),
  unknown: reason('epoch-changed'),
  'no-lease': reason('no-lease'),
  'no-such-dc': reason('no-such-dc'),
  busy: reason('busy'),
} as const;

async function prove(context: EffectContext, round: number): Promise<OwnershipEvent> {
  const { database, session, subscriptions, mayReadOrigins, configuration } = context;
  const { promotion } = context;
  const proof = await database.run(async (client) => {
    const read = await readProof(client, subscriptions, mayReadOrigins);
    return { ...read, ...(await promotion.complete(client, read.incarnation)) };
  });
  const reasons: Reason[] = proof.fenceProblems.map(({ relation, trigger, problem }) =>
    reason('fence-incomplete', `${trigger} on ${relation} is ${problem}`),
  );
  if (proof.maxPreparedTransactions > 0) reasons.push(reason('prepared-transactions'));
  for (const of of proof.lost) reasons.push(reason('tail-lost', of));
  if (proof.inRecovery) reasons.push(reason('in-recovery'));
  // Under another name the store would grant a second lease for the same rows.
  if (proof.installation !== null && proof.installation !== `${configuration.cluster}/${configuration.here}`)
    reasons.push(reason('other-installation', `it is ${proof.installation}`));
  if (reasons.length > 0) return { kind: 'proof', round, result: { kind: 'lacking', reasons } };
  const { incarnation, positions, holdsLease, readers } = proof;
  const clock = await sampleClock(session);
  const whole = { incarnation, positions, holdsLease, clock, ...(readers === undefined ? {} : { readers }) };
  return { kind: 'proof', round, result: { kind: 'proved', proof: whole } };
}

export async function sampleClock(session: Client): Promise<ClockSample> {
  const sentMs = performance.now();
  const reading = await readClock(session);
  return { ...reading, sentMs, receivedMs: performance.now() };
}

function failure(action: Effect): OwnershipEvent {
  if (isHandover(action)) return handoverFailure(action);
  const { kind } = action;
  switch (kind) {
    case 'prove':
      return { kind: 'proof', round: action.round, result: { kind: 'failed' } };
    case 'read-store':
      return { kind: 'store-view', round: action.round, view: null };
    case 'acquire':
    case 'renew':
      return { kind: 'store-answer', round: action.round, result: null };
    case 'write-lease':
      return { kind: 'lease-written', round: action.round, ok: false };
    case 'release':
      return { kind: 'released', round: action.round };
    case 'rejoin':
      return {
        kind: 'rejoined',
        round: action.round,
        result: { kind: 'not-yet', problem: 'the database or a peer failed: see the log' },
      };
    case 'mend':
      return {
        kind: 'mended',
        round: action.round,
        result: { kind: 'not-yet', problem: 'the database or a peer failed: see the log' },
      };
    case 'ask-seen':
      return { kind: 'tick' };
    case 'list-instances':
      // Nothing is known about them, so nobody is taken for dead.
      return { kind: 'tick' };
    case 'read-facts':
      return { kind: 'facts', account: action.account, round: action.round, result: { kind: 'failed' } };
    case 'begin-drain':
      return { kind: 'drain-begun', account: action.account, round: action.round, result: { kind: 'failed' } };
    case 'give':
      return { kind: 'give-answered', account: action.account, round: action.round, result: { kind: 'lost' } };
    case 'read-deed':
      return { kind: 'deed-read', account: action.account, round: action.round, deed: null };
    case 'end-drain':
      return { kind: 'drain-ended', account: action.account, round: action.round, ok: false };
    case 'compare':
      return { kind: 'compared', account: action.account, round: action.round, same: false };
    case 'accept':
      return { kind: 'accept-answered', account: action.account, round: action.round, result: 'failed' };
    case 'decline':
      return { kind: 'decline-answered', account: action.account, round: action.round, result: 'failed' };
  }
}
