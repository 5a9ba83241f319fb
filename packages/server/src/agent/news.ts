/** Messages on the channel `lanekeeper_agent`: what this database, and what replication brings, has to say to the agent. */

/** What the leading agent hears from its database. */
export type News =
  | { readonly kind: 'leader-left' }
  | { readonly kind: 'succession' }
  | { readonly kind: 'drained'; readonly move: number; readonly instance: string }
  | {
      readonly kind: 'deed';
      readonly account: string;
      readonly home: string;
      readonly epoch: { readonly term: number; readonly counter: number };
      readonly giver: string | null;
      readonly returned: boolean;
    };

/** Any role may send a NOTIFY: what does not look like ours is ignored. */
export function readNews(payload: string): News | null {
  let value: unknown;
  try {
    value = JSON.parse(payload);
  } catch {
    return null;
  }
  if (typeof value !== 'object' || value === null) return null;
  const { kind, move, instance, account, home, term, counter, giver, returned } = value as Record<string, unknown>;
  if (kind === 'leader-left' || kind === 'succession') return { kind };
  if (kind === 'drained' && Number.isSafeInteger(move) && typeof instance === 'string')
    return { kind, move: move as number, instance };
  if (
    kind === 'deed' &&
    typeof account === 'string' &&
    typeof home === 'string' &&
    Number.isSafeInteger(term) &&
    Number.isSafeInteger(counter) &&
    (typeof giver === 'string' || giver === null)
  ) {
    const epoch = { term: term as number, counter: counter as number };
    return { kind, account, home, epoch, giver, returned: returned === true };
  }
  return null;
}
