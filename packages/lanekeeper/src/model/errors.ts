/**
 * The one table of errors. A code is never reused. `sqlstate` is what the fence in PostgreSQL raises, class `LK`;
 * the application meets the same error, translated, as a `LanekeeperError`.
 */
import type { AccountId, DataCenterName } from './words.ts';

type ErrorEntry = {
  /** What the fence raises; absent for errors that do not come from the database. */
  readonly sqlstate?: `LK${string}`;
  /** The HTTP status that the SDK answers with when a handler lets the error through. */
  readonly status: number;
  /** Whether the same request may succeed later, unchanged. */
  readonly retryable: boolean;
  /** What it means and what to do, one sentence for a person. */
  readonly help: string;
};

export const errors = {
  LK_WRONG_HOME: {
    sqlstate: 'LK001',
    status: 409,
    retryable: true,
    help: 'This account is written in another data center: send the request to its home.',
  },
  LK_UNKNOWN_ACCOUNT: {
    sqlstate: 'LK002',
    status: 409,
    retryable: true,
    help: 'No deed for this account is known here: its data may still be on the way, or stranded in a failed data center.',
  },
  LK_NO_LEASE: {
    sqlstate: 'LK003',
    status: 503,
    retryable: true,
    help: 'This data center cannot prove that it may write: see `lanekeeper status`; reads go on.',
  },
  LK_ARRIVING: {
    sqlstate: 'LK004',
    status: 503,
    retryable: true,
    help: 'This account is just arriving here and its data are being checked: try again in a moment.',
  },
  LK_NO_ACCOUNT: {
    sqlstate: 'LK005',
    status: 500,
    retryable: false,
    help: 'A row of a homed table names no account: its account column is null, or the row through which it finds its account is not there.',
  },
  LK_TRUNCATE: {
    sqlstate: 'LK006',
    status: 500,
    retryable: false,
    help: 'TRUNCATE would remove rows of accounts that are homed elsewhere: use DELETE with a condition.',
  },
  LK_READ_ONLY: {
    sqlstate: 'LK007',
    status: 409,
    retryable: false,
    help: 'One data center writes this table, and publishes it: it is read only everywhere else, and there outside publishing.',
  },
  LK_CLAIM: {
    sqlstate: 'LK008',
    status: 409,
    retryable: false,
    help: 'This value must be unique in all data centers and has not been claimed: call claim() before the insert.',
  },
  LK_MOVING: {
    sqlstate: 'LK009',
    status: 503,
    retryable: true,
    help: 'This account is moving to another data center: try again in a moment.',
  },
  LK_ALONE: {
    sqlstate: 'LK010',
    status: 503,
    retryable: true,
    help: 'No other data center would hold this write, and its table refuses it then: nothing was written.',
  },
  LK_SINGLETON_LOST: {
    sqlstate: 'LK011',
    status: 500,
    retryable: false,
    help: 'This singleton runs somewhere else by now: what it was doing has to stop.',
  },
  LK_PLAIN_WRITE: {
    sqlstate: 'LK020',
    status: 500,
    retryable: false,
    help: 'This table is written in every data center by Lanekeeper: use everywhere(table).put() or remove() instead of SQL.',
  },
  LK_NOT_LOGGED: {
    status: 503,
    retryable: true,
    help: 'The log that would take this write cannot be reached: nothing was written.',
  },
  LK_SIGNED_IN: {
    status: 409,
    retryable: true,
    help: 'Another session of this account is in use, and it may be used by one at a time.',
  },
  LK_CLAIM_TAKEN: {
    status: 409,
    retryable: false,
    help: 'Another account holds this value.',
  },
  LK_CLAIM_UNAVAILABLE: {
    status: 503,
    retryable: true,
    help: 'The data center that keeps this value cannot be reached, so nobody can say whether it is free.',
  },
  LK_HOME_UNREACHABLE: {
    status: 503,
    retryable: true,
    help: 'The account is written in a data center that cannot be reached from here.',
  },
  LK_OUTCOME_UNKNOWN: {
    status: 503,
    retryable: true,
    help: 'Nobody knows whether this commit lasts: ask for the outcome of this request id before trying again.',
  },
  LK_BAD_TOKEN: { status: 401, retryable: false, help: 'The token is not one of ours, or not for this purpose.' },
  LK_CONFIG: { status: 500, retryable: false, help: 'The configuration has mistakes: run `lanekeeper config check`.' },
  LK_AGENT_UNAVAILABLE: {
    status: 503,
    retryable: true,
    help: 'The agent of this data center does not answer.',
  },
  LK_BAD_REQUEST: {
    status: 400,
    retryable: false,
    help: 'The request is malformed or says two things at once, and the edge does not guess which one is meant.',
  },
  LK_HEADERS_TOO_LARGE: {
    status: 431,
    retryable: false,
    help: 'The headers of this request are too large, or too many.',
  },
  LK_TOO_SLOW: { status: 408, retryable: true, help: 'The request did not arrive in time.' },
  LK_NO_APPLICATION: {
    status: 503,
    retryable: true,
    help: 'No application instance in this data center takes requests at the moment; this one was not passed on.',
  },
  LK_NO_ANSWER: {
    status: 502,
    retryable: false,
    help: 'The request was passed on and the connection broke before an answer: if it changes something, ask for its outcome before trying again.',
  },
  LK_LATE_ANSWER: {
    status: 504,
    retryable: false,
    help: 'The request was passed on and no answer came in time: if it changes something, ask for its outcome before trying again.',
  },
  LK_LOOP: { status: 508, retryable: false, help: 'The data centers passed this request round in a circle.' },
} as const satisfies Record<string, ErrorEntry>;

export type ErrorCode = keyof typeof errors;

/** What is known beyond the message: always safe to show to an operator, and `home` to a customer. */
export type ErrorDetails = {
  readonly account?: AccountId;
  /** The data center where the account is written, when known. */
  readonly home?: DataCenterName;
  /** The term of the deed that names this home: an edge that knows of later successions follows those. */
  readonly term?: number;
  /** The data center that refused. */
  readonly dataCenter?: DataCenterName;
  readonly table?: string;
  /** Of `LK_SIGNED_IN`: since when the other session is signed in (ISO 8601), and the data center where it did. */
  readonly since?: string;
  readonly signedInAt?: DataCenterName;
  /** How long to wait before another try, in milliseconds. */
  readonly retryAfterMs?: number;
  readonly requestId?: string;
};

export class LanekeeperError extends Error {
  override readonly name = 'LanekeeperError';
  readonly code: ErrorCode;
  readonly status: number;
  readonly retryable: boolean;
  readonly details: ErrorDetails;

  constructor(code: ErrorCode, message?: string, details: ErrorDetails = {}, options?: ErrorOptions) {
    super(message ?? errors[code].help, options);
    this.code = code;
    this.status = errors[code].status;
    this.retryable = errors[code].retryable;
    this.details = details;
  }
}

const codeBySqlstate = new Map<string, ErrorCode>(
  Object.entries(errors).flatMap(([code, entry]) => ('sqlstate' in entry ? [[entry.sqlstate, code as ErrorCode]] : [])),
);

/** The error code for a SQLSTATE of the fence, or undefined for anybody else's. */
export function errorCodeOf(sqlstate: string): ErrorCode | undefined {
  return codeBySqlstate.get(sqlstate);
}
