/**
 * Faults of packets: the kernel drops and narrows them, so that TCP itself has to cope, which the lab's links cannot show.
 * Only in a network namespace of the drill's own, with everything in it on loopback: nftables finds the packets between two
 * data centers by the ports on which the links listen for them. With the namespace all of it is gone.
 */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import type { Arena } from './arena.ts';
import { bend } from './arena.ts';
import { type Fault, unnoticed } from './fault.ts';

const table = 'inet lanekeeper_drill';

async function run(command: string, ...args: readonly string[]): Promise<void> {
  await promisify(execFile)(command, [...args], { timeout: 10_000 });
}

/** Ports on which the links listen for those in `from` who want to reach `to`: towards them is there, from them is back. */
async function portsBetween(arena: Arena, from: string, to: string): Promise<readonly number[]> {
  const { routes } = await arena.links.state();
  return routes.filter((route) => route.from === from && route.to === to).map(({ listen }) => listen.port);
}

/** `there`: packets from `a` to `b`, whoever opened the connection; `back`: the other way. */
async function matches(
  arena: Arena,
  a: string,
  b: string,
): Promise<{ readonly there: readonly string[]; readonly back: readonly string[] }> {
  const set = (ports: readonly number[]): string => `{ ${ports.join(', ')} }`;
  const [opened, accepted] = [await portsBetween(arena, a, b), await portsBetween(arena, b, a)];
  return {
    there: [`tcp dport ${set(opened)}`, `tcp sport ${set(accepted)}`],
    back: [`tcp sport ${set(opened)}`, `tcp dport ${set(accepted)}`],
  };
}

/** Rules for every packet on loopback, where it arrives (`input`) or leaves (`output`). */
async function filter(
  arena: Arena,
  hook: 'filter hook input' | 'route hook output',
  rules: readonly string[],
): Promise<void> {
  arena.undo(() => run('nft', `add table ${table} ; delete table ${table}`));
  const chain = `${table} packets`;
  const lines = [
    `add table ${table}`,
    `add chain ${chain} { type ${hook} priority 0 ; }`,
    ...rules.map((rule) => `add rule ${chain} ${rule}`),
  ];
  await run('nft', lines.join(' ; '));
}

export const packetFaults: readonly Fault[] = [
  {
    name: 'packets-lost',
    group: 'links',
    description: '3 % of all packets between the data centers are lost, which are 150 ms apart',
    holdMs: 12_000,
    needs: { packets: true },
    expectation: unnoticed('everything goes on, slower where it goes from one to the other'),
    async inject(arena) {
      await bend(arena, arena.at, arena.other, { delayMs: 75 });
      const { there, back } = await matches(arena, arena.at, arena.other);
      await filter(
        arena,
        'filter hook input',
        [...there, ...back].map((match) => `${match} numgen random mod 100 < 3 drop`),
      );
    },
  },
  {
    name: 'packets-one-way',
    group: 'links',
    description:
      'packets to the other data center vanish, packets from there arrive; acknowledgements vanish with them',
    holdMs: 10_000,
    needs: { packets: true },
    expectation: {
      text: 'both go on with their own accounts; nobody takes over',
      writesAgainMs: 12_000,
      after: 'fault',
      othersPauseMs: 6_000,
    },
    async inject(arena) {
      const { there } = await matches(arena, arena.at, arena.other);
      await filter(
        arena,
        'filter hook input',
        there.map((match) => `${match} drop`),
      );
    },
  },
  {
    name: 'link-half-open',
    group: 'links',
    description: 'packets vanish both ways without a word: connections look open at both ends and are dead',
    holdMs: 14_000,
    needs: { packets: true },
    expectation: {
      text: 'timeouts find it out; both go on with their own accounts; nobody takes over',
      writesAgainMs: 12_000,
      after: 'fault',
      othersPauseMs: 6_000,
    },
    async inject(arena) {
      const { there, back } = await matches(arena, arena.at, arena.other);
      await filter(
        arena,
        'filter hook input',
        [...there, ...back].map((match) => `${match} drop`),
      );
    },
  },
  {
    name: 'packets-narrow',
    group: 'links',
    description: '1 Mbit/s for all packets between the data centers, by the kernel (tc)',
    holdMs: 12_000,
    needs: { packets: true },
    expectation: unnoticed('everything goes on; what must travel queues and arrives in the end'),
    async inject(arena) {
      const { there, back } = await matches(arena, arena.at, arena.other);
      arena.undo(() => run('tc', 'qdisc', 'del', 'dev', 'lo', 'root'));
      await run('tc', 'qdisc', 'add', 'dev', 'lo', 'root', 'handle', '1:', 'htb', 'default', '1');
      await run('tc', 'class', 'add', 'dev', 'lo', 'parent', '1:', 'classid', '1:1', 'htb', 'rate', '10gbit');
      await run('tc', 'class', 'add', 'dev', 'lo', 'parent', '1:', 'classid', '1:10', 'htb', 'rate', '1mbit');
      // The class is chosen where packets leave, by their priority.
      await filter(
        arena,
        'route hook output',
        [...there, ...back].map((match) => `${match} meta priority set 1:10`),
      );
    },
  },
];
