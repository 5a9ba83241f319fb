/** What `doctor` finds: data, with the exact statement that mends it. */
import type { DataCenterName } from 'lanekeeper/model';

export type Severity =
  /** Lanekeeper does not work, or would do harm. */
  | 'error'
  /** It works, until something happens. */
  | 'warning'
  /** It would be better otherwise. */
  | 'advice';

export type Finding = {
  readonly severity: Severity;
  /** Stable, for scripts: `setting-wal_level`, `table-without-key`. */
  readonly code: string;
  readonly dataCenter: DataCenterName;
  /** The setting, role, table or peer that it is about. */
  readonly subject: string;
  readonly what: string;
  readonly why: string;
  /** SQL or a line of configuration or environment, ready to use; null when only a person can decide. */
  readonly mend: string | null;
  /** Who runs it; null when it is not SQL. */
  readonly runAs: 'superuser' | 'owner' | null;
  /** What has to happen for it to take effect, beyond running it. */
  readonly takesEffect: 'at once' | 'reload' | 'restart';
};

/** Without `dataCenter`, which the caller knows, and with what is usual left out. */
export type Found = Omit<Finding, 'dataCenter' | 'runAs' | 'takesEffect' | 'mend'> &
  Partial<Pick<Finding, 'runAs' | 'takesEffect' | 'mend'>>;

export function finding(dataCenter: DataCenterName, found: Found): Finding {
  return { mend: null, runAs: null, takesEffect: 'at once', ...found, dataCenter };
}

const order: readonly Severity[] = ['error', 'warning', 'advice'];

export function bySeverity(a: Finding, b: Finding): number {
  return order.indexOf(a.severity) - order.indexOf(b.severity);
}
