/** Faults of processes: killed, crashed, frozen. */
import { freeze, killAll, pidOf, signalAll, sql, turn, until, wholeDataCenter } from './arena.ts';
import {
  backAfterTakeoverMs,
  type Expectation,
  type Fault,
  longerThanLeaseMs,
  takeoverExpectation,
  unnoticed,
} from './fault.ts';

const broken: Expectation = {
  text: 'its lease is given up at once, and the other data center or this one itself takes writes again soon; what was under way is unknown or refused, never wrong',
  writesAgainMs: backAfterTakeoverMs,
  after: 'fault',
  othersPauseMs: 6_000,
};

export const processFaults: readonly Fault[] = [
  {
    name: 'agent-killed',
    group: 'processes',
    description: 'kill -9 of the agent; it is started again at once',
    holdMs: 4_000,
    expectation: unnoticed('nobody notices: the new agent takes the lease over from the old one'),
    inject: (arena) => turn(arena, arena.at, 'agent', 'crash'),
  },
  {
    name: 'agent-frozen',
    group: 'processes',
    description: 'SIGSTOP of the agent for longer than its lease',
    holdMs: longerThanLeaseMs,
    takesOver: true,
    expectation: takeoverExpectation(
      'the fence stops this data center when the lease runs out, and the other one takes over',
    ),
    async inject(arena) {
      freeze(arena, [await pidOf(arena, arena.at, 'agent')]);
    },
  },
  {
    name: 'edge-killed',
    group: 'processes',
    description: 'kill -9 of the edge with requests in it; it is started again at once',
    holdMs: 4_000,
    expectation: unnoticed(
      'customers turn to the other edge; what was under way is repeated under its request id, once',
    ),
    inject: (arena) => turn(arena, arena.at, 'edge', 'crash'),
  },
  {
    name: 'application-killed',
    group: 'processes',
    description: 'kill -9 of an instance of the application with requests in it; it is started again at once',
    holdMs: 4_000,
    expectation: unnoticed('the edge turns to the other instance; what was under way is unknown and repeated, once'),
    inject: (arena) => turn(arena, arena.at, 'app-1', 'crash'),
  },
  {
    name: 'apply-worker-killed',
    group: 'processes',
    description: 'the apply workers are ended (SIGTERM, as by an administrator), twice',
    holdMs: 4_000,
    expectation: unnoticed('nobody notices: they are started again and go on where they were'),
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
    description: 'SIGSTOP of the walsenders that feed the other data center, for longer than their timeout',
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
        "SELECT r.pid FROM pg_stat_replication r JOIN pg_replication_slots s ON s.active_pid = r.pid WHERE s.plugin = 'pgoutput'",
      );
      const pids = rows.map(({ pid }) => pid);
      freeze(arena, pids);
      arena.note(`${pids.length} walsenders are frozen`);
    },
  },
  {
    name: 'backend-frozen',
    group: 'processes',
    description: 'SIGSTOP of one backend of the application, in a transaction where one is found',
    holdMs: 8_000,
    expectation: {
      text: 'requests on that connection wait, and those of the account whose rows it has locked, until it wakes up; all others go on',
      writesAgainMs: 10_000,
      after: 'heal',
      othersPauseMs: 4_000,
    },
    async inject(arena) {
      const found = await oneBackend(
        arena,
        "state = 'idle in transaction' OR (state = 'active' AND xact_start IS NOT NULL)",
      );
      freeze(arena, [found]);
    },
  },
  {
    name: 'backend-killed-in-commit',
    group: 'processes',
    description: 'kill -9 of a backend while it commits, which makes PostgreSQL recover from a crash',
    holdMs: 8_000,
    takesOver: true,
    expectation: broken,
    async inject(arena) {
      signalAll([await oneBackend(arena, "state = 'active' AND query ~* '^commit'")], 'SIGKILL');
    },
  },
  {
    name: 'postgres-crashed',
    group: 'processes',
    description:
      'kill -9 of the postmaster and all backends, under load, some waiting for their commit; it is started again after a second',
    holdMs: 8_000,
    takesOver: true,
    expectation: broken,
    inject: (arena) => turn(arena, arena.at, 'postgres', 'crash'),
  },
  {
    name: 'postgres-stopped',
    group: 'processes',
    description: 'PostgreSQL is stopped in order and stays down',
    holdMs: 10_000,
    takesOver: true,
    expectation: broken,
    async inject(arena) {
      arena.undo(() => turn(arena, arena.at, 'postgres', 'start'));
      await turn(arena, arena.at, 'postgres', 'stop');
    },
  },
  {
    name: 'dc-frozen',
    group: 'processes',
    description: 'SIGSTOP of everything in a data center for longer than its lease; it wakes up and does not know',
    holdMs: longerThanLeaseMs,
    takesOver: true,
    expectation: takeoverExpectation('the other data center takes over; the one that wakes up writes nothing any more'),
    async inject(arena) {
      // PostgreSQL's processes start others now and then: look twice.
      const first = await wholeDataCenter(arena, arena.at);
      freeze(arena, first);
      freeze(
        arena,
        (await wholeDataCenter(arena, arena.at)).filter((pid) => !first.includes(pid)),
      );
      arena.note(`${first.length} processes are frozen`);
    },
  },
  {
    name: 'dc-killed',
    group: 'processes',
    description: 'kill -9 of everything in a data center; it comes back later',
    holdMs: longerThanLeaseMs,
    takesOver: true,
    expectation: takeoverExpectation('the other data center takes over; the one that comes back rejoins'),
    inject: killAll,
  },
  {
    name: 'etcd-leader-killed',
    group: 'processes',
    description: 'kill -9 of the etcd member that leads; it is started again at once',
    holdMs: 6_000,
    needs: { etcd: true },
    expectation: unnoticed('the other members elect another one before a lease runs out; nobody notices'),
    async inject(arena) {
      await turn(arena, 'witness', await leadingMember(arena), 'crash');
    },
  },
  {
    name: 'etcd-leader-frozen',
    group: 'processes',
    description: 'SIGSTOP of the etcd member that leads, for longer than a lease; it wakes up and believes to lead',
    holdMs: longerThanLeaseMs,
    needs: { etcd: true },
    expectation: {
      ...unnoticed('agents turn to the other members, who elect another one; nobody is taken over'),
      writesAgainMs: 9_000,
      othersPauseMs: 6_000,
    },
    async inject(arena) {
      const name = await leadingMember(arena);
      freeze(arena, [await pidOf(arena, 'witness', name)]);
      arena.note(`${name} is frozen`);
    },
  },
  {
    name: 'etcd-majority-lost',
    group: 'processes',
    description: 'kill -9 of two of the three etcd members, for longer than a lease; they come back',
    holdMs: longerThanLeaseMs,
    needs: { etcd: true },
    expectation: {
      text: 'both stop writing when their leases run out; both write again when there is a majority, and nobody has taken over',
      writesAgainMs: 15_000,
      after: 'heal',
      othersPauseMs: null,
      why: 'no data center can write without the lease store',
    },
    async inject(arena) {
      const members = ['etcd-1', 'etcd-2'];
      arena.undo(() => Promise.all(members.map((name) => turn(arena, 'witness', name, 'start'))));
      await Promise.all(members.map((name) => turn(arena, 'witness', name, 'kill')));
    },
  },
];

/** By etcd's own word, asked directly. */
async function leadingMember(arena: Parameters<Fault['inject']>[0]): Promise<string> {
  for (const [index, endpoint] of arena.lab.witness.endpoints.entries()) {
    const response = await fetch(new URL('/v3/maintenance/status', endpoint), {
      method: 'POST',
      body: '{}',
      signal: AbortSignal.timeout(3_000),
    });
    const status = (await response.json()) as { leader?: string; header?: { member_id?: string } };
    if (status.leader !== undefined && status.leader === status.header?.member_id) return `etcd-${index + 1}`;
  }
  throw new Error('no member of the etcd leads');
}

/** A backend of the application's that is as described; any of them when none is found within five seconds. */
export async function oneBackend(arena: Parameters<Fault['inject']>[0], condition: string): Promise<number> {
  const select = (where: string): string =>
    `SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' AND usename = 'lanekeeper_application' AND (${where}) LIMIT 1`;
  let found: number | null = null;
  await until(arena, 5_000, async () => {
    // A look every few milliseconds, in the database itself: a commit does not last.
    const [row] = await sql<{ pid: number | null }>(
      arena,
      arena.at,
      `CREATE OR REPLACE FUNCTION pg_temp.look() RETURNS integer LANGUAGE plpgsql AS $look$
       DECLARE found integer;
       BEGIN
         FOR i IN 1..300 LOOP
           PERFORM pg_stat_clear_snapshot();
           ${select(condition).replace('SELECT pid', 'SELECT pid INTO found')};
           IF found IS NOT NULL THEN RETURN found; END IF;
           PERFORM pg_sleep(0.003);
         END LOOP;
         RETURN NULL;
       END $look$;
       SELECT pg_temp.look() AS pid`,
    );
    found = row?.pid ?? null;
    return found !== null;
  });
  if (found !== null) return found;
  arena.note('no backend was found in that state: another one is taken');
  const [row] = await sql<{ pid: number }>(arena, arena.at, select('true'));
  if (row === undefined) throw new Error(`the application has no connection in ${arena.at}`);
  return row.pid;
}
