/** Faults that only three data centers can have: unequal links, unequal tails, two of three at once or one after the other. */
import { type Arena, bend, freeze, killEverythingIn, pidOf, sql, until } from './arena.ts';
import { backAfterTakeoverMs, type Expectation, type Fault, longerThanLeaseMs, takeoverExpectation } from './fault.ts';
import { keepMoving, termIn } from './moving.ts';
import { command } from './repair.ts';

/** Two takeovers, one after the other: lease and skew each, and what a machine needs that runs everything at once. */
const twoTakeoversMs = 30_000;

const needs = { third: true } as const;

const everybody: Pick<Expectation, 'othersPauseMs' | 'why'> = {
  othersPauseMs: null,
  why: 'accounts of more than one data center are affected',
};

const termsBefore = new WeakMap<Arena, number>();

function thirdOf({ third }: Arena): string {
  if (third === null) throw new Error('this lab has two data centers');
  return third;
}

/** Who holds what `failed` held, as the database of `asked` has it; null while nobody has taken over. */
async function successorOf(arena: Arena, failed: string, asked: string): Promise<string | null> {
  const rows = await sql<{ to_dc: string; term: string }>(
    arena,
    asked,
    "SELECT to_dc, term FROM lanekeeper.succession WHERE kind = 'take' AND from_dc = $1 ORDER BY term DESC LIMIT 1",
    [failed],
  );
  const [row] = rows;
  return row !== undefined && Number(row.term) > (termsBefore.get(arena) ?? 0) ? row.to_dc : null;
}

async function awaitSuccessor(arena: Arena, failed: string, asked: readonly string[]): Promise<string> {
  let found: string | null = null;
  await until(arena, twoTakeoversMs, async () => {
    for (const name of asked) found ??= await successorOf(arena, failed, name).catch(() => null);
    return found !== null;
  });
  if (found === null) throw new Error(`nobody has taken ${failed} over within ${twoTakeoversMs / 1000} s`);
  arena.note(`${found} has taken over from ${failed}`);
  return found;
}

export const threeFaults: readonly Fault[] = [
  {
    name: 'one-link-of-three-cut',
    group: 'links',
    description: 'two of three data centers cannot reach each other; the third one reaches both',
    holdMs: 10_000,
    needs,
    expectation: {
      text: 'all go on with their own accounts, and nobody takes over; moves wait',
      writesAgainMs: 12_000,
      after: 'fault',
      othersPauseMs: 6_000,
    },
    async inject(arena) {
      termsBefore.set(arena, await termIn(arena, thirdOf(arena)));
      await bend(arena, arena.at, arena.other, { mode: 'cut' });
    },
    async inspect(arena) {
      const risen = (await termIn(arena, thirdOf(arena))) > (termsBefore.get(arena) ?? 0);
      return risen ? ['somebody took over, although everybody lived'] : [];
    },
  },
  {
    name: 'ping-pong-delayed-third',
    group: 'protocol',
    description:
      'accounts are moved to and fro between two data centers, and the third one hears of one of them 600 ms late',
    holdMs: 10_000,
    needs,
    expectation: {
      text: 'each move waits until the third one has heard of it; what was written before it is nowhere overwritten by what came late',
      writesAgainMs: 15_000,
      after: 'fault',
      ...everybody,
    },
    async inject(arena) {
      await bend(arena, arena.at, thirdOf(arena), { delayMs: 600 }, 'one');
      await keepMoving(arena, 9_000, 6);
    },
  },
  {
    name: 'dies-with-unequal-tails',
    group: 'protocol',
    description: 'a data center dies in the moment in which one of the two others has heard less of it',
    holdMs: longerThanLeaseMs,
    takesOver: true,
    needs,
    expectation: {
      ...takeoverExpectation(
        'who takes over and who does not hold the same of it before anything goes on, fetched from each other',
      ),
      // It lives for a while after the cut, and what is missing is fetched.
      writesAgainMs: backAfterTakeoverMs + 3_000,
    },
    async inject(arena) {
      // Shorter than a peer is waited for: both are still in its sync set when it dies.
      await bend(arena, arena.at, thirdOf(arena), { mode: 'cut' });
      await arena.pause(800);
      await killEverythingIn(arena, arena.at);
      arena.note(`killed; ${thirdOf(arena)} has heard less of it than ${arena.other}`);
    },
  },
  {
    name: 'two-takeovers-of-three',
    group: 'protocol',
    description: 'the agents of two data centers sleep longer than their leases and wake up at the same moment',
    holdMs: longerThanLeaseMs + 4_000,
    needs,
    expectation: {
      text: 'the third one takes both over, or one of them and that one nobody; whoever was taken over writes nothing until it is back',
      writesAgainMs: 25_000,
      after: 'heal',
      ...everybody,
    },
    async inject(arena) {
      freeze(arena, [await pidOf(arena, arena.at, 'agent'), await pidOf(arena, arena.other, 'agent')]);
    },
  },
  {
    name: 'two-of-three-lost',
    group: 'processes',
    description: 'kill -9 of everything in a data center, and then in the one that took it over; both come back later',
    holdMs: longerThanLeaseMs,
    needs,
    expectation: {
      text: 'the last one holds what both had acknowledged and serves everybody; both come back',
      writesAgainMs: 2 * twoTakeoversMs,
      after: 'fault',
      ...everybody,
    },
    async inject(arena) {
      const living = [arena.other, thirdOf(arena)];
      termsBefore.set(arena, await termIn(arena, arena.other));
      await killEverythingIn(arena, arena.at);
      const second = await awaitSuccessor(arena, arena.at, living);
      // Until the last one holds what the second writes: before that nobody takes it over by himself.
      await arena.pause(5_000);
      await killEverythingIn(arena, second);
      await awaitSuccessor(
        arena,
        second,
        living.filter((name) => name !== second),
      );
    },
  },
  {
    name: 'successor-lost-before-repair',
    group: 'protocol',
    description:
      'a data center dies, and the one that takes it over dies as well, before the third one could fetch what it lacks; a person decides',
    holdMs: longerThanLeaseMs,
    needs,
    expectation: {
      text: 'the last one is told to take over; what only the two lost ones had is in the ledger, once, when they are back',
      writesAgainMs: 2 * twoTakeoversMs,
      after: 'heal',
      ...everybody,
    },
    async inject(arena) {
      const { at, other } = arena;
      const last = thirdOf(arena);
      termsBefore.set(arena, await termIn(arena, other));
      await bend(arena, at, last, { mode: 'cut' });
      await arena.pause(800);
      await bend(arena, other, last, { mode: 'cut' });
      await killEverythingIn(arena, at);
      const second = await awaitSuccessor(arena, at, [other, last]);
      await killEverythingIn(arena, second);
      arena.note(`${second} is killed as well, before ${second === other ? last : other} had what it lacks`);
      const left = second === other ? last : other;
      const told = await until(arena, twoTakeoversMs, async () => {
        if ((await successorOf(arena, second, left)) !== null) return true;
        await command(arena, 'failover', '--from', second, '--to', left, '--force', '--confirm', second, '--dc', left);
        return true;
      });
      if (!told) throw new Error(`${left} could not be told to take over from ${second}`);
    },
  },
];
