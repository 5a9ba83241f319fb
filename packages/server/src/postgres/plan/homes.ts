/**
 * From a home for each account to one home for all, and back, one data center after the other, while customers shop.
 *
 * 1. To one home: only when everything is at home in one place, which a switchover sees to. The others change first: then they
 *    write nothing, whatever is born or moves. The home changes when it has heard of that, in the stream (R2).
 * 2. To a home for each: that home changes first, and gives every account a deed. The others follow when they have heard that it is
 *    done, and so have all the deeds.
 * 3. In between, a data center that goes by accounts has no lease unless the one home is here (`lanekeeper.homes_problem`, sql/).
 */
import type { Configuration } from 'lanekeeper/config';
import { type DataCenterName, type Homes, singleAccount } from 'lanekeeper/model';
import { quoteText } from '../fence/names.ts';
import type { Queryable } from '../queryable.ts';
import { joinedPeers, type Members } from '../streams/members.ts';
import type { PlanProblem, Step } from './step.ts';

export type HomesState = {
  /** What this database was last applied as. */
  readonly installed: Homes;
  /** What data centers have said since; those that have not are as they were from the start. */
  readonly said: Readonly<Record<DataCenterName, Homes>>;
  /** Where the deed of everything is, or would be. */
  readonly home: DataCenterName;
  /** Whether there is that deed. */
  readonly deeded: boolean;
  /** Accounts by where they are at home. */
  readonly accounts: readonly { readonly home: DataCenterName; readonly count: number; readonly example: string }[];
};

export async function readHomes(client: Queryable, { existingAccounts }: Configuration): Promise<HomesState> {
  const { rows } = await client.query<Omit<HomesState, 'accounts'>>(
    `SELECT lanekeeper.homes() AS installed,
        (SELECT coalesce(json_object_agg(dc, homes), '{}') FROM lanekeeper.homed_as) AS said,
        coalesce(d.home, lanekeeper.resolve($1, 1)) AS home, d.home IS NOT NULL AS deeded
      FROM (SELECT) one LEFT JOIN
        (SELECT lanekeeper.resolve(home, term) AS home FROM lanekeeper.deed WHERE account = $2) d ON true`,
    [existingAccounts, singleAccount],
  );
  const { rows: accounts } = await client.query<HomesState['accounts'][number]>(
    `SELECT lanekeeper.resolve(home, term) AS home, sum(count)::float8 AS count, min(example) AS example
      FROM (SELECT home, term, count(*) AS count, min(account) AS example FROM lanekeeper.deed
        WHERE account <> $1 AND account NOT LIKE 'claim:%' AND account NOT LIKE 'fixed:%' GROUP BY 1, 2) d
      GROUP BY 1 ORDER BY 2 DESC`,
    [singleAccount],
  );
  return { ...(rows[0] as Omit<HomesState, 'accounts'>), accounts };
}

/** What this data center goes by until the change is done. */
function before(configuration: Configuration, state: HomesState): Homes {
  return state.said[configuration.here] ?? state.installed;
}

export function homesProblems(configuration: Configuration, state: HomesState, members: Members): PlanProblem[] {
  const was = before(configuration, state);
  const { here, homes } = configuration;
  if (was === homes) return [];
  const problem = (message: string): PlanProblem[] => [{ kind: 'homes', message }];
  const { home } = state;
  const others = (wanted: Homes) =>
    joinedPeers(configuration, members).filter((dc) => (state.said[dc] ?? was) !== wanted);
  if (homes === 'per-account') {
    if (here === home || !others(homes).includes(home)) return [];
    return problem(
      `Everything is written in ${home}, which gives every account its deed when it changes to a home for each: apply this configuration in ${home} first, then here.`,
    );
  }
  const apart = state.accounts.filter((one) => one.home !== home);
  const [most] = apart;
  if (most !== undefined) {
    const count = apart.reduce((sum, one) => sum + one.count, 0);
    return problem(
      `With one home for all, everything would be written in ${home}, and ${count === 1 ? '1 account is' : `${count} accounts are`} at home elsewhere, for example ${most.example} in ${most.home}: \`lanekeeper switchover --from ${most.home} --to ${home}\` brings everything there, then apply this again.`,
    );
  }
  const late = others('single');
  if (here !== home || late.length === 0) return [];
  return problem(
    `${late.join(' and ')} still ${late.length === 1 ? 'goes' : 'go'} by a home for each account, so accounts could be born there or move there, and be written in two places: apply this configuration in ${late.join(' and ')} first, then here, in ${home}, where everything is written.`,
  );
}

/** Around all other steps: what is done first, and what is done when everything else is. */
export function homesSteps(
  configuration: Configuration,
  { homes: state, installation }: { readonly homes: HomesState | null; readonly installation: object | null },
  fills: readonly Step[],
): { readonly first: Step[]; readonly last: Step[] } {
  const { here, homes } = configuration;
  if (state === null || installation === null) return { first: [], last: [] };
  const was = before(configuration, state);
  if (was === homes) return { first: [], last: [] };
  const first: Step[] = [];
  if (state.said[here] === undefined) {
    const title = `note that ${here} goes by ${inWords[was]}`;
    first.push(step('homes were', title, 'until the change is done', insertSql(here, was), null));
  }
  const last: Step[] = [];
  if (homes === 'per-account') first.push(...fills.flatMap(early));
  else {
    const why = 'accounts that register from now on need them when the approach is changed back';
    const title = 'forget that deeds and claims were filled in';
    last.push(step('homes forget fills', title, why, 'DELETE FROM lanekeeper.fill', null));
  }
  const waiting = fills.find(({ waitsFor }) => waitsFor !== null)?.waitsFor ?? null;
  const why = 'the other data centers wait for it; it arrives after everything that was written before';
  last.push(step('homes', `say that ${here} goes by ${inWords[homes]}`, why, insertSql(here, homes), waiting));
  return { first, last };
}

/**
 * Most deeds are given before any is asked for: only who registers while this runs waits for the fill that comes after the triggers.
 */
function early(fill: Step): Step[] {
  const { action } = fill;
  if (action.do !== 'fill' || !fill.id.startsWith('fill deeds')) return [];
  const id = `early ${fill.id}`;
  return [
    {
      ...fill,
      id,
      title: `${fill.title}, ahead of the triggers`,
      action: { do: 'fill', fill: { ...action.fill, id } },
    },
  ];
}

const inWords: Readonly<Record<Homes, string>> = {
  single: 'one home for all accounts',
  'per-account': 'a home for each account',
};

function insertSql(dc: DataCenterName, homes: Homes): string {
  return `INSERT INTO lanekeeper.homed_as (dc, homes) VALUES (${quoteText(dc)}, ${quoteText(homes)})
  ON CONFLICT (dc) DO UPDATE SET homes = excluded.homes, at = excluded.at`;
}

function step(id: string, title: string, why: string, sql: string, waitsFor: string | null): Step {
  return { id, kind: 'change', title, why, sql, lock: null, estimatedRows: null, waitsFor, action: { do: 'run' } };
}
