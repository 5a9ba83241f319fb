import { expect, test } from 'vitest';
import { approachOf, isSplit, underApproach, usualApproach } from './approach.ts';
import type { Sections } from './sections.ts';

const sections: Sections = { tables: { accounts: { class: 'system-of-record', account: 'id', root: true } } };

test('another approach replaces the one that is written, and what it left open', () => {
  const written = { ...sections, approach: 'stateless-frontends' as const, homes: 'single' as const };
  expect(underApproach(written, 'full-active-active')).toEqual({ ...sections, approach: 'full-active-active' });
  expect(underApproach(written, 'stateless-frontends')).toBe(written);
  expect(underApproach(written, null)).toBe(written);
  expect(underApproach(sections, 'active-passive')).toEqual({ ...sections, approach: 'active-passive' });
});

test('what is run when nobody says anything, and what is in two pieces', () => {
  expect(approachOf({})).toBe(usualApproach);
  expect(isSplit('stateless-frontends')).toBe(true);
  expect(isSplit(usualApproach)).toBe(false);
});
