/** What is to be told to a URL, kept in the database until it has been heard, so that no restart forgets it. */
import type { Queryable } from '../queryable.ts';

export const hookKinds = ['takeover', 'conflict'] as const;
export type HookKind = (typeof hookKinds)[number];

export type HookMessage = {
  readonly kind: HookKind;
  /** What happened; the same is told once. */
  readonly key: string;
  /** JSON of an object. */
  readonly body: string;
  /** How often it was tried. */
  readonly attempts: number;
  readonly ageMs: number;
};

/** Of one kind. More of them say nothing that the first ones do not, and the database is no place to pile them up. */
export const waitingHooksMax = 10_000;

/**
 * Puts one message into the queue, in the caller's transaction if it is in one. `body`: JSON of an object, sent as it is each
 * time. False: it was told before, or `waitingHooksMax` of its kind wait already.
 */
export async function tellHook(
  client: Queryable,
  { kind, key, body }: Pick<HookMessage, 'kind' | 'key' | 'body'>,
): Promise<boolean> {
  const { rows } = await client.query<{ told: boolean }>('SELECT lanekeeper.tell_hook($1, $2, $3::json, $4) AS told', [
    kind,
    key,
    body,
    waitingHooksMax,
  ]);
  return rows[0]?.told ?? false;
}

/** Those of a kind whose time has come, oldest first. One agent leads, so nobody else sends them meanwhile. */
export async function dueHooks(client: Queryable, kind: HookKind, limit: number): Promise<readonly HookMessage[]> {
  const { rows } = await client.query<HookMessage>(
    `SELECT kind, key, body::text AS body, attempts, extract(epoch FROM clock_timestamp() - at)::float8 * 1000 AS "ageMs"
      FROM lanekeeper.hook WHERE kind = $1 AND next_at <= clock_timestamp() ORDER BY next_at, at LIMIT $2`,
    [kind, limit],
  );
  return rows;
}

export type HookFate =
  | { readonly kind: 'heard' }
  | { readonly kind: 'again'; readonly inMs: number }
  | { readonly kind: 'given-up' };

export async function settleHook(
  client: Queryable,
  { kind, key }: Pick<HookMessage, 'kind' | 'key'>,
  fate: HookFate,
): Promise<void> {
  await client.query(
    `UPDATE lanekeeper.hook SET attempts = attempts + 1,
        heard_at = CASE WHEN $3 = 'heard' THEN clock_timestamp() END,
        next_at = CASE WHEN $3 = 'again' THEN clock_timestamp() + make_interval(secs => $4::float8 / 1000) END
      WHERE kind = $1 AND key = $2`,
    [kind, key, fate.kind, fate.kind === 'again' ? fate.inMs : 0],
  );
}

/** Forgets what is settled, so long after it happened. */
export async function forgetHooks(client: Queryable, keepMs: number): Promise<void> {
  await client.query(
    `DELETE FROM lanekeeper.hook WHERE next_at IS NULL AND at < clock_timestamp() - make_interval(secs => $1::float8 / 1000)`,
    [keepMs],
  );
}

export type HookReport = {
  readonly kind: HookKind;
  readonly waiting: number;
  readonly oldestMs: number | null;
  /** Within the last day. */
  readonly givenUp: number;
};

export async function readHooks(client: Queryable): Promise<readonly HookReport[]> {
  const { rows } = await client.query<HookReport>(
    `SELECT kind, count(next_at)::int AS waiting,
        extract(epoch FROM clock_timestamp() - min(at) FILTER (WHERE next_at IS NOT NULL))::float8 * 1000 AS "oldestMs",
        (count(*) FILTER (WHERE next_at IS NULL AND heard_at IS NULL AND at > clock_timestamp() - interval '2 days'))::int AS "givenUp"
      FROM lanekeeper.hook GROUP BY kind ORDER BY kind`,
  );
  return rows;
}
