/** Faults of processes: killed, crashed, frozen. */
import { freeze, sql, turn } from './arena.ts';
import type { Fault } from './fault.ts';

export const processFaults: readonly Fault[] = [
  {
    name: 'agent-killed',
    group: 'processes',
    description: 'kill -9 of the agent; it is started again at once',
    holdMs: 4_000,
    expectation: {
      text: 'nobody notices: the new agent takes the lease over from the old one',
      writesAgainMs: 5_000,
      after: 'fault',
      othersPauseMs: 3_000,
    },
    inject: (arena) => turn(arena, arena.at, 'agent', 'crash'),
  },
  {
    name: 'edge-killed',
    group: 'processes',
    description: 'kill -9 of the edge with requests in it; it is started again at once',
    holdMs: 4_000,
    expectation: {
      text: 'customers turn to the other edge; what was under way is repeated under its request id, once',
      writesAgainMs: 5_000,
      after: 'fault',
      othersPauseMs: 3_000,
    },
    inject: (arena) => turn(arena, arena.at, 'edge', 'crash'),
  },
  {
    name: 'apply-worker-killed',
    group: 'processes',
    description: 'the apply workers are ended (SIGTERM, as by an administrator), twice',
    holdMs: 4_000,
    expectation: {
      text: 'nobody notices: they are started again and go on where they were',
      writesAgainMs: 5_000,
      after: 'fault',
      othersPauseMs: 3_000,
    },
    async inject(arena) {
      for (let round = 0; round < 2; round += 1) {
        await sql(
          arena,
          arena.at,
          "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'logical replication apply worker'",
        );
        await arena.pause(1_000);
      }
    },
  },
  {
    name: 'walsender-frozen',
    group: 'processes',
    description: 'SIGSTOP of the walsenders that feed the other data center, longer than their timeout',
    holdMs: 12_000,
    expectation: {
      text: 'writes go on; what the other data center misses arrives afterwards',
      writesAgainMs: 6_000,
      after: 'fault',
      othersPauseMs: 6_000,
    },
    async inject(arena) {
      const rows = await sql<{ pid: number }>(
        arena,
        arena.at,
        'SELECT r.pid FROM pg_stat_replication r JOIN pg_replication_slots s ON s.active_pid = r.pid WHERE s.slot_type = $1',
        ['logical'],
      );
      freeze(
        arena,
        rows.map(({ pid }) => pid),
      );
      arena.note(`${rows.length} walsenders are frozen`);
    },
  },
];
