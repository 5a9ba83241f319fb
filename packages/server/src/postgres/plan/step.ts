/** What `plan` shows and `apply` does. */
import type { TableName } from 'lanekeeper/config';
import type { SequenceInfo } from '../catalog.ts';
import type { MergeProblem } from '../merge/index.ts';
import type { Migration, MigrationProblem } from '../migrate/index.ts';
import type { Piece } from '../piece.ts';
import type { Fill } from './fill.ts';

export type StepAction =
  | { readonly do: 'migrate'; readonly migration: Migration }
  | { readonly do: 'install-piece'; readonly piece: Piece }
  | { readonly do: 'remove-piece'; readonly id: string }
  | { readonly do: 'stride-sequence'; readonly sequence: SequenceInfo }
  | { readonly do: 'fill'; readonly fill: Fill }
  /** Its `sql` is all there is to it. */
  | { readonly do: 'run' };

export type StepLock = {
  readonly table: TableName;
  /** As PostgreSQL names it, e.g. `SHARE ROW EXCLUSIVE`. */
  readonly mode: string;
  /** Who waits for it, in words. */
  readonly blocks: string;
};

export type Step = {
  /** Stable from run to run. */
  readonly id: string;
  readonly kind: 'create' | 'change' | 'remove';
  /** What is done, in words. */
  readonly title: string;
  /** Why, in words. */
  readonly why: string;
  /** What is run, as a person can read it. Fills run theirs once per chunk. */
  readonly sql: string;
  /** On a table that the application uses; null when nobody can notice. */
  readonly lock: StepLock | null;
  /** How many rows it reads or writes, by the planner's estimate; null when none. */
  readonly estimatedRows: number | null;
  /** Set when it cannot be done yet, with what has to happen first. `apply` leaves it out and says so. */
  readonly waitsFor: string | null;
  readonly action: StepAction;
};

/** What speaks against applying anything. */
export type PlanProblem =
  | MigrationProblem
  | { readonly kind: 'other-installation'; readonly message: string }
  /** A change of homes that is not safe now; see `homes.ts`. */
  | { readonly kind: 'homes'; readonly message: string }
  | { readonly kind: 'missing-table'; readonly table: TableName; readonly message: string }
  | MergeProblem
  | { readonly kind: 'missing-column'; readonly table: TableName; readonly message: string };

export type Plan = {
  readonly steps: readonly Step[];
  readonly problems: readonly PlanProblem[];
  /** Tables that are neither declared nor ignored: unfenced, not replicated, red in `status`. */
  readonly undeclared: readonly TableName[];
  /** Tables that refuse writes until the other data centers read them. */
  readonly closed: readonly TableName[];
};
