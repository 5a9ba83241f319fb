/**
 * A database that broke: its lease is given up at once, so that a successor need not wait for it to run out.
 *
 * Only a server that is gone, or that says it is not accepting connections, has surely stopped: the lease is in its
 * shared memory. That a connection was refused shows it only on this machine, where the kernel says so; elsewhere a proxy
 * or a firewall may have said it, and the database may be writing. One that just does not answer is waited out as well. Where a data center has standbys, nothing
 * is yielded: who says at its address that it is starting may be one of them, while the primary before goes on writing.
 */
import { networkInterfaces } from 'node:os';
import type { DataCenterName, LeaseStore } from 'lanekeeper/model';
import { message } from './effect-context.ts';
import type { Log } from './options.ts';

export type Probe = 'answers' | 'gone' | 'silent';

/** A restart after a crashed backend takes less than this, and costs less than a failover. */
const patienceMs = 750;
const probeEveryMs = 100;
const giveUpAfterMs = 30_000;
/** SQLSTATE of a server that starts, recovers or shuts down (PostgreSQL, Appendix A). */
const cannotConnectNow = '57P03';

/** What a failed attempt to connect says about the server. */
export function judgeFailure(error: unknown): Probe {
  const { code, address, errors } = error as { code?: unknown; address?: unknown; errors?: unknown };
  if (Array.isArray(errors) && errors.length > 0)
    return errors.every((one) => judgeFailure(one) === 'gone') ? 'gone' : 'silent';
  if (code === cannotConnectNow) return 'gone';
  return code === 'ECONNREFUSED' && typeof address === 'string' && isOurs(address) ? 'gone' : 'silent';
}

function isOurs(address: string): boolean {
  if (address === '::1' || address.startsWith('127.') || address.startsWith('/')) return true;
  return Object.values(networkInterfaces()).some((one) => one?.some((known) => known.address === address));
}

export type YieldOptions = {
  readonly here: DataCenterName;
  readonly holder: string;
  readonly store: LeaseStore;
  /** Tries to connect. */
  readonly probe: () => Promise<Probe>;
  readonly log: Log;
  /** Nothing is yielded any more: the agent is closing, or leads again. */
  readonly over: () => boolean;
};

/** Returns true when the lease was yielded. */
export async function yieldWhenGone({ here, holder, store, probe, log, over }: YieldOptions): Promise<boolean> {
  const beganMs = performance.now();
  let goneSinceMs: number | null = null;
  while (!over() && performance.now() - beganMs < giveUpAfterMs) {
    const found = await probe();
    const nowMs = performance.now();
    if (found === 'answers') return false;
    goneSinceMs = found === 'gone' ? (goneSinceMs ?? nowMs) : null;
    if (goneSinceMs !== null && nowMs - goneSinceMs >= patienceMs) {
      try {
        const record = (await store.read()).leases.find(({ dataCenter }) => dataCenter === here);
        if (record?.holder !== holder || record.state !== 'held') return false;
        await store.release(here, { holder, revision: record.revision }, true);
        log('error', 'the database is gone: its lease is given up', { dataCenter: here });
        return true;
      } catch (error) {
        log('warn', 'the lease store does not answer', { error: message(error) });
      }
    }
    await new Promise((resolve) => setTimeout(resolve, probeEveryMs));
  }
  return false;
}
