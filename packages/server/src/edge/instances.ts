/**
 * Which application instance takes a request, and what its failures say about it. Passive: the traffic itself is the
 * check. Pure but for the fields of `Instance`, which only the functions below change.
 */

export type Instance = {
  /** Origin, e.g. `http://127.0.0.1:3001`. */
  readonly url: string;
  /** Requests under way there. */
  busy: number;
  /** Failures since it last answered. */
  failures: number;
  /** No requests before this time, unless every instance is out. */
  ejectedUntilMs: number;
  /** What the optional active check last said; true without one. */
  checked: boolean;
};

/** A connection that is refused says more than one that breaks: the process is gone. */
export type InstanceFailure = 'unreachable' | 'broken' | 'late';

const failuresUntilEjected = { unreachable: 1, broken: 3, late: 5 } as const;
const ejectionMs = { first: 1_000, longest: 10_000 } as const;

export function newInstance(url: string): Instance {
  return { url, busy: 0, failures: 0, ejectedUntilMs: 0, checked: true };
}

export function isHealthy(instance: Instance, nowMs: number): boolean {
  return instance.checked && instance.ejectedUntilMs <= nowMs;
}

/**
 * The least busy healthy instance that was not `tried` yet; `turn` breaks ties, so that idle instances take turns.
 * When none is healthy, an ejected one is better than a refusal: it may be back. Null when all were tried or are full.
 */
export function chooseInstance(
  instances: readonly Instance[],
  nowMs: number,
  turn: number,
  tried: readonly Instance[],
  maxBusy: number,
): Instance | null {
  let best: Instance | null = null;
  let bestHealthy = false;
  const count = instances.length;
  for (let step = 0; step < count; step += 1) {
    const instance = instances[(turn + step) % count] as Instance;
    if (instance.busy >= maxBusy || (tried.length > 0 && tried.includes(instance))) continue;
    const healthy = isHealthy(instance, nowMs);
    if (best === null || (healthy && !bestHealthy) || (healthy === bestHealthy && instance.busy < best.busy)) {
      best = instance;
      bestHealthy = healthy;
    }
  }
  return best;
}

export function noteAnswer(instance: Instance): void {
  if (instance.failures === 0) return;
  instance.failures = 0;
  instance.ejectedUntilMs = 0;
}

/** Returns how long the instance is ejected for, 0 when it stays. Every further failure doubles the time. */
export function noteFailure(instance: Instance, failure: InstanceFailure, nowMs: number): number {
  instance.failures += 1;
  const beyond = instance.failures - failuresUntilEjected[failure];
  if (beyond < 0) return 0;
  const forMs = Math.min(ejectionMs.first * 2 ** Math.min(beyond, 10), ejectionMs.longest);
  instance.ejectedUntilMs = nowMs + forMs;
  return forMs;
}
