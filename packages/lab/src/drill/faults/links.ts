/** Faults of links, brought about by the lab's links: they work on connections, not on packets (see `packets.ts`). */
import { bend } from './arena.ts';
import { type Expectation, type Fault, longerThanLeaseMs, takeoverExpectation, unnoticed } from './fault.ts';

const witness = 'witness';

/** Both go on with their own accounts; whoever is at the wrong edge is led to the other one, and a lost peer is left behind. */
const apart: Expectation = {
  text: 'both go on with their own accounts; customers at the wrong edge are sent to the home itself; nobody takes over',
  writesAgainMs: 12_000,
  after: 'fault',
  othersPauseMs: 6_000,
};

export const linkFaults: readonly Fault[] = [
  {
    name: 'link-cut',
    group: 'links',
    description: 'the data centers cannot reach each other, both see the lease store',
    holdMs: 10_000,
    expectation: apart,
    async inject(arena) {
      await bend(arena, arena.at, arena.other, { mode: 'cut' });
    },
  },
  {
    name: 'link-cut-one-way',
    group: 'links',
    description: 'nothing from here arrives in the other data center, but everything from there arrives here',
    holdMs: 10_000,
    expectation: apart,
    async inject(arena) {
      await bend(arena, arena.at, arena.other, { mode: 'cut' }, 'one');
    },
  },
  {
    name: 'link-refused',
    group: 'links',
    description: 'connections between the data centers are reset, as by a firewall that rejects',
    holdMs: 10_000,
    expectation: apart,
    async inject(arena) {
      await bend(arena, arena.at, arena.other, { mode: 'refuse' });
    },
  },
  {
    name: 'link-flapping',
    group: 'links',
    description: 'cut and healed every 3 s, three times',
    holdMs: 18_000,
    expectation: { ...apart, writesAgainMs: 25_000 },
    async inject(arena) {
      for (let round = 0; round < 3; round += 1) {
        const heal = await bend(arena, arena.at, arena.other, { mode: 'cut' });
        await arena.pause(3_000);
        await heal();
        await arena.pause(3_000);
      }
    },
  },
  {
    name: 'link-slow',
    group: 'links',
    description: '150 ms each way and up to 60 ms more, unevenly',
    holdMs: 10_000,
    expectation: unnoticed('everything goes on, slower where it goes from one to the other'),
    async inject(arena) {
      await bend(arena, arena.at, arena.other, { delayMs: 150, jitterMs: 60 });
    },
  },
  {
    name: 'link-narrow',
    group: 'links',
    description: '1 Mbit/s between the data centers',
    holdMs: 10_000,
    expectation: unnoticed('everything goes on; what must travel queues and arrives in the end'),
    async inject(arena) {
      await bend(arena, arena.at, arena.other, { bytesPerSecond: 125_000 });
    },
  },
  {
    name: 'dc-isolated',
    group: 'links',
    description:
      'cut from the other data center and from the lease store, for longer than the lease; customers still reach it',
    holdMs: longerThanLeaseMs,
    takesOver: true,
    expectation: takeoverExpectation('it stops writing when its lease runs out, then the other one takes over'),
    async inject(arena) {
      await bend(arena, arena.at, arena.other, { mode: 'cut' });
      await bend(arena, arena.at, witness, { mode: 'cut' });
    },
  },
  {
    name: 'lease-store-blip',
    group: 'links',
    description: 'the lease store cannot be reached from anywhere, for less than the lease',
    holdMs: 3_000,
    expectation: unnoticed('nobody notices'),
    async inject(arena) {
      await bend(arena, arena.at, witness, { mode: 'cut' });
      await bend(arena, arena.other, witness, { mode: 'cut' });
    },
  },
  {
    name: 'lease-store-lost-to-one',
    group: 'links',
    description: 'one data center cannot reach the lease store for longer than its lease; all else is well',
    holdMs: longerThanLeaseMs,
    takesOver: true,
    expectation: takeoverExpectation('it stops writing when its lease runs out, and the other one takes over'),
    async inject(arena) {
      await bend(arena, arena.at, witness, { mode: 'cut' });
    },
  },
  {
    name: 'lease-store-lost-to-both',
    group: 'links',
    description: 'nobody can reach the lease store for longer than the lease',
    holdMs: longerThanLeaseMs,
    expectation: {
      text: 'both stop writing when their leases run out, reading goes on; both write again after healing, and nobody has taken over',
      writesAgainMs: 12_000,
      after: 'heal',
      othersPauseMs: null,
      why: 'no data center can write without the lease store',
    },
    async inject(arena) {
      await bend(arena, arena.at, witness, { mode: 'cut' });
      await bend(arena, arena.other, witness, { mode: 'cut' });
    },
  },
];
