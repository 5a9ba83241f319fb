/** `synchronous_standby_names`, written and read. Pure. */
import { quoteName } from '../fence/names.ts';

/**
 * A name that nothing connects by, so that the list is never empty: PostgreSQL publishes the step from an empty list to
 * another one late, and commits slip through meanwhile; the step to an empty one releases everybody who waits.
 */
export const padName = 'lanekeeper_pad';

/** Nobody connects by this either: behind it in the list come standbys of this data center's own. */
export const ownName = 'lanekeeper_own';

/**
 * Waits for all of `members` (names that subscriptions connect by), or with none for somebody who never comes.
 *
 * A walsender releases who waits by the list that it has read itself, which may still be the one before. What shows the
 * list it has read is its priority, its place in the list: so as many pads stand first as it takes for nobody to keep his place.
 *
 * `standbys` of this data center's own are waited for as well; with nobody in `members` they are not: then nobody is waited for.
 */
export function standbyNames(members: readonly string[], present: string, standbys: readonly string[] = []): string {
  if (members.length === 0) return `FIRST 1 (${padName})`;
  const before = readStandbyNames(present)?.names ?? [];
  let names = [padName, ...members, ...(standbys.length === 0 ? [] : [ownName, ...standbys])];
  while (names.some((name, place) => !isNobody(name) && before[place] === name)) names = [padName, ...names];
  const written = names.map((name) => (isNobody(name) ? name : quoteName(name)));
  return `FIRST ${members.length + standbys.length} (${written.join(', ')})`;
}

function isNobody(name: string): boolean {
  return name === padName || name === ownName;
}

export type ReadNames = {
  /** How many are waited for. */
  readonly count: number;
  /** In order, pads included; the priority of a walsender is its place here, from 1. */
  readonly names: readonly string[];
};

/** A list as `standbyNames` writes it; null for any other, which somebody else has written. */
export function readStandbyNames(text: string): ReadNames | null {
  const match = /^FIRST (\d+) \((.*)\)$/.exec(text);
  if (!match) return null;
  const names = [...(match[2] as string).matchAll(/"((?:[^"]|"")*)"|([a-z_][a-z0-9_]*)/g)].map(
    ([, quoted, plain]) => quoted?.replaceAll('""', '"') ?? (plain as string),
  );
  return names.includes(padName) ? { count: Number(match[1]), names } : null;
}

/** The other data centers that are waited for, without pads; null when somebody else has written the list. */
export function membersIn(text: string): readonly string[] | null {
  return partsOf(text)?.members ?? null;
}

/** The standbys of this data center's own in it. */
export function standbysIn(text: string): readonly string[] {
  return partsOf(text)?.standbys ?? [];
}

function partsOf(text: string): { readonly members: readonly string[]; readonly standbys: readonly string[] } | null {
  const names = readStandbyNames(text)?.names.filter((name) => name !== padName);
  if (names === undefined) return null;
  const own = names.indexOf(ownName);
  return own < 0 ? { members: names, standbys: [] } : { members: names.slice(0, own), standbys: names.slice(own + 1) };
}
