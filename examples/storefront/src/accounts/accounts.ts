/** Accounts: finding them, and opening one whose e-mail is unique in all data centers. */

import { sql } from 'kysely';
import { findLanekeeperError, type Lanekeeper } from 'lanekeeper';
import type { Database, Reader } from '../database/connect.ts';
import { hashPassword } from './passwords.ts';

export type Account = {
  readonly id: string;
  readonly email: string | null;
  readonly name: string;
  readonly passwordHash: string | null;
  readonly createdAt: Date;
};

export async function findAccount(db: Reader, by: { email: string } | { id: string }): Promise<Account | null> {
  const row = await db
    .selectFrom('accounts')
    .select(['id', 'email', 'name', 'password_hash', 'created_at'])
    .where((eb) => eb.and(by))
    .executeTakeFirst();
  if (row === undefined) return null;
  return { id: row.id, email: row.email, name: row.name, passwordHash: row.password_hash, createdAt: row.created_at };
}

export type Opened =
  | {
      readonly kind: 'opened';
      readonly account: { readonly id: string; readonly email: string; readonly name: string };
    }
  | { readonly kind: 'taken' }
  /** Nobody can say whether the e-mail is free. */
  | { readonly kind: 'unavailable'; readonly reason: string };

/** The claim comes first, so that two registrations at the same moment on two coasts cannot both succeed. */
export async function openAccount(
  { db, lanekeeper }: { readonly db: Database; readonly lanekeeper: Lanekeeper },
  registration: { readonly email: string; readonly name: string; readonly password: string; readonly costLog2: number },
): Promise<Opened> {
  const { email, name } = registration;
  const id = lanekeeper.id('acc');
  const claim = await lanekeeper.claim('email', email, { account: id });
  if (claim.kind !== 'claimed') return claim;
  try {
    const password_hash = await hashPassword(registration.password, registration.costLog2);
    await db.insertInto('accounts').values({ id, email, name, password_hash, merged_into: null }).execute();
  } catch (error) {
    // With an uncertain outcome the row may be there, and then its claim must be, too.
    if (findLanekeeperError(error)?.code === 'LK_OUTCOME_UNKNOWN') throw error;
    await lanekeeper.releaseClaim('email', email, { account: id });
    if (isUniqueViolation(error)) return { kind: 'taken' };
    throw error;
  }
  return { kind: 'opened', account: { id, email, name } };
}

/**
 * Whether somebody holds this e-mail although no such row is here: the account was opened elsewhere a moment ago and is on
 * its way. Then "wrong password" would be a lie.
 */
export async function isOnItsWay(db: Reader, email: string): Promise<boolean> {
  const holder = await sql<{ account: string | null }>`
    SELECT account FROM lanekeeper.claim_holder('email', ${email})`.execute(db);
  return (holder.rows[0]?.account ?? null) !== null;
}

function isUniqueViolation(error: unknown): boolean {
  return (error as { code?: unknown } | null)?.code === '23505';
}
