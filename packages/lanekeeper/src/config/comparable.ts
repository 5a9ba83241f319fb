/**
 * What two data centers should agree on, of their configurations: without how each reaches the others, and without anything that one
 * would rather not show (addresses, users, hooks). Its digest says whether they do.
 */
import { createHash } from 'node:crypto';
import type { PlacelessConfiguration } from './resolve.ts';

export type ComparableConfiguration = Readonly<Record<string, unknown>>;

export function comparableConfiguration(configuration: PlacelessConfiguration): ComparableConfiguration {
  const {
    dataCenters,
    leases,
    sessions,
    buffer,
    hooks,
    here: _here,
    ...rest
  } = configuration as typeof configuration & {
    readonly here?: string;
  };
  const { store, faultDomain, ttlMs, renewEveryMs, skewMs } = leases;
  return sorted({
    ...rest,
    dataCenters: Object.fromEntries(
      Object.entries(dataCenters).map(([name, { number, place, faultDomain: domain, capacity }]) => [
        name,
        { number, place, faultDomain: domain, capacity },
      ]),
    ),
    leases: { store, faultDomain, ttlMs, renewEveryMs, skewMs },
    sessions: { ...sessions, keys: sessions.keys.map(({ kid }) => kid).sort() },
    buffer: { store: buffer.store, replicas: buffer.replicas, retryMs: buffer.retryMs },
    hooks: { onTakeover: hooks.onTakeover !== null, onConflict: hooks.onConflict !== null },
  }) as ComparableConfiguration;
}

/** 16 hexadecimal digits, the same in every data center that is configured alike. */
export function configurationDigest(configuration: PlacelessConfiguration): string {
  const text = JSON.stringify(comparableConfiguration(configuration));
  return createHash('sha256').update(text).digest('hex').slice(0, 16);
}

/** Keys in order, so that the order in which a file says things makes no difference. Lists keep theirs. */
function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([key, one]) => [key, sorted(one)]),
  );
}
