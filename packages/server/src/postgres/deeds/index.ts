/**
 * Typed calls of the SQL functions of `sql/` that the agent uses: one function here for each question or change.
 *
 * - `lease.ts` the right to write · `moves.ts` drains, giving, accepting · `claims.ts` values unique everywhere
 * - `successions.ts` failover, switchover, frozen streams · `returning.ts` the streams of one that comes back
 * - `agents.ts` who leads in this data center · `upkeep.ts` sweeping, limits, counters
 *
 * Everything takes a connection and may throw what `pg` throws; what the SQL function decided is a returned `kind`.
 */

export {
  type AgentRow,
  enrol,
  type Leader,
  readLeader,
  takeLead,
  tryLeadLock,
  unseatLeader,
  withdraw,
} from './agents.ts';
export { dropAside, keepsAside, setSlotAside, takeSlotUp } from './aside.ts';
export { type ClaimPlace, claimPlace, claimValue, releaseClaim, sweepClaims } from './claims.ts';
export { type ClockReading, mayReadOrigins, type ProofReading, readClock, readProof, writeLease } from './lease.ts';
export {
  type AcceptResult,
  type AccountFacts,
  acceptAccount,
  beginDrain,
  compareRows,
  type DeclineResult,
  type DeedRow,
  declineAccount,
  endDrain,
  endLeftoverDrains,
  type GiveResult,
  giveAccount,
  listInstances,
  readDeed,
  readDeedLocked,
  readFacts,
  readUnaccepted,
  type UnacceptedDeed,
} from './moves.ts';
export {
  freezeAgain,
  freezeForReturn,
  hasSuccession,
  isCovered,
  type KnownTail,
  lowerTail,
  readKnownTails,
  readProgress,
} from './returning.ts';
export {
  freezeStreams,
  giveAll,
  landSuccessions,
  lockWriters,
  type RecordedCut,
  type RecordedSuccession,
  readFrozen,
  readSuccessions,
  recordSuccessions,
  renewSlot,
  settleView,
  thawStreams,
  waitUntilConfirmed,
  waitUntilRead,
} from './successions.ts';
export {
  answerConflicts,
  countHomes,
  endOldTransactions,
  forgetOld,
  type Incident,
  type MoveEntry,
  noteConflicts,
  noteLeftOut,
  readAnnounced,
  readIncidents,
  readMoves,
  readUnanswered,
  sweep,
  type UnansweredConflicts,
} from './upkeep.ts';
