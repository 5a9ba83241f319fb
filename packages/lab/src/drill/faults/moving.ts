/** Accounts on the move, for faults that come in the middle of it. */
import { type Arena, sql } from './arena.ts';

type MoveAnswer = { readonly kind: string };

/** Asks the agent of `to` for an account, as `lanekeeper rehome` does. */
async function move(arena: Arena, account: string, to: string, waitMs = 5_000): Promise<string> {
  try {
    const response = await fetch(new URL('/v1/moves', arena.lab.dataCenters[to]?.agent), {
      method: 'POST',
      headers: { authorization: `Bearer ${arena.agentToken(to)}`, 'content-type': 'application/json' },
      body: JSON.stringify({ account, to, waitMs, reason: 'drill' }),
      signal: AbortSignal.timeout(waitMs + 2_000),
    });
    return ((await response.json()) as MoveAnswer).kind;
  } catch (error) {
    return `no answer (${(error as Error).name})`;
  }
}

/** Moves accounts to and fro between two data centers for so long, and says what came of it. */
export async function keepMoving(arena: Arena, forMs: number, width: number, waitMs?: number): Promise<void> {
  const names = [arena.at, arena.other];
  const where = new Map(arena.load.customers.map(({ account, home }) => [account, home]));
  const told = new Map<string, number>();
  const endMs = performance.now() + forMs;
  const accounts = [...where.keys()];
  await Promise.all(
    Array.from({ length: width }, async (_, lane) => {
      for (let index = lane; performance.now() < endMs && !arena.aborted(); index += width) {
        const account = accounts[index % accounts.length] as string;
        const to = names.find((name) => name !== where.get(account)) as string;
        const kind = await move(arena, account, to, waitMs);
        if (kind === 'moved' || kind === 'already-there') where.set(account, to);
        told.set(kind, (told.get(kind) ?? 0) + 1);
      }
    }),
  );
  arena.note(`moves: ${[...told].map(([kind, count]) => `${count} ${kind}`).join(', ')}`);
}

/** The latest succession that its database has. */
export async function termIn(arena: Arena, dataCenter: string): Promise<number> {
  const text = 'SELECT coalesce(max(term), 1)::integer AS term FROM lanekeeper.succession';
  return (await sql<{ term: number }>(arena, dataCenter, text))[0]?.term ?? 1;
}
