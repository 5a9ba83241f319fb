/**
 * Where a call goes next, and whether it may be sent once more. Pure: what happened in, what to do out; `backend.ts` acts on it.
 *
 * 1. A customer's calls go to the home that his session names; without one, to the data center of this frontend.
 * 2. Nothing is sent twice, unless it provably was not sent, or is safe by its method, or the backend said by
 *    `Lanekeeper-Replay` that it had done nothing.
 * 3. A data center whose backends cannot be reached may have a successor: the others are asked. They either do the work or say where
 *    it belongs, so a frontend need not hear of successions itself. While they name the one that is gone, the call waits, within
 *    bounds: somebody may be about to take over.
 * 4. No call is passed on by backends more than `maxHops` times.
 * 5. A call whose fate is unknown is never called failed (R6).
 */
import { type DataCenterName, type ErrorCode, maxHops } from '../model/index.ts';

export type Call = {
  /** GET, HEAD, OPTIONS. */
  readonly safe: boolean;
  /** Data centers in the order in which they are asked when the wanted one is gone. */
  readonly dataCenters: readonly DataCenterName[];
  /** How many backends each has. */
  readonly backends: Readonly<Record<DataCenterName, number>>;
  /** For so long a call waits for a home that is gone. */
  readonly holdMs: number;
};

export type Journey = {
  readonly dataCenter: DataCenterName;
  /** How many backends have passed it on. */
  readonly hops: number;
  /** Backends of `dataCenter` that this visit to it has tried. */
  readonly tried: number;
  /** Data centers none of whose backends could be reached, since the last wait. */
  readonly gone: readonly DataCenterName[];
  /** When it first found its home gone, in milliseconds of a monotonic clock. */
  readonly goneAtMs: number | null;
  /** A backend broke off a safe call. */
  readonly broken: boolean;
};

export type Happening =
  | { readonly kind: 'answered' }
  /** The backend did nothing and names the data center where it belongs. */
  | { readonly kind: 'replay'; readonly to: DataCenterName }
  /** Not a byte was sent. */
  | { readonly kind: 'unreachable' }
  /** It may have been done. */
  | { readonly kind: 'broken' }
  | { readonly kind: 'late' };

export type Next =
  | { readonly kind: 'send'; readonly journey: Journey }
  | { readonly kind: 'wait'; readonly forMs: number; readonly journey: Journey }
  | { readonly kind: 'done' }
  | { readonly kind: 'fail'; readonly code: ErrorCode; readonly home: DataCenterName | null };

const pauseMs = 250;

export function setOut(dataCenter: DataCenterName): Journey {
  return { dataCenter, hops: 0, tried: 0, gone: [], goneAtMs: null, broken: false };
}

export function follow(call: Call, journey: Journey, happened: Happening, nowMs: number): Next {
  const here = { ...journey, tried: journey.tried + 1 };
  switch (happened.kind) {
    case 'answered':
      return { kind: 'done' };
    case 'replay':
      return passOn(call, journey, happened.to, nowMs);
    case 'unreachable':
      if (here.tried < (call.backends[journey.dataCenter] ?? 0)) return { kind: 'send', journey: here };
      return elsewhere(call, journey, nowMs);
    case 'broken':
      // Rule 2. Once only: a call that breaks every backend it meets shall not meet them all.
      if (!call.safe || journey.broken) return { kind: 'fail', code: 'LK_NO_ANSWER', home: journey.dataCenter };
      return { kind: 'send', journey: { ...here, broken: true } };
    case 'late':
      return { kind: 'fail', code: 'LK_LATE_ANSWER', home: journey.dataCenter };
  }
}

function passOn(call: Call, journey: Journey, to: DataCenterName, nowMs: number): Next {
  const hops = journey.hops + 1;
  if ((call.backends[to] ?? 0) === 0) return { kind: 'fail', code: 'LK_HOME_UNREACHABLE', home: to };
  // Nobody is there, as we have just seen, and whoever said so has not heard of a successor: rule 3.
  if (journey.gone.includes(to)) return hold(call, { ...journey, dataCenter: to }, nowMs);
  if (hops > maxHops || to === journey.dataCenter) return { kind: 'fail', code: 'LK_LOOP', home: to };
  return { kind: 'send', journey: { ...journey, dataCenter: to, hops, tried: 0 } };
}

/** Nothing was sent, so another data center may be asked. */
function elsewhere(call: Call, journey: Journey, nowMs: number): Next {
  const gone = [...journey.gone, journey.dataCenter];
  const goneAtMs = journey.goneAtMs ?? nowMs;
  const next = call.dataCenters.find((dc) => !gone.includes(dc) && (call.backends[dc] ?? 0) > 0);
  const now = { ...journey, gone, goneAtMs };
  if (next === undefined) return hold(call, now, nowMs);
  return { kind: 'send', journey: { ...now, dataCenter: next, tried: 0 } };
}

function hold(call: Call, journey: Journey, nowMs: number): Next {
  const goneAtMs = journey.goneAtMs ?? nowMs;
  if (nowMs + pauseMs > goneAtMs + call.holdMs) {
    const everywhere = call.dataCenters.every((dc) => journey.gone.includes(dc) || (call.backends[dc] ?? 0) === 0);
    return everywhere
      ? { kind: 'fail', code: 'LK_NO_APPLICATION', home: null }
      : { kind: 'fail', code: 'LK_HOME_UNREACHABLE', home: journey.dataCenter };
  }
  // From the beginning: it may be back, or somebody else may have it by now.
  return { kind: 'wait', forMs: pauseMs, journey: { ...journey, hops: 0, tried: 0, gone: [], goneAtMs } };
}
