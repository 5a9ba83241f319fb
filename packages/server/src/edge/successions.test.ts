import fc from 'fast-check';
import { resolveHome, type Succession } from 'lanekeeper/model';
import { expect, test } from 'vitest';
import { contradicts, learn, newSuccessions, presentHome } from './successions.ts';

const take: Succession = { term: 2, kind: 'take', from: 'ny', to: 'la', undoes: null };
const back: Succession = { term: 3, kind: 'return', from: 'la', to: 'ny', undoes: 2 };
const other: Succession = { term: 2, kind: 'take', from: 'la', to: 'ny', undoes: null };

test('a history only grows, and what contradicts it is noticed', () => {
  const known = newSuccessions();
  expect([known.term, presentHome(known, { home: 'ny', term: 1 })]).toEqual([1, 'ny']);
  expect(learn(known, [], 1)).toBe(false);
  expect(learn(known, [take], 5)).toBe(true);
  expect([known.term, known.learnedAtMs, presentHome(known, { home: 'ny', term: 1 })]).toEqual([2, 5, 'la']);
  for (const history of [[], [take], [other], [other, back]]) expect(learn(known, history, 9)).toBe(false);
  expect([[], [take], [take, back], [other], [other, back]].map((history) => contradicts(known, history))).toEqual([
    false,
    false,
    false,
    true,
    true,
  ]);
  expect(learn(known, [take, back], 9)).toBe(true);
  expect([known.term, presentHome(known, { home: 'ny', term: 1 })]).toEqual([3, 'ny']);
  expect(contradicts(known, [take])).toBe(false);
});

test('whoever knows no term is believed', () => {
  const known = newSuccessions();
  learn(known, [take], 1);
  expect(presentHome(known, { home: 'ny', term: null })).toBe('ny');
});

test('what is remembered is what the fold says, whatever was asked before', () => {
  const name = fc.constantFrom('ny', 'la', 'fra');
  const history = fc
    .array(
      fc.record({ kind: fc.constantFrom('take' as const, 'switch' as const, 'return' as const), from: name, to: name }),
      {
        maxLength: 8,
      },
    )
    .map((some) =>
      some
        .filter(({ from, to }) => from !== to)
        .map((one, i): Succession => ({ ...one, term: i + 2, undoes: one.kind === 'return' ? i + 1 : null })),
    );
  const question = fc.record({ home: name, term: fc.integer({ min: 1, max: 10 }) });
  fc.assert(
    fc.property(history, fc.array(question, { maxLength: 10 }), fc.nat(8), (all, questions, cut) => {
      const known = newSuccessions();
      for (const part of [all.slice(0, cut), all]) {
        learn(known, part, 1);
        for (const each of questions) expect(presentHome(known, each)).toBe(resolveHome(known.history, each));
      }
    }),
    { seed: 11, numRuns: 300 },
  );
});
