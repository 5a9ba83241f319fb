/**
 * X1: nothing is skipped silently. What PostgreSQL itself counted while applying (conflicts, skipped transactions), and rows
 * that differ, are trouble; trouble is allowed when the product has said so.
 */
import { ask } from './ask.ts';
import type { DatabaseUrls } from './rows.ts';

export type Trouble = {
  /** Conflicts and errors that PostgreSQL counted, by data center and subscription. */
  readonly counters: Readonly<Record<string, number>>;
  readonly incidents: Readonly<Record<string, number>>;
};

/** A row last written elsewhere is no conflict here but what a move is for. */
const counted = /^(apply_error_count|sync.*error_count|confl_(?!\w+_origin_differs))/;
/** Errors are tried again, and nothing is lost by them; conflicts let a row go. */
const skipping = /^.* confl_/;

export async function readTrouble(urls: DatabaseUrls): Promise<Trouble> {
  const counters: Record<string, number> = {};
  const incidents: Record<string, number> = {};
  for (const [dataCenter, url] of Object.entries(urls)) {
    const rows = await ask<{ subname: string; stats: Record<string, unknown> }>(
      url,
      'SELECT subname, to_jsonb(s) AS stats FROM pg_catalog.pg_stat_subscription_stats s',
    );
    for (const { subname, stats } of rows) {
      for (const [name, value] of Object.entries(stats)) {
        if (counted.test(name) && typeof value === 'number' && value > 0)
          counters[`${dataCenter} ${subname} ${name}`] = value;
      }
    }
    const kinds = await ask<{ kind: string; n: number }>(
      url,
      'SELECT kind, count(*)::integer AS n FROM lanekeeper.incident GROUP BY kind',
    );
    for (const { kind, n } of kinds) incidents[`${dataCenter} ${kind}`] = n;
  }
  return { counters, incidents };
}

/** What came on top. */
export function newTrouble(before: Trouble, after: Trouble): Trouble {
  const more = (a: Readonly<Record<string, number>>, b: Readonly<Record<string, number>>) =>
    Object.fromEntries(Object.entries(b).filter(([name, value]) => value > (a[name] ?? 0)));
  return { counters: more(before.counters, after.counters), incidents: more(before.incidents, after.incidents) };
}

/**
 * `said`: whatever the product reported while the drill ran (problems of `lanekeeper status`). Pure.
 */
export function judgeSilence(
  trouble: Trouble,
  differences: readonly string[],
  said: readonly string[],
): readonly string[] {
  const skipped = Object.entries(trouble.counters).filter(([name]) => skipping.test(name));
  const reported = Object.keys(trouble.incidents).length > 0 || said.length > 0;
  if (reported) return [];
  return [
    ...skipped.map(([name, times]) => `${name} rose by ${times}, and neither an incident nor status said so`),
    ...(differences.length > 0 ? ['rows differ, and neither an incident nor status said so'] : []),
  ];
}
