/** What drives the storefront in the lab, one after the other in one lab, since starting one is most of the work. The last one breaks it. */
import { afterAll, beforeAll, describe } from 'vitest';
import { approachToTest } from '../support/approach.ts';
import type { TestLab } from '../support/lab.ts';
import { storefrontLab } from '../support/storefront-lab.ts';

let lab: TestLab;
beforeAll(async () => {
  lab = await storefrontLab();
}, 120_000);
afterAll(() => lab?.stop(), 60_000);

describe(`${approachToTest}: two-data-centers`, async () => {
  await import('../service/two-data-centers.test.ts');
});
describe(`${approachToTest}: browser`, async () => {
  await import('../service/browser.test.ts');
});
describe(`${approachToTest}: failover`, async () => {
  await import('../service/storefront/failover.test.ts');
});
