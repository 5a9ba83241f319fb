import { expect, test } from 'vitest';
import { baselineOf, compareReports, judgeIncoming, judgeOutgoing, judgeStreams } from './judge.ts';
import type { IncomingStream, OutgoingStream, StreamsReport } from './read.ts';

const incoming: IncomingStream = {
  publisher: 'ny',
  stream: 'homed',
  subscription: {
    name: 'lanekeeper_ny_homed',
    enabled: true,
    origin: 'none',
    synchronousCommit: 'local',
    disableOnError: false,
    binary: false,
    streaming: 'on',
    publications: ['lanekeeper_homed'],
    slot: 'lanekeeper_la_homed',
    skipLsn: null,
    tables: ['lanekeeper.deed', 'public.orders'],
    notReady: [],
  },
  running: true,
  receivedLsn: '0/1',
  appliedLsn: '0/1',
  silentMs: 5,
  blockedMs: 40,
  applyErrors: 0,
  syncErrors: 0,
  conflicts: { insert_exists: 0, update_origin_differs: 9 },
};

const outgoing: OutgoingStream = {
  subscriber: 'ny',
  stream: 'homed',
  slot: 'lanekeeper_ny_homed',
  exists: true,
  active: true,
  walStatus: 'reserved',
  confirmedLsn: '0/1',
  lagBytes: 10,
  retainedBytes: 10,
  spareBytes: 1000,
  lagMs: null,
};

const report = (dataCenter: string, change: Partial<StreamsReport> = {}): StreamsReport => ({
  dataCenter,
  incoming: [],
  outgoing: [],
  published: { homed: ['lanekeeper.deed', 'public.orders'], rest: [] },
  tables: { 'public.orders': 'h1' },
  version: '000004.sql x',
  undeclared: [],
  unfenced: [],
  positionLsn: '0/1',
  ...change,
});

const codes = (problems: readonly { readonly code: string }[]) => problems.map(({ code }) => code);

test('a stream that is well has no problems; a row last written elsewhere is none', () => {
  expect(judgeIncoming(incoming)).toEqual([]);
  expect(judgeOutgoing(outgoing, 100)).toEqual([]);
});

const subscription = incoming.subscription!;

test.each<[string, Partial<IncomingStream>]>([
  ['no-subscription', { subscription: null }],
  ['disabled', { subscription: { ...subscription, enabled: false }, running: false }],
  ['not-running', { running: false }],
  ['skipping', { subscription: { ...subscription, skipLsn: '0/5' } }],
  ['table-not-ready', { subscription: { ...subscription, notReady: [{ table: 'public.orders', state: 'd' }] } }],
  ['blocked', { blockedMs: 2001 }],
  ['apply-errors', { applyErrors: 1 }],
  ['apply-errors', { syncErrors: 1 }],
  ['conflicts', { conflicts: { update_missing: 1 } }],
])('incoming: %s', (code, change) => {
  expect(codes(judgeIncoming({ ...incoming, ...change }))).toEqual([code]);
});

test.each<[string, Partial<OutgoingStream>]>([
  ['no-slot', { exists: false }],
  ['slot-lost', { walStatus: 'lost', active: false }],
  ['slot-at-risk', { walStatus: 'unreserved' }],
  ['slot-at-risk', { walStatus: 'extended', retainedBytes: 51, spareBytes: 49 }],
  ['slot-inactive', { active: false }],
  ['lagging', { lagBytes: 101 }],
])('outgoing: %s', (code, change) => {
  expect(codes(judgeOutgoing({ ...outgoing, ...change }, 100))).toEqual([code]);
});

test('what was counted before does not count', () => {
  const worn = { ...incoming, applyErrors: 4, conflicts: { delete_missing: 2 } };
  const since = baselineOf(worn);
  expect(judgeIncoming(worn, since)).toEqual([]);
  expect(codes(judgeIncoming({ ...worn, applyErrors: 5 }, since))).toEqual(['apply-errors']);
  expect(codes(judgeIncoming({ ...worn, conflicts: { delete_missing: 3 } }, since))).toEqual(['conflicts']);
});

test('only together: a table missing from the subscription, another shape, another version, no publication', () => {
  const here = report('la', { incoming: [incoming] });
  expect(compareReports(here, report('ny'))).toEqual([]);
  const published = { homed: ['lanekeeper.deed', 'public.orders', 'public.new'], rest: [] };
  expect(codes(compareReports(here, report('ny', { published })))).toEqual(['table-not-subscribed']);
  expect(codes(compareReports(here, report('ny', { published: { homed: null, rest: null } })))).toEqual([
    'no-publication',
  ]);
  expect(codes(compareReports(here, report('ny', { tables: { 'public.orders': 'h2' } })))).toEqual(['schema-differs']);
  expect(codes(compareReports(here, report('ny', { tables: {} })))).toEqual(['schema-differs']);
  expect(codes(compareReports(here, report('ny', { version: null })))).toEqual(['version-differs']);
  const shared = { homed: [], tables: { 'public.orders': 'h2' } };
  expect(codes(compareReports({ ...here, homed: [] }, report('ny', shared)))).toEqual(['shared-schema-differs']);
  const strict = { constraints: { 'public.orders': 'c1' } };
  const lax = { constraints: { 'public.orders': 'c2' } };
  expect(codes(compareReports({ ...here, ...strict }, report('ny', lax)))).toEqual(['constraints-differ']);
  // An older agent says nothing about it.
  expect(codes(compareReports({ ...here, ...strict }, report('ny')))).toEqual([]);
  // What another data center publishes is not this one's to compare.
  expect(compareReports(here, report('fra', { published }))).toEqual([]);
});

test('everything at once, also without the peer', () => {
  const here = report('la', {
    incoming: [incoming],
    outgoing: [outgoing],
    undeclared: ['public.stray'],
    unfenced: ['public.late'],
  });
  expect(codes(judgeStreams(here, null, { lagBytesMax: 100 }))).toEqual(['undeclared-table', 'unfenced-table']);
});
