export { type ErrorCode, type ErrorDetails, errorCodeOf, errors, LanekeeperError } from './errors.ts';
export { handoffParameter, headerPrefix, headers, maxHops } from './headers.ts';
export { isNewerHistory, readHistory } from './history.ts';
export {
  bytesBetween,
  comparePositions,
  type Incarnation,
  isPosition,
  type LeaseClaim,
  type LeaseCredential,
  type LeaseRecord,
  type LeaseResult,
  type LeaseStore,
  type LeaseView,
  type Positions,
  type Readmission,
  type SuccessionRefusal,
  type SuccessionRequest,
  type SuccessionResult,
} from './lease-store.ts';
export { resolveHome, type Succession, type SuccessionKind } from './succession.ts';
export {
  type AccountId,
  type ApproachName,
  approaches,
  compareEpochs,
  type DataCenterName,
  type DataClass,
  type Deed,
  type Durability,
  dataClasses,
  defaultDurability,
  durabilities,
  type Epoch,
  type Homes,
  type MoveKind,
  moveKinds,
  type Routing,
  type StrandedPolicy,
  singleAccount,
  type WhenAlone,
} from './words.ts';
