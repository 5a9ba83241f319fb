/** What differs between two configurations, and what has to be done for it. Pure; nothing secret is in what it compares. */
import type { ComparableConfiguration } from 'lanekeeper/config';

/**
 * `apply`: run it in every data center; `restart`: agents, edges and applications; `switchover`: where everything is written changes;
 * `never`: it was fixed when the cluster began; `nothing`.
 */
export const consequences = ['never', 'switchover', 'apply', 'restart', 'nothing'] as const;
export type Consequence = (typeof consequences)[number];

export type Difference = {
  /** `tables.public.orders.durability`, as keys. */
  readonly path: readonly string[];
  /** Undefined: there is none. */
  readonly before: unknown;
  readonly after: unknown;
  readonly needs: readonly Consequence[];
  /** In words, where there is more to say. */
  readonly note: string | null;
};

export function differencesOf(before: ComparableConfiguration, after: ComparableConfiguration): readonly Difference[] {
  return compare([], before, after).map((found) => ({ ...found, ...meaningOf(found.path, found) }));
}

type Found = Pick<Difference, 'path' | 'before' | 'after'>;

function compare(path: readonly string[], before: unknown, after: unknown): Found[] {
  if (isRecord(before) && isRecord(after)) {
    const keys = [...new Set([...Object.keys(before), ...Object.keys(after)])].sort();
    return keys.flatMap((key) => compare([...path, key], before[key], after[key]));
  }
  return JSON.stringify(before) === JSON.stringify(after) ? [] : [{ path, before, after }];
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

type Meaning = Pick<Difference, 'needs' | 'note'>;

const means = (needs: readonly Consequence[], note: string | null = null): Meaning => ({ needs, note });

function meaningOf([section, name, field]: readonly string[], { before, after }: Found): Meaning {
  switch (section) {
    case 'cluster':
    case 'stride':
      return means(['never'], 'it was fixed when the cluster began');
    case 'approach':
      return means(['restart'], 'what it means is said by `homes` and `routing`');
    case 'homes':
      return means(
        ['apply', 'switchover', 'restart'],
        'whose deed counts changes: with nobody writing, see the guide on approaches',
      );
    case 'routing':
      return means(['restart'], 'edges and applications of all data centers');
    case 'dataCenters':
      if (field === 'number') return means(['never'], 'its sequences draw their numbers by it');
      if (field !== undefined) return means(['restart']);
      return after === undefined
        ? means(['apply', 'restart'], `everything that ${name} holds has to be given away first`)
        : means(['apply', 'restart'], `then \`lanekeeper join ${name}\``);
    case 'existingAccounts':
      return means(['nothing'], 'accounts that have a deed keep it');
    case 'fixed':
      if (before !== undefined && after !== undefined)
        return means(
          ['nothing'],
          `it says where it starts; to move it: \`lanekeeper rehome fixed:${name} --to ${String(after)}\``,
        );
      return means(['apply', 'restart']);
    case 'tables':
      if (field === 'class' || field === 'home' || field === 'account')
        return means(
          ['apply', 'restart'],
          'who may write these rows changes: in all data centers before anybody relies on it',
        );
      return means(['apply', 'restart']);
    case 'claims':
    case 'merge':
      return means(['apply', 'restart']);
    case 'ignore':
    case 'enforce':
    case 'roles':
      return means(['apply']);
    case 'rollout':
      return means(['nothing']);
    default:
      return means(['restart']);
  }
}

/** `[{"a": 1}, …]` in one line, cut short. */
export function showValue(value: unknown): string {
  if (value === undefined) return '–';
  const text = typeof value === 'string' ? value : JSON.stringify(value);
  return text.length > 120 ? `${text.slice(0, 117)}…` : text;
}
