export { type ErrorCode, type ErrorDetails, errorCodeOf, errors, LanekeeperError } from './errors.ts';
export { headerPrefix, headers, maxHops } from './headers.ts';
export type { Incarnation, LeaseRecord, LeaseResult, LeaseStore, LeaseView } from './lease-store.ts';
export {
  type AccountId,
  type ApproachName,
  approaches,
  compareEpochs,
  type DataCenterName,
  type DataClass,
  type Deed,
  dataClasses,
  type Epoch,
  type Homes,
  type Routing,
} from './words.ts';
