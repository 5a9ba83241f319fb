import { expect, test } from 'vitest';
import { parseMessage } from './control.ts';

test('messages of the database are understood', () => {
  const drain = { kind: 'drain', move: 42, account: 'a1', to: 'la', untilMs: 1 };
  const deed = { kind: 'deed', account: 'a1', home: 'la', term: 1, counter: 3 };
  expect(parseMessage(JSON.stringify(drain))).toEqual(drain);
  expect(parseMessage('{"kind":"undrain","move":42,"account":"a1"}')).toEqual({
    kind: 'undrain',
    move: 42,
    account: 'a1',
  });
  const succession = { kind: 'succession', term: 2, from: 'ny', to: 'la', how: 'take' };
  expect(parseMessage(JSON.stringify({ ...succession, later: true }))).toEqual(succession);
  expect(parseMessage(JSON.stringify({ ...deed, giver: 'ny', later: true }))).toEqual(deed);
});

test('anything else is ignored', () => {
  for (const payload of [
    '',
    '{',
    '[]',
    'null',
    '{"kind":"drain"}',
    '{"kind":"hello","nonce":"x"}',
    '{"kind":"deed","account":7,"home":"la","term":1,"counter":1}',
    '{"kind":"succession","term":2,"from":"ny","to":"la","how":"rob"}',
    '{"kind":"succession","term":"2","from":"ny","to":"la","how":"take"}',
    '{"kind":"drain","account":"a","move":"42","to":"la","untilMs":1}',
  ])
    expect(parseMessage(payload)).toBeNull();
});
