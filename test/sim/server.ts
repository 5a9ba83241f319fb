/** A database server as a model, without its tables: whether it runs, its clocks, and the lease that the fence goes by. */
import type { LeaseCredential } from 'lanekeeper/model';
import type { Random, Timeline } from './timeline.ts';

/** An agent reads the clock so often that it has noticed by then. */
const clockLookMs = 1500;

export abstract class ModelServer {
  readonly here: string;
  up = true;
  life = 0;
  /** Until when every process of this server stands still. */
  stoppedUntilMs = 0;
  lease: { readonly validUntilMs: number; readonly validUntilUptimeMs: number | null } | null = null;
  credential: LeaseCredential | null = null;
  clock = { offsetMs: 0, rate: 1, sinceMs: 0 };
  readonly hasUptime: boolean;
  /** The clock was moved while nothing could have noticed: the lease proves nothing until it is written anew. */
  clockInDoubt = false;
  onLease: (leftMs: number) => void = () => {};
  #leaseLengthMs = 0;
  protected readonly timeline: Timeline;
  protected readonly random: Random;
  /** A rule that this model is to forget. */
  readonly broken: (hole: string) => boolean;

  constructor(here: string, timeline: Timeline, random: Random, hasUptime: boolean, broken: (hole: string) => boolean) {
    this.here = here;
    this.timeline = timeline;
    this.random = random;
    this.hasUptime = hasUptime;
    this.broken = broken;
  }

  /** Brings the view in line with the successions that are here. */
  abstract settleView(): void;

  /** Something that this server does by itself: not after a crash, and not while it stands still. */
  later(delayMs: number, run: () => void): void {
    const { life } = this;
    const go = () => {
      if (life !== this.life || !this.up) return;
      if (this.timeline.nowMs < this.stoppedUntilMs) this.timeline.at(this.stoppedUntilMs, go);
      else run();
    };
    this.timeline.after(delayMs, go);
  }

  // ── Clocks and the lease ─────────────────────────────────────────────────────────────────────────────────────────

  wallMs(): number {
    const { offsetMs, rate, sinceMs } = this.clock;
    return 1_000_000_000 + offsetMs + sinceMs + (this.timeline.nowMs - sinceMs) * rate;
  }

  moveClock(byMs: number, rate = this.clock.rate): void {
    const { nowMs } = this.timeline;
    const { offsetMs, sinceMs } = this.clock;
    const drifted = (nowMs - sinceMs) * (this.clock.rate - 1);
    this.clock = { offsetMs: offsetMs + drifted + byMs, rate, sinceMs: nowMs };
  }

  leaseLeftMs(): number {
    if (this.lease === null) return 0;
    const byClockMs = this.lease.validUntilMs - this.wallMs();
    // A clock that was set back lengthens a lease by no more than itself.
    if (byClockMs > this.#leaseLengthMs + 500) return 0;
    const { validUntilUptimeMs } = this.lease;
    const leftMs =
      validUntilUptimeMs === null ? byClockMs : Math.min(byClockMs, validUntilUptimeMs - this.timeline.nowMs);
    return Math.max(0, leftMs);
  }

  writeLease(lease: ModelServer['lease'], credential: LeaseCredential | null): void {
    if (lease !== null && this.leaseLeftMs() <= 0) this.settleView();
    this.lease = lease;
    this.#leaseLengthMs = (lease?.validUntilMs ?? 0) - this.wallMs();
    this.credential = credential;
    // What was read before the clock was moved may be written after it; the agent's next look finds out.
    if (this.timeline.nowMs - this.clock.sinceMs > clockLookMs) this.clockInDoubt = false;
    if (!this.clockInDoubt) this.onLease(this.leaseLeftMs());
  }
}
