/** What drives the storefront in the process of its test, one after the other, since loading all of it takes longer than many a test. */
import { describe } from 'vitest';
import { approachToTest } from '../support/approach.ts';

describe(`${approachToTest}: shop`, async () => {
  await import('../service/storefront/shop.test.ts');
});
describe(`${approachToTest}: both-coasts`, async () => {
  await import('../service/storefront/both-coasts.test.ts');
});
describe(`${approachToTest}: payments`, async () => {
  await import('../service/storefront/payments.test.ts');
});
describe(`${approachToTest}: killed`, async () => {
  await import('../service/storefront/killed.test.ts');
});
describe(`${approachToTest}: process`, async () => {
  await import('../service/storefront/process.test.ts');
});
