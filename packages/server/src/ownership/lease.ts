/**
 * The lease: prove, acquire, renew, void, release (R4, L1 to L4).
 *
 *   without ── prove, read, prove, acquire, write ──▶ held ── prove, renew, write ──▶ held
 *      ▲                                        │ clock stepped, proof lacking, refused
 *      └────────── database let go ── voiding ◀─┘ or it ran out: the fence sees that by itself, but clocks can be set back
 *
 * A proof is held against a view that is older than itself: while this data center sells, its peers receive more and more,
 * and a view that is newer than the proof would make it look as if it had been set back.
 */
import {
  comparePositions,
  judgeStanding,
  type LeaseClaim,
  type LeaseCredential,
  type LeaseResult,
  type LeaseView,
  type Missing,
} from 'lanekeeper/model';
import { stepped, translate } from './clocks.ts';
import type { OwnershipEvent } from './events.ts';
import { type Reason, type ReasonCode, reason } from './reasons.ts';
import type { Attempt, ClockSample, Grant, Lease, Proof } from './state.ts';
import { inSyncToClaim, onClaimed, onRecorded, wantsRenewal } from './sync-set.ts';
import { wantsReport } from './tails.ts';
import { nextRound, setLease, type Turn } from './turn.ts';
import { knownTerm, observe, ownLapsesInMs } from './views.ts';

/** The least time between two renewals. */
const soonestMs = 250;

type LeaseEvent = Extract<
  OwnershipEvent,
  { kind: 'proof' | 'store-view' | 'store-answer' | 'lease-written' | 'released' | 'clock' }
>;

export function onLeaseEvent(turn: Turn, event: LeaseEvent): void {
  const { lease } = turn.state;
  if (event.kind === 'clock') {
    if (lease.phase === 'held') voidIfStepped(turn, lease, event.clock);
    return;
  }
  if (event.kind === 'released') {
    if (lease.phase === 'releasing' && lease.round === event.round) leave(turn);
    return;
  }
  if (lease.phase === 'voiding') {
    if (event.kind === 'lease-written' && lease.round === event.round) onVoided(turn, lease, event.ok);
    return;
  }
  if (lease.phase !== 'without' && lease.phase !== 'held') return;
  const { attempt } = lease;
  // L2: only the answer to the present question counts.
  if (attempt.step === 'idle' || attempt.round !== event.round) return;
  if (event.kind === 'proof' && attempt.step === 'proving') onProof(turn, lease, attempt.view, event.result);
  else if (event.kind === 'store-view' && attempt.step === 'reading') onView(turn, event.view);
  else if (event.kind === 'store-answer' && attempt.step === 'asking') onAnswer(turn, lease, attempt, event.result);
  else if (event.kind === 'lease-written' && attempt.step === 'writing') onWritten(turn, attempt.grant, event.ok);
}

export function onLeaseTick(turn: Turn): void {
  const { lease } = turn.state;
  const { nowMs } = turn;
  switch (lease.phase) {
    case 'left':
      return;
    case 'releasing':
      // The store was told, or could not be: either way this lease runs out there by itself.
      if (nowMs >= lease.deadlineMs) leave(turn);
      return;
    case 'voiding':
      if (nowMs >= lease.deadlineMs) voidLease(turn, lease.reasons, lease.credential);
      return;
    case 'held':
      if (nowMs >= lease.grant.untilMs) return voidLease(turn, [reason('expired')], credentialOf(turn, lease.grant));
  }
  const present = turn.state.lease;
  if (present.phase !== 'without' && present.phase !== 'held') return;
  const { attempt } = present;
  if (attempt.step !== 'idle' && nowMs >= attempt.deadlineMs)
    return retry(turn, unanswered[attempt.step], attempt.step === 'writing' ? attempt.grant : undefined);
  if (attempt.step === 'idle' && nowMs >= dueMs(turn, present) && turn.state.leaving === 'no')
    prove(turn, present.phase === 'held' ? present.grant.view : null);
}

/** A sync set that changed, or a tail that became known, is recorded at once, but not in a storm of renewals. */
function dueMs(turn: Turn, lease: Extract<Lease, { phase: 'without' | 'held' }>): number {
  const { attempt } = lease;
  if (attempt.step !== 'idle') return Number.POSITIVE_INFINITY;
  if (lease.phase !== 'held' || !(wantsRenewal(turn) || wantsReport(turn.state))) return attempt.nextMs;
  return Math.min(attempt.nextMs, lease.grant.sentMs + soonestMs);
}

/** Everything else has come to rest: give the lease up, or leave it to the successor (L4). */
export function leaveLease(turn: Turn): void {
  const { lease, leaving } = turn.state;
  const attempting = 'attempt' in lease && lease.attempt.step !== 'idle';
  if (leaving === 'hand-over' && lease.phase !== 'voiding') {
    // A renewal under way would make the credential stale that the successor goes by: wait for its answer.
    if (!attempting) leave(turn);
  } else if (lease.phase === 'held' && !attempting) {
    voidLease(turn, [reason('leaving')], credentialOf(turn, lease.grant));
  } else if (lease.phase === 'without' && !attempting) {
    if (!lease.cleared) voidLease(turn, lease.reasons, lease.credential);
    else if (lease.credential === null) leave(turn);
    else {
      const round = nextRound(turn);
      setLease(turn, { phase: 'releasing', round, deadlineMs: turn.nowMs + turn.state.settings.answerWithinMs });
      turn.actions.push({ kind: 'release', round, credential: lease.credential });
    }
  }
}

function leave(turn: Turn): void {
  setLease(turn, { phase: 'left' });
  turn.actions.push({ kind: 'left' });
}

const unanswered: Readonly<Record<Exclude<Attempt['step'], 'idle'>, ReasonCode>> = {
  proving: 'database-unreachable',
  reading: 'store-unreachable',
  asking: 'store-unreachable',
  writing: 'database-unreachable',
};

function prove(turn: Turn, view: LeaseView | null): void {
  const round = nextRound(turn);
  setAttempt(turn, { step: 'proving', round, deadlineMs: deadline(turn), view });
  turn.actions.push({ kind: 'prove', round });
}

function onProof(
  turn: Turn,
  lease: Extract<Lease, { phase: 'without' | 'held' }>,
  view: LeaseView | null,
  result: Extract<LeaseEvent, { kind: 'proof' }>['result'],
): void {
  if (result.kind === 'failed') return retry(turn, 'database-unreachable');
  if (result.kind === 'lacking') {
    // L3: no lease without proof, not even the rest of one that the database still holds.
    const cleared = lease.phase === 'without' && lease.cleared;
    if (cleared) return without(turn, result.reasons);
    return voidLease(turn, result.reasons, credentialIn(turn, lease));
  }
  const { proof } = result;
  // A predecessor's lease is left to run until we have one of our own; once it has run out it is wiped away.
  if (lease.phase === 'without' && !lease.cleared && !proof.holdsLease)
    return voidLease(turn, lease.reasons, lease.credential);
  const reasons = view === null ? [] : objections(turn, proof, view);
  if (reasons.length > 0) {
    if (lease.phase === 'without' && lease.cleared) return without(turn, reasons);
    return voidLease(turn, reasons, credentialIn(turn, lease));
  }
  const round = nextRound(turn);
  if (lease.phase === 'without') {
    if (view !== null) return acquireAfter(turn, lease, proof, view);
    setAttempt(turn, { step: 'reading', round, deadlineMs: deadline(turn) });
    turn.actions.push({ kind: 'read-store', round });
  } else if (!voidIfStepped(turn, lease, proof.clock)) {
    setAttempt(turn, { step: 'asking', round, deadlineMs: deadline(turn), proof, sentMs: turn.nowMs });
    const inSync = inSyncToClaim(turn);
    onClaimed(turn, inSync);
    turn.actions.push({ kind: 'renew', round, claim: claim(turn, proof, inSync), revision: lease.grant.revision });
  }
}

function onView(turn: Turn, view: LeaseView | null): void {
  if (turn.state.lease.phase !== 'without') return;
  if (view === null) return retry(turn, 'store-unreachable');
  if (view.term < knownTerm(turn.state)) return retry(turn, 'store-behind');
  observe(turn, view);
  prove(turn, view);
}

function acquireAfter(turn: Turn, lease: Extract<Lease, { phase: 'without' }>, proof: Proof, view: LeaseView): void {
  const { settings } = turn.state;
  const record = view.leases.find(({ dataCenter }) => dataCenter === settings.here);
  const ours =
    record !== undefined &&
    (record.holder === settings.holder ||
      (record.holder === lease.credential?.holder && record.revision === lease.credential.revision));
  if (record !== undefined && record.takenOver !== null) {
    const reasons = [reason('taken-over', settings.here)];
    // L3: what a predecessor left may still count where the clock was set back; the successor does not wait for that.
    return lease.cleared ? without(turn, reasons) : voidLease(turn, reasons, lease.credential);
  }
  // R4: the primary before may still go by its lease, whatever its standby has read of it, and this very agent may have kept it.
  if (record !== undefined && otherIncarnation(turn, proof, view)) {
    if (ownLapsesInMs(turn.state, turn.nowMs) > 0) return without(turn, [reason('promotion-waits')]);
    return acquire(turn, proof, null);
  }
  if (record?.state === 'held' && !ours) return without(turn, [reason('held-by-other', record.holder)]);
  acquire(turn, proof, lease.credential);
}

function acquire(turn: Turn, proof: Proof, predecessor: LeaseCredential | null): void {
  const round = nextRound(turn);
  setAttempt(turn, { step: 'asking', round, deadlineMs: deadline(turn), proof, sentMs: turn.nowMs });
  // D1: it goes by a name and not by a revision, so it counts however late it arrives: it claims nobody.
  turn.actions.push({ kind: 'acquire', round, claim: claim(turn, proof, []), predecessor });
}

function onAnswer(
  turn: Turn,
  lease: Extract<Lease, { phase: 'without' | 'held' }>,
  asked: Extract<Attempt, { step: 'asking' }>,
  result: LeaseResult | null,
): void {
  if (result === null) return retry(turn, 'store-unreachable');
  const { settings } = turn.state;
  const lastRevision = lease.phase === 'held' ? lease.grant.revision : 0;
  const nonsense = result.kind === 'held' && result.revision <= lastRevision;
  if (result.view.term < knownTerm(turn.state)) return retry(turn, 'store-behind');
  // An answer that cannot be true grants nothing; what is left of the present lease runs out by itself.
  if (nonsense) return retry(turn, 'store-nonsense');
  observe(turn, result.view);
  if (result.kind === 'refused') {
    const record = result.view.leases.find(({ dataCenter }) => dataCenter === settings.here);
    if (result.reason === 'stale-revision' && record?.holder === settings.holder) {
      // Ours all the same: the answer to an earlier request was lost. Ask again by name instead of by revision.
      return acquire(turn, asked.proof, null);
    }
    if (result.reason === 'held-by-other' && lease.phase === 'without') return without(turn, [reason('held-by-other')]);
    const reasons = [reason(result.reason === 'stale-revision' ? 'held-by-other' : result.reason)];
    return voidLease(turn, reasons, credentialIn(turn, lease));
  }
  const credential = { holder: settings.holder, revision: result.revision };
  if (otherIncarnation(turn, asked.proof, result.view))
    return voidLease(turn, [reason('other-incarnation')], credential);

  onRecorded(turn, turn.state.view.own?.inSync ?? []);
  const untilMs = asked.sentMs + settings.ttlMs; // L1
  const { wallMs, uptimeMs } = translate(asked.proof.clock, untilMs);
  const grant: Grant = {
    revision: result.revision,
    untilMs,
    validUntilMs: wallMs,
    validUntilUptimeMs: uptimeMs,
    sentMs: asked.sentMs,
    clock: asked.proof.clock,
    view: result.view,
  };
  const round = nextRound(turn);
  setAttempt(turn, { step: 'writing', round, deadlineMs: deadline(turn), grant });
  const written = { validUntilMs: grant.validUntilMs, validUntilUptimeMs: grant.validUntilUptimeMs };
  turn.actions.push({ kind: 'write-lease', round, lease: written, credential });
}

function onWritten(turn: Turn, grant: Grant, ok: boolean): void {
  if (!ok || grant.untilMs <= turn.nowMs) return retry(turn, 'database-unreachable', grant);
  const nextMs = grant.sentMs + turn.state.settings.renewEveryMs;
  setLease(turn, { phase: 'held', grant, attempt: { step: 'idle', nextMs } });
}

function otherIncarnation(turn: Turn, { incarnation }: Proof, view: LeaseView): boolean {
  const record = view.leases.find(({ dataCenter }) => dataCenter === turn.state.settings.here);
  return (
    record !== undefined &&
    (record.incarnation.systemIdentifier !== incarnation.systemIdentifier ||
      record.incarnation.timeline !== incarnation.timeline ||
      record.incarnation.generation !== incarnation.generation)
  );
}

/** What in an older view of the cluster speaks against a lease for this database (faults.md, remedy 11). */
function objections(turn: Turn, proof: Proof, view: LeaseView): readonly Reason[] {
  const { here } = turn.state.settings;
  const { positions } = proof;
  const standing = standingReasons(turn, proof, view);
  if (standing.length > 0) return standing;
  const reasons: Reason[] = [];
  for (const record of view.leases) {
    if (record.dataCenter === here) {
      if (comparePositions(positions.log, record.positions.log) < 0)
        reasons.push(reason('behind-own-record', `log at ${positions.log}, was ${record.positions.log}`));
      for (const [peer, recorded] of Object.entries(record.positions.applied)) {
        const applied = positions.applied[peer];
        if (applied !== undefined && comparePositions(applied, recorded) < 0)
          reasons.push(reason('behind-own-record', `${peer} applied up to ${applied}, was ${recorded}`));
      }
    } else {
      const received = record.positions.received[here];
      if (received !== undefined && comparePositions(positions.log, received) < 0)
        reasons.push(reason('behind-peer', `${record.dataCenter} has received up to ${received}`));
    }
  }
  return reasons;
}

/** Whether this is the database that the store knows, or has become of it what may go on in its place. */
function standingReasons(turn: Turn, proof: Proof, view: LeaseView): readonly Reason[] {
  const { here } = turn.state.settings;
  const known = view.leases.find(({ dataCenter }) => dataCenter === here);
  if (known === undefined) return [];
  const standing = judgeStanding({ dataCenter: here, ...proof }, known, view.leases);
  switch (standing.kind) {
    case 'same':
      return [];
    case 'other':
      return [reason('other-incarnation')];
    case 'demoted':
      return [reason('demoted', `timeline ${proof.incarnation.timeline}, now ${known.incarnation.timeline}`)];
  }
  // It comes back from that first, and is compared row by row before it writes.
  if (known.takenOver !== null) return [];
  if (standing.kind === 'unproved') return [reason('promotion-unproved', `timeline ${proof.incarnation.timeline}`)];
  const reasons = standing.missing.map((one) => reason('promotion-lacks', sayMissing(one)));
  for (const { dataCenter, takenOver, state } of view.leases) {
    if (dataCenter === here || takenOver !== null) continue;
    const reader = proof.readers?.[dataCenter] ?? 'no-slot';
    if (reader === 'no-slot') reasons.push(reason('promotion-without-slots', dataCenter));
    // R3: one that lives and reads elsewhere could be told things there that nobody knows here.
    else if (reader === 'away' && state === 'held') reasons.push(reason('promotion-unread', dataCenter));
  }
  return reasons;
}

function sayMissing({ of, peer, known, here }: Missing): string {
  if (of === 'applied') return `${peer} was applied up to ${known}, here up to ${here ?? 'nothing'}`;
  const who = of === 'log' ? 'it was written' : `${peer} has it`;
  return `${who} up to ${known}, and the promoted log ends at ${here}`;
}

function voidIfStepped(turn: Turn, lease: Extract<Lease, { phase: 'held' }>, clock: ClockSample): boolean {
  if (!stepped(lease.grant.clock, clock, turn.state.settings)) return false;
  voidLease(turn, [reason('clock-stepped')], credentialOf(turn, lease.grant));
  return true;
}

function voidLease(turn: Turn, reasons: readonly Reason[], credential: LeaseCredential | null): void {
  const round = nextRound(turn);
  setLease(turn, { phase: 'voiding', reasons, credential, round, deadlineMs: deadline(turn) });
  turn.actions.push({ kind: 'write-lease', round, lease: null, credential });
}

/** Reasons that speak against the lease that was, and not against the next one. */
const passing: ReadonlySet<ReasonCode> = new Set(['starting', 'expired', 'clock-stepped']);

function onVoided(turn: Turn, lease: Extract<Lease, { phase: 'voiding' }>, ok: boolean): void {
  if (!ok) return voidLease(turn, lease.reasons, lease.credential);
  const { reasons, credential } = lease;
  const nextMs = reasons.every(({ code }) => passing.has(code)) ? turn.nowMs : retryMs(turn);
  setLease(turn, { phase: 'without', reasons, credential, attempt: { step: 'idle', nextMs }, cleared: true });
}

function without(turn: Turn, reasons: readonly Reason[]): void {
  const { lease } = turn.state;
  if (lease.phase === 'without')
    setLease(turn, { ...lease, reasons, attempt: { step: 'idle', nextMs: retryMs(turn) } });
}

/** The attempt failed without a verdict. A lease that is held is kept as long as it lasts. */
function retry(turn: Turn, code: ReasonCode, lost?: Grant): void {
  const { lease } = turn.state;
  const attempt: Attempt = { step: 'idle', nextMs: retryMs(turn) };
  if (lease.phase === 'held') {
    // The store's revision went on although the database was not told: the next renewal goes by the new one.
    const grant = lost === undefined ? lease.grant : { ...lease.grant, revision: lost.revision };
    setLease(turn, { ...lease, grant, attempt });
  } else if (lease.phase === 'without') {
    const credential = lost === undefined ? lease.credential : credentialOf(turn, lost);
    setLease(turn, {
      ...lease,
      reasons: [reason(code)],
      credential,
      attempt,
      cleared: lost === undefined && lease.cleared,
    });
  }
}

function setAttempt(turn: Turn, attempt: Attempt): void {
  const { lease } = turn.state;
  if (lease.phase === 'held' || lease.phase === 'without') setLease(turn, { ...lease, attempt });
}

function credentialOf(turn: Turn, grant: Grant): LeaseCredential {
  return { holder: turn.state.settings.holder, revision: grant.revision };
}

function credentialIn(turn: Turn, lease: Extract<Lease, { phase: 'without' | 'held' }>): LeaseCredential | null {
  return lease.phase === 'held' ? credentialOf(turn, lease.grant) : lease.credential;
}

function claim(turn: Turn, { incarnation, positions }: Proof, inSync: LeaseClaim['inSync']): LeaseClaim {
  const { here, holder, ttlMs } = turn.state.settings;
  return { dataCenter: here, holder, incarnation, positions, ttlMs, inSync };
}

function deadline(turn: Turn): number {
  return turn.nowMs + turn.state.settings.answerWithinMs;
}

function retryMs(turn: Turn): number {
  return turn.nowMs + turn.state.settings.renewEveryMs / 4;
}
