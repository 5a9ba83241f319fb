import { expect, test } from 'vitest';
import { orderIdFor } from './order-id.ts';
import { calledPattern } from './orders.ts';

test('the same form of the same account is the same order, and no other', () => {
  const id = orderIdFor('ny_acc_1', 'request 1');
  expect(orderIdFor('ny_acc_1', 'request 1')).toBe(id);
  expect(id).toMatch(/^ord_[0-9A-HJKMNP-TV-Z]{26}$/);
  expect(id.slice(-8)).toMatch(calledPattern);
  const others = [orderIdFor('ny_acc_1', 'request 2'), orderIdFor('ny_acc_2', 'request 1')];
  expect(new Set([id, ...others]).size).toBe(3);
});
