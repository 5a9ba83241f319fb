import { expect, test } from 'vitest';
import type { RolloutEntry } from '../postgres/index.ts';
import { judgeRollout, type RolloutQuestion } from './rollout-gate.ts';

const entry = (digest: string, more: Partial<RolloutEntry> = {}): RolloutEntry => ({
  digest,
  version: '1.0.0',
  since: '2026-01-01T00:00:00.000Z',
  healthySince: '2026-01-01T00:00:00.000Z',
  healthyForMs: 3_600_000,
  seenAgoMs: 1_000,
  wasHealthy: true,
  ...more,
});

const ask = (more: Partial<RolloutQuestion> = {}, here = 'la') =>
  judgeRollout({
    configuration: { here, rollout: { bakeMs: 600_000, order: ['ny', 'la', 'fra'] } },
    digest: 'new',
    version: '1.0.0',
    own: [entry('old')],
    before: [entry('new')],
    ...more,
  });

test('the first, a first start, a restart and a way back do not wait', () => {
  expect(ask({ before: null }, 'ny')).toEqual({ kind: 'go' });
  expect(ask({ own: [], before: null })).toEqual({ kind: 'go' });
  expect(ask({ own: [entry('new')], before: [entry('newer')] })).toEqual({ kind: 'go' });
  expect(ask({ own: [entry('bad'), entry('new')], before: [entry('bad')] })).toEqual({ kind: 'go' });
  expect(ask({ own: [entry('bad'), entry('new', { wasHealthy: false })], before: [entry('bad')] }).kind).toBe('wait');
});

test('the next waits until the one before has it, and was healthy with it for so long', () => {
  expect(ask({ before: [entry('old')] })).toMatchObject({
    kind: 'wait',
    why: expect.stringMatching(/^ny comes before la/),
  });
  expect(ask({ before: [entry('new', { version: '0.9.0' })] }).kind).toBe('wait');
  expect(ask({ before: [] })).toMatchObject({ kind: 'wait', why: expect.stringMatching(/has nothing yet/) });
  expect(ask({ before: [entry('new', { healthyForMs: null })] })).toMatchObject({
    why: 'ny has it, and is not healthy with it',
  });
  expect(ask({ before: [entry('new', { seenAgoMs: 120_000 })] }).kind).toBe('wait');
  expect(ask({ before: [entry('new', { healthyForMs: 180_500 })] })).toEqual({
    kind: 'wait',
    why: 'ny has been healthy with it for 3m of 10m',
    leftMs: 419_500,
  });
  expect(ask()).toEqual({ kind: 'go' });
  expect(ask({ before: [entry('old')] }, 'fra')).toMatchObject({ why: expect.stringMatching(/^la comes before fra/) });
});

test('one that cannot be asked is said to be so', () => {
  expect(ask({ before: null })).toEqual({ kind: 'unknown', before: 'ny' });
});
