/** Accounts on their way: what the database knows of one, drains, giving, accepting, declining. */
import type { AccountId, DataCenterName, Epoch } from 'lanekeeper/model';
import type { ClientBase } from 'pg';
import type { Queryable } from '../queryable.ts';

export type DeedRow = {
  readonly home: DataCenterName;
  readonly epoch: Epoch;
  readonly giver: DataCenterName | null;
  readonly accepted: boolean;
};

type RawDeed = { home: string; term: string; counter: string; giver: string | null; accepted: boolean };

function toDeed({ home, term, counter, giver, accepted }: RawDeed): DeedRow {
  return { home, epoch: { term: Number(term), counter: Number(counter) }, giver, accepted };
}

/** As the successions since then left it. */
const deedColumns = 'p.home, p.term, d.counter, d.giver, p.accepted';
const deedTables = 'lanekeeper.deed d, lanekeeper.present(d) p';

export async function readDeed(client: Queryable, account: AccountId): Promise<DeedRow | null> {
  const { rows } = await client.query<RawDeed>(`SELECT ${deedColumns} FROM ${deedTables} WHERE d.account = $1`, [
    account,
  ]);
  return rows[0] === undefined ? null : toDeed(rows[0]);
}

/**
 * After a transaction that is giving the deed away now, which is not seen before a peer has acknowledged it; with `FOR UPDATE`
 * also after one that waits for the deed to do so, and after writers. Throws when that takes longer than `withinMs`.
 */
export async function readDeedLocked(
  client: ClientBase,
  account: AccountId,
  lock: 'FOR SHARE' | 'FOR UPDATE',
  withinMs: number,
): Promise<DeedRow | null> {
  return inTransaction(client, withinMs, async () => {
    // In one statement the deed that was waited for would be joined to what `present` says of the one before.
    await client.query(`SELECT FROM lanekeeper.deed WHERE account = $1 ${lock}`, [account]);
    return readDeed(client, account);
  });
}

export type AccountFacts = DeedRow & {
  /** Since it was last used here; null when it never was, as far as is known. */
  readonly lastUsedAgoMs: number | null;
  /** Since it came here; null when it was born here. */
  readonly arrivedAgoMs: number | null;
  /** Since each of its moves within the last hour, the latest first. */
  readonly movesAgoMs: readonly number[];
  readonly draining: boolean;
};

export async function readFacts(client: Queryable, account: AccountId): Promise<AccountFacts | null> {
  const ago = (at: string) => `(extract(epoch FROM clock_timestamp() - ${at}) * 1000)::float8`;
  const { rows } = await client.query<RawDeed & Omit<AccountFacts, keyof DeedRow>>(
    `SELECT ${deedColumns}, ${ago('lanekeeper.last_used(d.account)')} AS "lastUsedAgoMs",
        CASE WHEN d.giver IS NOT NULL THEN ${ago('coalesce((SELECT max(m.at) FROM lanekeeper.move_log m WHERE m.account = d.account), d.given_at)')} END
          AS "arrivedAgoMs",
        coalesce((SELECT json_agg(${ago('m.at')} ORDER BY m.at DESC) FROM lanekeeper.move_log m
          WHERE m.account = d.account AND m.at > clock_timestamp() - interval '1 hour' AND m.what <> 'declined'), '[]') AS "movesAgoMs",
        EXISTS (SELECT FROM lanekeeper.drain x WHERE x.account IN (d.account, '*') AND x.until > clock_timestamp()) AS draining
      FROM ${deedTables} WHERE d.account = $1`,
    [account],
  );
  const row = rows[0];
  if (row === undefined) return null;
  const { lastUsedAgoMs, arrivedAgoMs, movesAgoMs, draining } = row;
  return { ...toDeed(row), lastUsedAgoMs, arrivedAgoMs, movesAgoMs, draining };
}

/** The move's number and the instances that will answer, or null when the account is draining already. */
export async function beginDrain(
  client: Queryable,
  account: AccountId,
  to: DataCenterName,
  forMs: number,
): Promise<{ readonly move: number; readonly instances: readonly string[] } | null> {
  const { rows } = await client.query<{ move: string | null; instances: string[] }>(
    `SELECT lanekeeper.begin_drain($1, $2, (extract(epoch FROM clock_timestamp()) * 1000)::bigint + $3) AS move,
        ARRAY(SELECT lanekeeper.instances()) AS instances`,
    [account, to, Math.ceil(forMs)],
  );
  const { move = null, instances = [] } = rows[0] ?? {};
  return move === null ? null : { move: Number(move), instances };
}

/** Application instances that are alive and answer drains. */
export async function listInstances(client: Queryable): Promise<readonly string[]> {
  const { rows } = await client.query<{ instance: string }>('SELECT i AS instance FROM lanekeeper.instances() i');
  return rows.map(({ instance }) => instance);
}

/** By the move's number, or by account when that never came back. */
export async function endDrain(client: Queryable, account: AccountId, move: number | null): Promise<void> {
  if (move !== null) await client.query('SELECT lanekeeper.end_drain($1)', [move]);
  else
    await client.query('SELECT lanekeeper.end_drain(d.move) FROM lanekeeper.drain d WHERE d.account = $1', [account]);
}

/** Drains of an agent that led before and is gone. Returns how many there were. */
export async function endLeftoverDrains(client: Queryable): Promise<number> {
  const { rowCount } = await client.query('SELECT lanekeeper.end_drain(d.move) FROM lanekeeper.drain d');
  return rowCount ?? 0;
}

export type GiveResult =
  | { readonly kind: 'given'; readonly epoch: Epoch }
  | { readonly kind: 'not-here' | 'stale' | 'no-lease' | 'unknown' | 'no-such-dc' }
  /** A transaction kept the deed locked for longer than `withinMs`. */
  | { readonly kind: 'busy' };

/** Applications that answer drains have let go of the deed by now; whoever else writes to it does so for a moment. */
const softPatienceMs = 20;

/**
 * Gives as soon as nobody has the deed locked. When that does not come by itself, hardens the drain, so that nobody new may
 * lock it, and waits for those who have: a statement and a commit more, in which nobody writes. Throws when the connection
 * broke: then it is unknown what became of it.
 */
export async function giveAccount(client: ClientBase, give: Give & { readonly move: number }): Promise<GiveResult> {
  const { withinMs, move } = give;
  if (withinMs > softPatienceMs) {
    const first = await tryToGive(client, { ...give, withinMs: softPatienceMs });
    if (first.kind !== 'busy') return first;
  }
  await client.query('SELECT lanekeeper.harden_drain($1)', [move]);
  return tryToGive(client, { ...give, withinMs: Math.max(1, withinMs - softPatienceMs) });
}

type Give = {
  readonly account: AccountId;
  readonly to: DataCenterName;
  readonly epoch: Epoch;
  readonly withinMs: number;
};

async function tryToGive(client: ClientBase, { account, to, epoch, withinMs }: Give): Promise<GiveResult> {
  try {
    // One statement is the whole transaction: everybody waits while the deed is locked.
    const { rows } = await client.query<{ kind: GiveResult['kind']; term: string; counter: string }>({
      name: 'give',
      text: `WITH given AS MATERIALIZED (SELECT * FROM lanekeeper.give($1, $2, $3, $4, $5)),
          logged AS (INSERT INTO lanekeeper.move_log (account, what, peer, term, counter)
            SELECT $1, 'given', $2, g.term, g.counter FROM given g WHERE g.kind = 'given')
        SELECT kind, term, counter FROM given`,
      values: [account, to, epoch.term, epoch.counter, Math.max(1, Math.floor(withinMs))],
    });
    const row = rows[0];
    if (row === undefined) throw new Error('give returned nothing');
    if (row.kind === 'given') return { kind: 'given', epoch: { term: Number(row.term), counter: Number(row.counter) } };
    return { kind: row.kind } as GiveResult;
  } catch (error) {
    // Lock not available, or a new view of the data centers: nothing was given.
    const { code } = error as { code?: unknown };
    if (code === '55P03' || code === '40001' || code === '40P01') return { kind: 'busy' };
    if (code === 'LK003') return { kind: 'no-lease' };
    throw error;
  }
}

export type AcceptResult = {
  readonly kind: 'accepted' | 'already' | 'digest-differs' | 'stale' | 'no-lease' | 'unknown';
};

/** Whether the account's rows are the ones that were given with the deed of `epoch`; false when another deed is here. */
export async function compareRows(client: ClientBase, account: AccountId, epoch: Epoch): Promise<boolean> {
  const { rows } = await client.query<{ same: boolean }>({
    name: 'compare',
    text: 'SELECT lanekeeper.compare($1, $2, $3) AS same',
    values: [account, epoch.term, epoch.counter],
  });
  return rows[0]?.same === true;
}

/** `compared`: the rows were found to be the ones that were given since this deed is here. */
export async function acceptAccount(
  client: ClientBase,
  account: AccountId,
  epoch: Epoch,
  compared: boolean,
): Promise<AcceptResult> {
  return settle(
    client,
    'accept',
    `WITH done AS MATERIALIZED (SELECT * FROM lanekeeper.accept($1, $2, $3, $4)),
      logged AS (INSERT INTO lanekeeper.move_log (account, what, peer, term, counter)
        SELECT d.account, 'accepted', d.giver, d.term, d.counter FROM lanekeeper.deed d, done WHERE d.account = $1 AND done.kind = 'accepted')
    SELECT kind FROM done`,
    [account, epoch.term, epoch.counter, compared],
  );
}

export type DeclineResult = { readonly kind: 'declined' | 'already' | 'stale' | 'no-lease' | 'unknown' };

export async function declineAccount(
  client: ClientBase,
  account: AccountId,
  epoch: Epoch,
  why: readonly string[],
): Promise<DeclineResult> {
  return settle(
    client,
    'decline',
    `WITH before AS MATERIALIZED (SELECT giver FROM lanekeeper.deed WHERE account = $1),
      done AS MATERIALIZED (SELECT * FROM lanekeeper.decline($1, $2, $3)),
      logged AS (INSERT INTO lanekeeper.move_log (account, what, peer, term, counter, detail)
        SELECT $1, 'declined', before.giver, $2, $3, json_build_object('reasons', $4::text[]) FROM before, done WHERE done.kind = 'declined')
    SELECT kind FROM done`,
    [account, epoch.term, epoch.counter, why],
  );
}

/** The lease is looked at once more when the transaction commits. */
async function settle<Kind extends string>(
  client: ClientBase,
  name: string,
  text: string,
  values: readonly unknown[],
): Promise<{ readonly kind: Kind | 'no-lease' }> {
  try {
    const { rows } = await client.query<{ kind: Kind }>({ name, text, values });
    if (rows[0] === undefined) throw new Error('no answer');
    return rows[0];
  } catch (error) {
    if ((error as { code?: unknown }).code === 'LK003') return { kind: 'no-lease' };
    throw error;
  }
}

export type UnacceptedDeed = {
  readonly account: AccountId;
  readonly epoch: Epoch;
  readonly giver: DataCenterName;
  readonly returned: boolean;
};

/** Deeds that name this data center and wait for its word: all, or those given within the last `sinceMs`. */
export async function readUnaccepted(client: Queryable, sinceMs: number | null): Promise<readonly UnacceptedDeed[]> {
  const { rows } = await client.query<{
    account: string;
    term: string;
    counter: string;
    giver: string;
    returned: boolean;
  }>(
    `SELECT d.account, d.term, d.counter, d.giver, d.digest IS NULL AS returned FROM ${deedTables}
      WHERE d.giver IS NOT NULL AND p.home = lanekeeper.dc() AND NOT p.accepted
        AND ($1::float8 IS NULL OR d.given_at > clock_timestamp() - make_interval(secs => $1::float8 / 1000))`,
    [sinceMs],
  );
  return rows.map(({ account, term, counter, giver, returned }) => ({
    account,
    epoch: { term: Number(term), counter: Number(counter) },
    giver,
    returned,
  }));
}

async function inTransaction<T>(client: ClientBase, lockTimeoutMs: number, work: () => Promise<T>): Promise<T> {
  const patienceMs = Math.max(1, Math.floor(lockTimeoutMs));
  await client.query(`BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL lock_timeout = ${patienceMs}`);
  try {
    const result = await work();
    await client.query('COMMIT');
    return result;
  } catch (error) {
    await client.query('ROLLBACK').catch(() => {});
    throw error;
  }
}
