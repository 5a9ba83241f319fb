/** Who is here; register, sign in, sign out. */
import { LanekeeperError } from 'lanekeeper';
import { type Account, findAccount, isOnItsWay, openAccount } from '../accounts/accounts.ts';
import { checkPassword, hashPassword } from '../accounts/passwords.ts';
import type { Database } from '../database/connect.ts';
import type { Fields, Shop } from '../shop/shop.ts';
import { email, password, text } from '../web/input.ts';
import type { Back, Caller } from './back.ts';
import { settleGuest } from './cart.ts';

const minPasswordLength = 8;

export function accountOperations(
  back: Back,
  caller: Caller,
): Pick<Shop, 'visitor' | 'register' | 'signIn' | 'signOut'> {
  const { db, attempts, settings } = back;
  const { scope, address, log } = caller;
  return {
    visitor: async () => {
      const account = scope.account ?? scope.guest;
      const found = account === null ? undefined : await readVisitor(db, account);
      return {
        account: scope.account,
        name: found?.name ?? '',
        email: found?.email ?? '',
        home: scope.home,
        cartCount: Number(found?.count ?? 0),
      };
    },

    register: async (fields) => {
      const checked = checkRegistration(fields);
      if (checked.kind === 'invalid') return checked;
      const name = text(fields, 'name', 80) ?? '';
      const opened = await openAccount(back, { ...checked, name, costLog2: settings.scryptCostLog2 });
      if (opened.kind === 'unavailable') log.warn({ reason: opened.reason }, 'no claim');
      if (opened.kind !== 'opened') return opened;
      await scope.signIn(opened.account.id, { registered: true });
      await settleGuest(back, caller);
      return { kind: 'registered', account: { ...opened.account, home: scope.home } };
    },

    signIn: async (fields) => {
      const named = email(fields);
      const secret = password(fields);
      if (named === null || secret === null) {
        return {
          kind: 'invalid',
          fields: { email: 'Please give the e-mail address and the password of the account.' },
        };
      }
      const waitMs = attempts.waitMs(named, address, Date.now());
      if (waitMs > 0) return { kind: 'too-many', waitMs };
      const account = await findAccount(db, { email: named });
      const right = await isPasswordOf(account, secret, settings.scryptCostLog2);
      if (account === null && (await isOnItsWay(db, named))) throw new LanekeeperError('LK_UNKNOWN_ACCOUNT');
      if (account === null || !right) {
        attempts.failed(named, address, Date.now());
        return { kind: 'wrong' };
      }
      attempts.succeeded(named);
      // Nothing was written so far: should the account be at home elsewhere, all of this is done once more there.
      await scope.signIn(account.id);
      await settleGuest(back, caller);
      const { id, name } = account;
      return { kind: 'signed-in', account: { id, email: named, name, home: scope.home } };
    },

    signOut: async () => {
      await scope.signOut();
      return null;
    },
  };
}

function readVisitor(db: Database, account: string) {
  return db
    .selectFrom('accounts')
    .where('accounts.id', '=', account)
    .select((eb) => [
      'accounts.name',
      'accounts.email',
      eb
        .selectFrom('carts')
        .innerJoin('cart_lines', 'cart_lines.cart_id', 'carts.id')
        .whereRef('carts.account_id', '=', 'accounts.id')
        .select((sum) => sum.fn.sum<string | null>('cart_lines.quantity').as('count'))
        .as('count'),
    ])
    .executeTakeFirst();
}

/** Without an account the same work is done for nothing, so that the time it takes tells nothing. */
async function isPasswordOf(account: Account | null, secret: string, costLog2: number): Promise<boolean> {
  const hash = account?.passwordHash ?? null;
  if (hash !== null) return checkPassword(secret, hash);
  await hashPassword(secret, costLog2);
  return false;
}

type Checked =
  | { readonly kind: 'valid'; readonly email: string; readonly password: string }
  | { readonly kind: 'invalid'; readonly fields: Readonly<Record<string, string>> };

function checkRegistration(body: Fields): Checked {
  const address = email(body);
  const secret = password(body);
  if (address !== null && secret !== null && secret.length >= minPasswordLength) {
    return { kind: 'valid', email: address, password: secret };
  }
  const fields: Record<string, string> = {};
  if (address === null) fields.email = 'We need an e-mail address, like you@example.com.';
  if (secret === null || secret.length < minPasswordLength) {
    fields.password = `The password needs at least ${minPasswordLength} characters.`;
  }
  return { kind: 'invalid', fields };
}
