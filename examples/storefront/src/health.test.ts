import { expect, test } from 'vitest';
import { type CheckName, judge } from './health.ts';

const names: CheckName[] = ['write an order', 'delete an order', 'read a product', 'search'];
const found = (...failing: CheckName[]) =>
  judge(names.map((name) => ({ name, passed: !failing.includes(name), durationMs: 1 })));

test('three of four are enough, two are not', () => {
  expect(found()).toMatchObject({ status: 'PASS', passed: 1 });
  expect(found('search')).toMatchObject({ status: 'PASS', passed: 0.75 });
  expect(found('write an order', 'delete an order')).toMatchObject({ status: 'FAIL', passed: 0.5 });
  expect(found(...names)).toMatchObject({ status: 'FAIL', passed: 0 });
});
