import { describe, expect, it } from 'vitest';
import type { StreamsReport } from '../postgres/index.ts';
import { gateReasons } from './gate-reasons.ts';

type Incoming = StreamsReport['incoming'][number];
type Outgoing = StreamsReport['outgoing'][number];

const subscription = {
  name: 'lanekeeper_la_homed',
  enabled: true,
  origin: 'none',
  synchronousCommit: 'local',
  disableOnError: false,
  binary: false,
  streaming: 'parallel',
  publications: ['lanekeeper_homed'],
  slot: 'lanekeeper_ny_homed',
  skipLsn: null,
  tables: ['public.accounts'],
  notReady: [],
} as const;
const incoming: Incoming = {
  publisher: 'la',
  stream: 'homed',
  subscription,
  running: true,
  receivedLsn: '0/1',
  appliedLsn: '0/1',
  silentMs: 10,
  blockedMs: null,
  applyErrors: 0,
  syncErrors: 0,
  conflicts: {},
};
const outgoing: Outgoing = {
  subscriber: 'la',
  stream: 'homed',
  slot: 'lanekeeper_la_homed',
  exists: true,
  active: true,
  walStatus: 'reserved',
  confirmedLsn: '0/1',
  lagBytes: 0,
  retainedBytes: 0,
  spareBytes: null,
  lagMs: null,
};
const report = (dataCenter: string): StreamsReport => ({
  dataCenter,
  incoming: [],
  outgoing: [],
  published: { homed: ['public.accounts'], rest: [] },
  tables: { 'public.accounts': 'h1' },
  version: '3',
  undeclared: [],
  unfenced: [],
  positionLsn: '0/1',
});

type Seen = {
  in?: Partial<Incoming>;
  out?: Partial<Outgoing>;
  there?: Partial<StreamsReport> | null;
  unanswered?: number;
  incomplete?: string[];
};

function codes({ in: changedIn = {}, out = {}, there = {}, unanswered = 0, incomplete = [] }: Seen): string[] {
  const rest = { ...incoming, stream: 'rest' as const, running: false };
  const here = {
    ...report('ny'),
    incoming: [{ ...incoming, ...changedIn }, rest],
    outgoing: [
      { ...outgoing, ...out },
      { ...outgoing, stream: 'rest' as const, lagBytes: 1e9 },
    ],
    undeclared: ['public.stray'],
  };
  const peer = there === null ? null : { ...report('la'), ...there };
  const reasons = gateReasons({ peer: 'la', here, there: peer, unanswered, incomplete, lagMs: 5000, lagBytes: 1000 });
  return reasons.map(({ code }) => code);
}

describe('the gate', () => {
  it('is open when the homed stream is well both ways, whatever the other one does', () => {
    expect(codes({})).toEqual([]);
  });

  it.each<[string, Seen, string[]]>([
    ['a subscription that is off', { in: { subscription: { ...subscription, enabled: false } } }, ['not-streaming']],
    ['no worker', { in: { running: false } }, ['not-streaming']],
    ['no subscription', { in: { subscription: null } }, ['not-streaming']],
    ['a slot that nobody reads', { out: { active: false } }, ['not-streaming']],
    ['a worker that a lock keeps', { in: { blockedMs: 5000 } }, ['lagging']],
    ['a lost slot', { out: { walStatus: 'lost' } }, ['not-streaming']],
    ['a peer that is behind by bytes', { out: { lagBytes: 1001 } }, ['lagging']],
    ['a peer that is behind by time', { out: { lagMs: 5001 } }, ['lagging']],
    [
      'a table that is being copied',
      { in: { subscription: { ...subscription, notReady: [{ table: 'public.accounts', state: 'd' }] } } },
      ['table-not-ready'],
    ],
    [
      'a table that is published and not subscribed to',
      { there: { published: { homed: ['public.accounts', 'public.new'], rest: [] } } },
      ['table-not-subscribed'],
    ],
    ['a skip that is waiting', { in: { subscription: { ...subscription, skipLsn: '0/5' } } }, ['new-conflicts']],
    ['conflicts without an answer', { unanswered: 2 }, ['new-conflicts']],
    ['a table that is different there', { there: { tables: { 'public.accounts': 'h2' } } }, ['schema-differs']],
    ['a table that is missing there', { there: { tables: {} } }, ['schema-differs']],
    ['another version of our schema', { there: { version: '4' } }, ['version-differs']],
    ['a peer that may lack some of it', { incomplete: ['a table is not subscribed to'] }, ['peer-incomplete']],
    ['the same, when it is gone', { there: null, incomplete: ['a gap'] }, ['peer-not-observed', 'peer-incomplete']],
    ['a peer whose agent does not answer', { there: null }, ['peer-not-observed']],
  ])('is closed by %s', (_, seen, expected) => {
    expect(codes(seen)).toEqual(expected);
  });

  it('is not closed by errors that were tried again, nor by conflicts that were answered for', () => {
    expect(codes({ in: { applyErrors: 7, conflicts: { update_missing: 3 } } })).toEqual([]);
  });
});
