/** What `GET /health` says of one agent: an agent that leads passes with a lease, a standby while somebody leads. */
import type { DataCenterName } from 'lanekeeper/model';
import type { Health } from './api.ts';
import type { Standing } from './leadership.ts';

export type HealthInput = {
  readonly dataCenter: DataCenterName;
  readonly instance: string;
  /** Digest of the configuration that leads here. */
  readonly configuration: string;
  readonly version: string;
  readonly standing: Standing;
  readonly ttlMs: number;
  /** Of the lease, in milliseconds; null: this agent does not lead. */
  readonly leaseLeftMs: number | null;
};

/** A database that did not answer within this is not there. */
const standingMaxAgeMs = 5_000;

export function judgeHealth({ standing, ttlMs, leaseLeftMs, ...common }: HealthInput): Health {
  const { agents, leader, seenMs } = standing;
  const answers = agents !== null && performance.now() - seenMs < standingMaxAgeMs;
  const details = { ...common, database: answers ? 'answers' : 'does not answer' };
  if (leaseLeftMs !== null) {
    const leftMs = Math.round(leaseLeftMs);
    return {
      status: answers && leftMs > 0 ? 'PASS' : 'FAIL',
      details: { ...details, role: 'leader', leaseLeftMs: leftMs },
    };
  }
  const led = leader !== null && leader.pid !== null && leader.silentMs < ttlMs;
  const standby = { ...details, role: 'standby', leader: led ? leader.instance : null };
  return { status: answers && led ? 'PASS' : 'FAIL', details: standby };
}
