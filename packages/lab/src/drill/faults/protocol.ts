/** Faults in the middle of the protocol: moves under load, answers that get lost, old data centers that come back. */
import { type Arena, bend, freeze, killAll, pidOf, sql, turn } from './arena.ts';
import { type Expectation, type Fault, longerThanLeaseMs, takeoverExpectation } from './fault.ts';
import { keepMoving, termIn } from './moving.ts';

/** When the fault came, for those that must not be followed by a takeover. */
const termsBefore = new WeakMap<Arena, number>();

const everybodyMoves: Expectation = {
  text: 'customers wait for a moment while their account moves; nothing is done twice or in two places',
  writesAgainMs: 12_000,
  after: 'fault',
  othersPauseMs: null,
  why: 'accounts of both data centers are moved',
};

export const protocolFaults: readonly Fault[] = [
  {
    name: 'moves-under-load',
    group: 'protocol',
    description: 'accounts in use are moved to and fro, as fast as agents do it',
    holdMs: 8_000,
    expectation: everybodyMoves,
    inject: (arena) => keepMoving(arena, 8_000, 4),
  },
  {
    name: 'mover-killed',
    group: 'protocol',
    description: 'accounts are moved to and fro while the agents of both data centers are killed in turn',
    holdMs: 12_000,
    expectation: {
      ...everybodyMoves,
      text: 'no account stays without a home for longer than agents take to come back',
      writesAgainMs: 25_000,
    },
    async inject(arena) {
      const moving = keepMoving(arena, 12_000, 4, 2_000);
      for (let round = 0; round < 4; round += 1) {
        await arena.pause(1_500 + arena.random() * 1_500);
        await turn(arena, round % 2 === 0 ? arena.at : arena.other, 'agent', 'crash');
      }
      await moving;
    },
  },
  {
    name: 'move-across-cut',
    group: 'protocol',
    description: 'the link is cut in the middle of moves, and healed',
    holdMs: 10_000,
    expectation: {
      ...everybodyMoves,
      text: 'moves that were not given are taken back; given ones end when the link is healed',
      after: 'heal',
      writesAgainMs: 15_000,
    },
    async inject(arena) {
      const moving = keepMoving(arena, 8_000, 4, 2_000);
      await arena.pause(1_000 + arena.random() * 1_000);
      await bend(arena, arena.at, arena.other, { mode: 'cut' });
      await moving;
    },
  },
  {
    name: 'commit-reply-lost',
    group: 'protocol',
    description: 'connections of the application are ended in the middle of COMMIT, again and again',
    holdMs: 6_000,
    expectation: {
      text: 'customers are told that the outcome is unknown and ask once more: one request id, one order',
      writesAgainMs: 10_000,
      after: 'fault',
      othersPauseMs: 3_000,
    },
    async inject(arena) {
      const endMs = performance.now() + 5_000;
      let ended = 0;
      while (performance.now() < endMs && !arena.aborted()) {
        const [row] = await sql<{ ended: number }>(
          arena,
          arena.at,
          `CREATE OR REPLACE FUNCTION pg_temp.end_commits() RETURNS integer LANGUAGE plpgsql AS $end$
           DECLARE ended integer := 0; n integer;
           BEGIN
             FOR i IN 1..150 LOOP
               PERFORM pg_stat_clear_snapshot();
               SELECT count(pg_terminate_backend(pid)) INTO n FROM pg_stat_activity
                WHERE usename = 'lanekeeper_application' AND state = 'active' AND query ~* '^commit';
               ended := ended + n;
               PERFORM pg_sleep(0.003);
             END LOOP;
             RETURN ended;
           END $end$;
           SELECT pg_temp.end_commits() AS ended`,
        );
        ended += row?.ended ?? 0;
      }
      arena.note(`${ended} connections were ended in COMMIT`);
    },
  },
  {
    name: 'old-dc-returns',
    group: 'protocol',
    description: 'a data center dies with writes that nobody else has, is taken over, and comes back with them',
    holdMs: longerThanLeaseMs + 2_000,
    takesOver: true,
    expectation: takeoverExpectation(
      'what it had acknowledged as local and not sent is in the stranded ledger, once; everything else is where it was',
    ),
    async inject(arena) {
      await bend(arena, arena.at, arena.other, { mode: 'cut' });
      await arena.pause(1_500);
      await killAll(arena);
      arena.note('killed, with writes that were not sent');
    },
  },
  {
    name: 'dies-alone',
    group: 'protocol',
    description: 'a data center goes on alone behind a cut link, dies, and comes back',
    holdMs: longerThanLeaseMs + 4_000,
    expectation: {
      text: 'nobody takes over by himself what it alone holds; its customers are served again when it is back',
      writesAgainMs: 15_000,
      after: 'heal',
      othersPauseMs: 6_000,
    },
    async inject(arena) {
      termsBefore.set(arena, await termIn(arena, arena.other));
      const heal = await bend(arena, arena.at, arena.other, { mode: 'cut' });
      // Longer than a peer is waited for: from then on writes are acknowledged as local.
      await arena.pause(4_000);
      await killAll(arena);
      await heal();
      arena.note('killed; the link is whole again');
    },
    async inspect(arena) {
      const risen = (await termIn(arena, arena.other)) > (termsBefore.get(arena) ?? 0);
      return risen ? [`${arena.other} took over what only ${arena.at} had`] : [];
    },
  },
  {
    name: 'two-takeovers',
    group: 'protocol',
    description:
      'both agents sleep longer than their leases and wake up at the same moment, each seeing the other gone',
    holdMs: 10_000,
    takesOver: true,
    expectation: {
      text: 'at most one of them takes over the other; customers write again soon after',
      writesAgainMs: 15_000,
      after: 'heal',
      othersPauseMs: null,
      why: 'both data centers lose their lease',
    },
    async inject(arena) {
      freeze(arena, [await pidOf(arena, arena.at, 'agent'), await pidOf(arena, arena.other, 'agent')]);
    },
  },
];
