/** What drives the storefront in the process of its test, one after the other, since loading all of it takes longer than many a test. */
import { describe } from 'vitest';

describe('shop', async () => {
  await import('../service/storefront/shop.test.ts');
});
describe('both-coasts', async () => {
  await import('../service/storefront/both-coasts.test.ts');
});
describe('payments', async () => {
  await import('../service/storefront/payments.test.ts');
});
describe('killed', async () => {
  await import('../service/storefront/killed.test.ts');
});
describe('process', async () => {
  await import('../service/storefront/process.test.ts');
});
