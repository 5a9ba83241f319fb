import { expect, test } from 'vitest';
import { parseHistory } from './history.ts';

test('a history says where each timeline ended; comments and nonsense prove nothing', () => {
  const text =
    '# by hand\n1\t0/3000060\tno recovery target specified\n\n2\t1/A0\tbefore 2026\nx\t0/1\t\n3\tnowhere\t\n';
  expect(parseHistory(text)).toEqual([
    { timeline: 1, at: '0/3000060' },
    { timeline: 2, at: '1/A0' },
  ]);
  expect(parseHistory('')).toEqual([]);
});
