import { configOf } from './vitest.config.js';

/** For `npm run test:three`: the same in three data centers, under `full-active-active`, and one customer's day under all five. */
export default configOf([
  {
    name: 'three-data-centers',
    env: { LANEKEEPER_TEST_DATA_CENTERS: 'ny,la,fra' },
    more: ['test/service/storefront/approaches.test.ts'],
  },
]);
