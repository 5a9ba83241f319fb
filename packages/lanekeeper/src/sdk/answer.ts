/** How a refusal looks over HTTP: what happened, where, where the home is, and when to try again (R6). */
import { type DataCenterName, type ErrorCode, headers, LanekeeperError } from '../model/index.ts';

export type Answer = {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
};

/** The body of every refusal, as JSON. */
export type AnswerBody = {
  readonly error: {
    readonly code: ErrorCode;
    readonly message: string;
    /** The dc that answers. */
    readonly dataCenter: DataCenterName;
    readonly home: DataCenterName | null;
    /** Null: the same request will not succeed later either. */
    readonly retryAfterMs: number | null;
    readonly requestId: string;
  };
};

/**
 * Thrown before anything was done, when the request belongs to another dc. The answer carries `Lanekeeper-Replay`, whatever error page
 * is rendered for it, and the edge repeats the request there.
 */
export class ReplayError extends LanekeeperError {
  /** Where the request belongs. */
  readonly to: DataCenterName;

  constructor(to: DataCenterName, details: LanekeeperError['details'] = {}) {
    super('LK_WRONG_HOME', undefined, { ...details, home: to });
    this.to = to;
  }
}

/** Moves take milliseconds and leases seconds; a client that comes back sooner is only told the same again. */
const retryAfterMs: Readonly<Partial<Record<ErrorCode, number>>> = {
  LK_WRONG_HOME: 100,
  LK_ARRIVING: 500,
  LK_MOVING: 1_000,
};
const retryAfterOthersMs = 2_000;

export function retryAfter(error: LanekeeperError): number | null {
  if (!error.retryable) return null;
  return error.details.retryAfterMs ?? retryAfterMs[error.code] ?? retryAfterOthersMs;
}

export function answerTo(error: LanekeeperError, here: DataCenterName, requestId: string): Answer {
  const after = retryAfter(error);
  const body: AnswerBody = {
    error: {
      code: error.code,
      message: error.message,
      dataCenter: here,
      home: error.details.home ?? null,
      retryAfterMs: after,
      requestId,
    },
  };
  return {
    status: error.status,
    headers: {
      'content-type': 'application/json; charset=utf-8',
      'cache-control': 'no-store',
      [headers.dataCenter]: here,
      ...retryHeaders(error),
    },
    body: JSON.stringify(body),
  };
}

/** `Retry-After` knows whole seconds only. */
export function retryHeaders(error: LanekeeperError): Record<string, string> {
  const after = retryAfter(error);
  return after === null ? {} : { 'retry-after': String(Math.max(1, Math.ceil(after / 1_000))) };
}
