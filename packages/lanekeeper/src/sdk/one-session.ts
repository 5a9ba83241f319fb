/**
 * `sessions.concurrent: block`: an account is used by one session at a time. Which one, its home's database knows; it is noted at sign-in and
 * by writes, some times within `sessions.stickinessMs`, and replicated with the account, so that it survives a move and, but for the
 * last uses, a failover. A session that was not active for so long gives way to another.
 */
import { type AccountId, type DataCenterName, LanekeeperError } from '../model/index.ts';
import { translateRefusal } from './refusal.ts';

export type Holding = {
  readonly account: AccountId;
  /** Whose deed counts for it. */
  readonly owner: AccountId;
  readonly session: string;
  /** The session that this one replaces, when the same browser signs in again. */
  readonly former: string | null;
  /** Where the account is written, as far as we can reach it. */
  readonly at: DataCenterName;
};

type RunAt = (at: DataCenterName, text: string, values: unknown[]) => Promise<readonly Record<string, unknown>[]>;

const mostRemembered = 10_000;

export class OneSession {
  readonly #here: DataCenterName;
  readonly #stickinessMs: number;
  readonly #run: RunAt;
  /** Until when a session need not be noted again. */
  readonly #known = new Map<string, number>();

  constructor(here: DataCenterName, stickinessMs: number, run: RunAt) {
    this.#here = here;
    this.#stickinessMs = stickinessMs;
    this.#run = run;
  }

  /** @throws {LanekeeperError} `LK_SIGNED_IN`, and what the fence refuses */
  async hold({ account, owner, session, former, at }: Holding): Promise<void> {
    if ((this.#known.get(session) ?? 0) > performance.now()) return;
    const context = { account, dataCenter: this.#here };
    const rows = await this.#run(
      at,
      'SELECT held, since, dc, left_ms FROM lanekeeper.hold_session($1, $2, $3, $4, $5, $6, $7)',
      [owner, keyOf(account, owner), account, session, former, this.#here, Math.round(this.#stickinessMs)],
    ).catch((error: unknown) => {
      throw translateRefusal(error, context) ?? error;
    });
    const { held, since, dc, left_ms } = rows[0] as { held: boolean; since: Date; dc: string; left_ms: number };
    if (!held) {
      const details = { ...context, since: since.toISOString(), signedInAt: dc, retryAfterMs: Math.ceil(left_ms) };
      const message = `Another session of this account is in use, since ${details.since} in ${dc}.`;
      throw new LanekeeperError('LK_SIGNED_IN', message, details);
    }
    if (this.#known.size >= mostRemembered) this.#known.clear();
    // Nobody else may have it before `stickinessMs` have passed since.
    this.#known.set(session, performance.now() + this.#stickinessMs / 8);
  }

  /** As far as it can be noted: otherwise it ends by not being used. */
  async release({ account, owner, session, at }: Holding): Promise<void> {
    this.#known.delete(session);
    const values = [owner, keyOf(account, owner), session];
    await this.#run(at, 'SELECT lanekeeper.release_session($1, $2, $3)', values).catch(() => {});
  }
}

/** No request id begins with such a character. */
function keyOf(account: AccountId, owner: AccountId): string {
  const key = '\u0001session';
  return account === owner ? key : JSON.stringify([account, key]);
}
