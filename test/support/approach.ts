/**
 * The approach under which the tests of the storefront run, and what follows from it for who is written and served where. Read
 * here and nowhere else. `npm run test:approaches` runs them under every approach but the usual one, which `npm test` has.
 */
import { type ApproachName, approaches } from 'lanekeeper/model';
import type { Side } from './sides.ts';

/** `LANEKEEPER_TEST_APPROACH=active-passive npx vitest run test/service/storefront/shop.test.ts` */
export const approachToTest = approachNamed(process.env.LANEKEEPER_TEST_APPROACH || 'full-active-active');

export const { homes, routing } = approaches[approachToTest];

/** One home for all accounts: `ny`, until somebody switches over. */
export const oneHome = homes === 'single';

/** Frontends without a database, and backends which they call. */
export const split = routing === 'call';

/** Where the account of somebody who registers there is at home. */
export function homeOf(registeredIn: Side): Side {
  return oneHome ? 'ny' : registeredIn;
}

/** The edge takes the customer to his home; otherwise he is served where he asks. */
export function servedBy(asked: Side, home: Side): Side {
  return routing === 'customer' ? home : asked;
}

/** Which deed says where an account is at home. */
export function deedOf(account: string): string {
  return oneHome ? '*' : account;
}

function approachNamed(name: string): ApproachName {
  if (!Object.hasOwn(approaches, name)) {
    throw new Error(
      `LANEKEEPER_TEST_APPROACH is \`${name}\`: one of ${Object.keys(approaches).join(', ')} is expected.`,
    );
  }
  return name as ApproachName;
}
