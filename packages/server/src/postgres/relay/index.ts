/**
 * With three data centers each keeps, for each other, what it has applied of the third: should that one fail, whoever had
 * heard less of it fetches the rest here. docs/internals/three.md has the argument.
 *
 *   tails.ts       how far other logs are here
 *   measure.ts     a place in our log, and how far they were by then
 *   decide.ts      up to which such place a reader needs nothing any more
 *   slots.ts       the slots, and what is known to be in them
 *   replay.ts      what is missing here, from another one's slot
 *   target.ts, statements.ts, apply.ts   a change as a statement, a transaction as a worker would apply it
 *   merged.ts      shared rows, which leave nothing in the log where they arrive
 *
 * 1. A slot holds at least what `lanekeeper.relay` says. What is not known to be there is lost, never passed over (X1).
 * 2. A slot is moved past a transaction only when its reader has said, of what is on disk there, that it has it.
 * 3. A replayed transaction and how far that log has come are one commit. A crash in the middle goes on where it was.
 * 4. A row that is missing for a change is a gap, and ends the replay; but for a data center that is coming back, which is compared.
 */
export { coveredSample, type PeerTails, stillNeeded, withSample } from './decide.ts';
export { type BegunSample, beginSample, finishSample, type RelaySample, takeSample } from './measure.ts';
export { type ReplayOptions, type ReplayResult, replayTail, type TailPlace } from './replay.ts';
export {
  advanceRelaySlot,
  dropRelaySlot,
  ensureRelaySlots,
  forgetRelayed,
  type RelayOutcome,
  type RelaySessions,
  type RelaySlotState,
  readPublishers,
  readRelaySlots,
  relayGap,
  renewRelaySlot,
} from './slots.ts';
export { type IncomingTail, noteHeard, readTails } from './tails.ts';
