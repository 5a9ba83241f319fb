/**
 * The PostgreSQL room: everything that Lanekeeper keeps in a database, and everything it reads from one.
 *
 *   connect.ts     one connection, or why there is none
 *   inspect/       PostgreSQL's catalogs as plain data
 *   migrate/       the numbered files of `sql/`
 *   fence/         who may write (R1), generated from the configuration
 *   plan/          from what is there to what is declared, step by step; `apply` does it
 *   merge/         shared rows: stamps, the merge log, conflicts
 *   deeds/         the lease, moves and claims: what the agent asks of the SQL functions
 *   cached/        what applications hear of
 *   rollout/       which configuration a data center has
 *   classes/       publishing, copies as of a moment, tables that never leave
 *   streams/       publications, slots and subscriptions; what state they are in
 *   sync/          whom a `remote` commit waits for
 *   columns/       columns that are not sent for a while, before they are dropped or until all have them
 *   decode/        what was written here, out of PostgreSQL's own log
 *   stranded/      what a data center committed beyond the cut at which it was taken over, and what becomes of it
 *   conflicts/     the log of conflicts of shared rows
 *   hooks/         what is to be told to a URL, until it has been heard
 *   relay/         what is kept here of a third data center's log, for another one that may have heard less of it
 *   join/          a data center seeded from another one
 *   verify/        row hashes of two data centers, compared under traffic
 *   doctor/        which rights and settings are missing, with the statement that mends each
 *   remove/        takes everything out again
 */

export { cachedPieces } from './cached/pieces.ts';
export type { Catalog, ForeignKeyInfo, SequenceInfo, TableInfo, UniqueIndexInfo } from './catalog.ts';
export {
  beginPublishing,
  type CopyState,
  endPublishing,
  forgetPublishing,
  latestDue,
  type PublishingEntry,
  type PublishingRequest,
  type RefreshOptions,
  type RefreshResult,
  readClasses,
  readCopies,
  readPublishing,
  refreshCopy,
  renewPublishing,
} from './classes/index.ts';
export {
  type ColumnsEvent,
  type ColumnsProblem,
  type LeaveOutResult,
  leaveOutColumns,
  sendColumns,
} from './columns/columns.ts';
export {
  type Conflict,
  type ConflictFilter,
  type ConflictVersion,
  conflictsToTell,
  listConflicts,
} from './conflicts/read.ts';
export { type Connect, type ConnectOptions, type ConnectResult, connect, type Unavailable } from './connect.ts';
export {
  type Change,
  type Column,
  type DecodedTransaction,
  DecodeError,
  formatLsn,
  type Key,
  keyOf,
  type Lsn,
  type PeekOptions,
  type PeekResult,
  parseLsn,
  peekTransactions,
  type Relation,
  type Row,
  type SlotLost,
  type Unchanged,
  unchanged,
  type Value,
} from './decode/index.ts';
export {
  type AcceptResult,
  type AccountFacts,
  type AgentRow,
  acceptAccount,
  answerConflicts,
  beginDrain,
  type ClaimPlace,
  type ClockReading,
  claimPlace,
  claimValue,
  compareRows,
  countHomes,
  type DeclineResult,
  type DeedRow,
  declineAccount,
  dropAside,
  endDrain,
  endLeftoverDrains,
  endOldTransactions,
  enrol,
  forgetOld,
  freezeAgain,
  freezeForReturn,
  freezeStreams,
  type GiveResult,
  giveAccount,
  giveAll,
  hasSuccession,
  type Incident,
  isCovered,
  type KnownTail,
  keepsAside,
  type Leader,
  landSuccessions,
  listInstances,
  lockWriters,
  lowerTail,
  type MoveEntry,
  mayReadOrigins,
  noteConflicts,
  noteLeftOut,
  type ProofReading,
  type RecordedCut,
  type RecordedSuccession,
  readAnnounced,
  readClock,
  readDeed,
  readDeedLocked,
  readFacts,
  readFrozen,
  readIncidents,
  readKnownTails,
  readLeader,
  readMoves,
  readProgress,
  readProof,
  readSuccessions,
  readUnaccepted,
  readUnanswered,
  recordSuccessions,
  releaseClaim,
  renewSlot,
  setSlotAside,
  settleView,
  sweep,
  sweepClaims,
  takeLead,
  takeSlotUp,
  thawStreams,
  tryLeadLock,
  type UnacceptedDeed,
  type UnansweredConflicts,
  unseatLeader,
  waitUntilConfirmed,
  waitUntilRead,
  withdraw,
  writeLease,
} from './deeds/index.ts';
export { type DoctorOptions, type DoctorReport, doctor } from './doctor/doctor.ts';
export type { Finding, Severity } from './doctor/finding.ts';
export { judgePlaces, judgeSchema } from './doctor/judge.ts';
export { namesConfiguration, namesRandom } from './doctor/lint-names.ts';
export { fencePieces, leaseMarginMs, undeclaredTables } from './fence/index.ts';
export {
  dueHooks,
  forgetHooks,
  type HookFate,
  type HookKind,
  type HookMessage,
  type HookReport,
  hookKinds,
  readHooks,
  settleHook,
  tellHook,
  waitingHooksMax,
} from './hooks/queue.ts';
export { readTakeovers, type Takeover } from './hooks/takeovers.ts';
export type { Hazards } from './inspect/hazards.ts';
export { readCatalog } from './inspect/read-catalog.ts';
export type { Statistics, TableUse } from './inspect/statistics.ts';
export { type Survey, type SurveyResult, surveyDatabase } from './inspect/survey.ts';
export {
  type Inspection,
  inspectJoin,
  type JoinEvent,
  type JoinOptions,
  type JoinResult,
  type JoinSide,
  type JoinSides,
  type JoinTable,
  joinDataCenter,
  type LeaveOptions,
  type LeaveResult,
  leaveDataCenter,
} from './join/index.ts';
export {
  announceMerged,
  announceToReaders,
  countPending,
  finishPending,
  hasNewReaders,
  hasPending,
  isMerged,
  type MergeStanding,
  markMerged,
  mergedNames,
  pendingAtOnce,
  purgeMerged,
  readMergeStanding,
} from './merge/index.ts';
export type { Piece } from './piece.ts';
export {
  type ApplyEvent,
  type ApplyOptions,
  type ApplyResult,
  applyChanges,
  type Blocker,
  type PlanResult,
  planChanges,
} from './plan/apply.ts';
export type { Plan, PlanProblem, Step } from './plan/step.ts';
export type { Queryable } from './queryable.ts';
export {
  advanceRelaySlot,
  type BegunSample,
  beginSample,
  coveredSample,
  dropRelaySlot,
  ensureRelaySlots,
  finishSample,
  forgetRelayed,
  type IncomingTail,
  noteHeard,
  type PeerTails,
  type RelayOutcome,
  type RelaySample,
  type RelaySessions,
  type RelaySlotState,
  type ReplayOptions,
  type ReplayResult,
  readPublishers,
  readRelaySlots,
  readTails,
  relayGap,
  renewRelaySlot,
  replayTail,
  stillNeeded,
  type TailPlace,
  takeSample,
  withSample,
} from './relay/index.ts';
export type { Removal, RemovalStep } from './remove/plan-removal.ts';
export {
  type PlanRemovalResult,
  planRemovalOf,
  type RemoveOptions,
  type RemoveResult,
  removeAll,
} from './remove/remove.ts';
export { noteRollout, type RolloutEntry, readRollout } from './rollout/rollout.ts';
export { type EndedTimelines, readEndedTimelines } from './standbys/history.ts';
export {
  acceptTimeline,
  notePromotion,
  notePutBack,
  readReaders,
  type SlotReader,
  stopReading,
} from './standbys/promotion.ts';
export {
  type AutomaticReport,
  countOpenStranded,
  type Decision,
  discardStranded,
  type LedgerEntry,
  type LedgerFilter,
  type LedgerTransaction,
  listStranded,
  type MergeRefusal,
  type MergeResult,
  mergeAutomatically,
  mergeStranded,
  purgeStranded,
  type RelayedOptions,
  type RelayedResult,
  type ResendHome,
  type ResendOutcome,
  type ResendReport,
  type RowKey,
  readStranded,
  relayedTransactions,
  resendRow,
  resendStranded,
  type StrandedChange,
  type StrandedOptions,
  type StrandedOrigin,
  type StrandedResult,
  strandedTransactions,
  type TransactionName,
  type UndoOptions,
  type UndoResult,
  undoStranded,
  writeStranded,
  writeStrandedWhole,
} from './stranded/index.ts';
export { type CarriedTables, leftOutColumns } from './streams/carried.ts';
export {
  type EnsureStreamsOptions,
  type EnsureStreamsResult,
  ensureStreams,
  type StreamOutcome,
} from './streams/ensure.ts';
export {
  type Baseline,
  baselineOf,
  compareReports,
  countConflicts,
  judgeIncoming,
  judgeOutgoing,
  judgeStreams,
  type StreamProblem,
} from './streams/judge.ts';
export { addMembers, joinedPeers, readMembers, setMembers } from './streams/members.ts';
export {
  asideSlotName,
  hasRelays,
  ownHomedTables,
  relaySlotName,
  type StreamName,
  slotName,
  streamNames,
  subscriptionName,
} from './streams/names.ts';
export { resumePaused } from './streams/paused.ts';
export { type IncomingStream, type OutgoingStream, readStreams, type StreamsReport } from './streams/read.ts';
export { constraintHashes, schemaHash, tableHashes } from './streams/schema-hash.ts';
export {
  cancelSyncWaiters,
  letApplicationsWait,
  membersIn,
  type PeerReplication,
  padName,
  proveThatCommitsWait,
  type ReplicationReport,
  type ReplyMemory,
  readReplication,
  relistStandbys,
  type SetNamesResult,
  type SynchronousResult,
  setStandbyNames,
  setSyncMembers,
  standbysIn,
  waitUntilSynchronous,
} from './sync/index.ts';
export type { DatabaseProblem } from './transaction.ts';
export {
  type RepairFailure,
  type RepairOptions,
  type RepairResult,
  type RepairStep,
  repairDifferences,
} from './verify/repair.ts';
export {
  type Difference,
  type TableVerdict,
  type VerifyOptions,
  type VerifyProgress,
  type VerifyResult,
  verifyTables,
} from './verify/verify.ts';
