import { expect, test } from 'vitest';
import { type Call, follow, type Happening, type Journey, type Next, setOut } from './follow.ts';

const call: Call = { safe: true, dataCenters: ['ny', 'la'], backends: { ny: 2, la: 2 }, holdMs: 1_000 };
const write: Call = { ...call, safe: false };

/** What is done after each of these in turn; a wait advances the clock. */
function run(of: Call, first: string, happenings: readonly Happening[], startMs = 0): { next: Next; sentTo: string[] } {
  let journey: Journey = setOut(first);
  let nowMs = startMs;
  const sentTo = [first];
  let next: Next = { kind: 'send', journey };
  for (const happened of happenings) {
    next = follow(of, journey, happened, nowMs);
    if (next.kind === 'done' || next.kind === 'fail') break;
    if (next.kind === 'wait') nowMs += next.forMs;
    journey = next.journey;
    sentTo.push(journey.dataCenter);
  }
  return { next, sentTo };
}

test('an answer is an answer', () => {
  expect(run(write, 'ny', [{ kind: 'answered' }]).next).toEqual({ kind: 'done' });
});

test('what was not sent is sent to another backend, then to another data center', () => {
  const gone: Happening = { kind: 'unreachable' };
  expect(run(write, 'la', [gone, gone, { kind: 'answered' }])).toEqual({
    next: { kind: 'done' },
    sentTo: ['la', 'la', 'ny'],
  });
});

test('what may have been done is not done twice; a read is tried once more', () => {
  expect(run(write, 'ny', [{ kind: 'broken' }]).next).toEqual({ kind: 'fail', code: 'LK_NO_ANSWER', home: 'ny' });
  expect(run(call, 'ny', [{ kind: 'broken' }, { kind: 'answered' }]).next).toEqual({ kind: 'done' });
  expect(run(call, 'ny', [{ kind: 'broken' }, { kind: 'broken' }]).next).toMatchObject({ code: 'LK_NO_ANSWER' });
  for (const one of [call, write])
    expect(run(one, 'ny', [{ kind: 'late' }]).next).toMatchObject({ code: 'LK_LATE_ANSWER' });
});

test('a backend that did nothing says where it belongs, and is followed, but not in circles', () => {
  const toLa: Happening = { kind: 'replay', to: 'la' };
  const toNy: Happening = { kind: 'replay', to: 'ny' };
  expect(run(write, 'ny', [toLa, { kind: 'answered' }])).toEqual({ next: { kind: 'done' }, sentTo: ['ny', 'la'] });
  expect(run(write, 'ny', [toNy]).next).toEqual({ kind: 'fail', code: 'LK_LOOP', home: 'ny' });
  expect(run(write, 'ny', [toLa, toNy, toLa, toNy]).next).toMatchObject({ kind: 'fail', code: 'LK_LOOP' });
  expect(run(write, 'ny', [{ kind: 'replay', to: 'fra' }]).next).toEqual({
    kind: 'fail',
    code: 'LK_HOME_UNREACHABLE',
    home: 'fra',
  });
});

test('a home that is gone is waited for, while the others name it; its successor does the work', () => {
  const gone: Happening = { kind: 'unreachable' };
  const toNy: Happening = { kind: 'replay', to: 'ny' };
  const round = [gone, gone, toNy];
  expect(run(write, 'ny', [...round, ...round, gone, gone, { kind: 'answered' }])).toEqual({
    next: { kind: 'done' },
    sentTo: ['ny', 'ny', 'la', 'ny', 'ny', 'la', 'ny', 'ny', 'la'],
  });
  const never = run(
    write,
    'ny',
    Array.from({ length: 30 }, (_, index) => round[index % 3] as Happening),
  );
  expect(never.next).toEqual({ kind: 'fail', code: 'LK_HOME_UNREACHABLE', home: 'ny' });
  expect(run({ ...write, holdMs: 0 }, 'ny', round).next).toMatchObject({ code: 'LK_HOME_UNREACHABLE' });
});

test('nobody anywhere', () => {
  const gone: Happening = { kind: 'unreachable' };
  const ends = run(
    call,
    'ny',
    Array.from({ length: 40 }, () => gone),
  );
  expect(ends.next).toEqual({ kind: 'fail', code: 'LK_NO_APPLICATION', home: null });
});
