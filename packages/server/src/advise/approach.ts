/**
 * Which of the five approaches fits, from what is asked for: how long an interruption may be, what may be lost, how far apart
 * the data centers are, how often a page asks its database, and what the organisation can run. Pure; every verdict shows its sum.
 *
 * The simplest that fits is chosen. Somebody who can run the most capable one is only sent there when it saves customers time.
 */
import type { ApproachName } from 'lanekeeper/model';

export const abilities = ['low', 'medium', 'high'] as const;
/** `low`: runs what it has, changes no code. `medium`: adopts an SDK, watches two live sites. `high`: routes customers, drills failures. */
export type Ability = (typeof abilities)[number];

export type ApproachNeeds = {
  /** The longest interruption of writing. */
  readonly rtoMs: number;
  /** How much of what was acknowledged may be lost; 0: nothing. */
  readonly rpoMs: number;
  /** Round trip between the data centers. */
  readonly distanceMs: number;
  readonly statementsPerPage: number;
  readonly writesPerPage: number;
  readonly ability: Ability;
  /** One account is often in use from several places at once: families, shared logins, a call center. */
  readonly sessionsShared: boolean;
  /** How long a passive data center takes from its skeleton to full size. Default 5 minutes. */
  readonly scaleOutMs?: number;
  /** Of the lease: default 6 s, 1 s, 2 s. */
  readonly lease?: { readonly ttlMs: number; readonly skewMs: number; readonly renewEveryMs: number };
};

export type ApproachVerdict = {
  readonly approach: ApproachName;
  readonly fits: boolean;
  /** Why it fits, or everything that speaks against it. */
  readonly reasons: readonly string[];
  /** What was added up. */
  readonly arithmetic: readonly string[];
  /** Interruption of writing when a data center is lost. */
  readonly rtoMs: number;
  /** What the distance adds to a page that writes, for a customer who is not where his data is. */
  readonly pageMs: number;
  readonly changes: string;
  readonly ability: Ability;
};

export type ApproachAdvice = {
  /** Null when none fits. */
  readonly chosen: ApproachName | null;
  readonly why: string;
  /** When none fits: the one with the least against it, and what would have to give. */
  readonly nearest: { readonly approach: ApproachName; readonly gives: readonly string[] } | null;
  /** Simplest first. */
  readonly verdicts: readonly ApproachVerdict[];
  readonly notes: readonly string[];
};

/** Data centers are close up to this round trip: half of the application servers may then use a database that is not theirs. */
export const closeMs = 25;
/** What may be added to a page that many customers see; and to one that few see, seldom. */
export const pageBudgetMs = 300;
export const seldomBudgetMs = 1_000;
/** A saving that customers notice, and that is worth a harder approach to those who can run it. */
export const worthwhileMs = 100;
const defaultScaleOutMs = 300_000;
const defaultLease = { ttlMs: 6_000, skewMs: 1_000, renewEveryMs: 2_000 };

export function adviseApproach(needs: ApproachNeeds): ApproachAdvice {
  const verdicts = [activePassive, activeActiveApps, mostlyActiveActive, statelessFrontends, fullActiveActive].map(
    (judge) => judge(needs),
  );
  const fitting = verdicts.filter(({ fits }) => fits);
  const [simplest] = fitting;
  const notes = notesOn(needs);
  if (!simplest)
    return {
      chosen: null,
      why: 'none of the five fits what is asked for',
      nearest: nearestOf(needs, verdicts),
      verdicts,
      notes,
    };
  const quickest = fitting.reduce((best, one) => (one.pageMs < best.pageMs ? one : best));
  if (needs.ability === 'high' && simplest.pageMs - quickest.pageMs > worthwhileMs) {
    const why = `you can run it, and against ${simplest.approach}, the simplest that fits, it saves ${round(simplest.pageMs - quickest.pageMs)} ms on pages that write`;
    return { chosen: quickest.approach, why, nearest: null, verdicts, notes };
  }
  const why = `the simplest that fits${fitting.length > 1 ? `; ${fitting.length - 1} more would, and ask for more` : ''}`;
  return { chosen: simplest.approach, why, nearest: null, verdicts, notes };
}

/** A successor waits out the lease, counted from its last observation of it. */
function takeover({ lease = defaultLease }: ApproachNeeds): { readonly ms: number; readonly sum: string } {
  const ms = lease.ttlMs + lease.skewMs + lease.renewEveryMs;
  return {
    ms,
    sum: `takeover: lease ${seconds(lease.ttlMs)} + skew ${seconds(lease.skewMs)} + last renewal ${seconds(lease.renewEveryMs)} = at most ${seconds(ms)}`,
  };
}

type Draft = Omit<ApproachVerdict, 'fits' | 'reasons'> & {
  readonly against: readonly (string | null)[];
  /** How the interruption could be shorter. */
  readonly shorter?: string;
  readonly good: string;
};

function verdict(needs: ApproachNeeds, { against, good, shorter = '', ...rest }: Draft): ApproachVerdict {
  const reasons = [
    ...against,
    rest.rtoMs > needs.rtoMs
      ? `writing stands still for up to ${seconds(rest.rtoMs)}, and ${seconds(needs.rtoMs)} is the most${shorter}`
      : null,
    abilities.indexOf(rest.ability) > abilities.indexOf(needs.ability)
      ? `it asks for ${rest.ability} ability: ${rest.changes}`
      : null,
  ].filter((one) => one !== null);
  return { ...rest, fits: reasons.length === 0, reasons: reasons.length === 0 ? [good] : reasons };
}

function activePassive(needs: ApproachNeeds): ApproachVerdict {
  const { ms, sum } = takeover(needs);
  const scaleOut = needs.scaleOutMs ?? defaultScaleOutMs;
  return verdict(needs, {
    approach: 'active-passive',
    against: [],
    good: 'no change to the application, nothing crosses the distance but replication, and the interruption is short enough',
    arithmetic: [
      sum,
      `the passive applications grow from a skeleton: ${seconds(scaleOut)}; together ${seconds(ms + scaleOut)}`,
    ],
    rtoMs: ms + scaleOut,
    shorter: ms <= needs.rtoMs ? ` (${seconds(ms)} with passive applications at full size: --scale-out 0s)` : '',
    pageMs: commitMs(needs),
    changes: 'none',
    ability: 'low',
  });
}

function activeActiveApps(needs: ApproachNeeds): ApproachVerdict {
  const { ms, sum } = takeover(needs);
  const { distanceMs, statementsPerPage } = needs;
  const page = statementsPerPage * distanceMs;
  return verdict(needs, {
    approach: 'active-active-apps',
    against: [
      distanceMs > closeMs ? `${distanceMs} ms apart is not close: the rule is ${closeMs} ms` : null,
      page > pageBudgetMs
        ? `half of the customers would wait ${round(page)} ms more for a page that writes (${pageBudgetMs} ms is the most)`
        : null,
    ],
    good: `close enough (${distanceMs} ms ≤ ${closeMs} ms), few statements per page, no account column`,
    arithmetic: [
      sum,
      `half of the applications write to the other data center: ${statementsPerPage} statements × ${distanceMs} ms = ${round(page)} ms for a page that writes; pages that only read stay local`,
    ],
    rtoMs: ms,
    pageMs: page + commitMs(needs),
    changes: 'reads and writes are told apart',
    ability: 'low',
  });
}

function mostlyActiveActive(needs: ApproachNeeds): ApproachVerdict {
  const { ms, sum } = takeover(needs);
  const { distanceMs, writesPerPage, statementsPerPage, sessionsShared } = needs;
  const page = writesPerPage * distanceMs;
  const most = sessionsShared ? pageBudgetMs : seldomBudgetMs;
  const who = sessionsShared
    ? 'many customers, because accounts are shared'
    : 'few customers, whose account is in use elsewhere';
  return verdict(needs, {
    approach: 'mostly-active-active',
    against: [
      page > most ? `${round(page)} ms more for a page that writes, for ${who} (${most} ms is the most)` : null,
    ],
    good: `only customers whose account is in use elsewhere write across the distance: ${round(page)} ms for a page`,
    arithmetic: [
      sum,
      `${writesPerPage} writes × ${distanceMs} ms = ${round(page)} ms, for ${who}; ${statementsPerPage} × ${distanceMs} ms = ${round(statementsPerPage * distanceMs)} ms where such a page reads through the same connection`,
    ],
    rtoMs: ms,
    pageMs: page + commitMs(needs),
    changes: 'every row leads to an account; sign-in through the SDK',
    ability: 'medium',
  });
}

function statelessFrontends(needs: ApproachNeeds): ApproachVerdict {
  const { ms, sum } = takeover(needs);
  const { distanceMs } = needs;
  return verdict(needs, {
    approach: 'stateless-frontends',
    against: [
      distanceMs > pageBudgetMs
        ? `one call across the distance is ${distanceMs} ms already (${pageBudgetMs} ms is the most)`
        : null,
    ],
    good: 'a page that writes makes one call to the home, however many statements that takes there',
    arithmetic: [sum, `1 call × ${distanceMs} ms = ${distanceMs} ms for a customer who is not where his account is`],
    rtoMs: ms,
    pageMs: distanceMs + commitMs(needs),
    changes: 'the application is split into frontends without state and backends with the database',
    ability: 'medium',
  });
}

function fullActiveActive(needs: ApproachNeeds): ApproachVerdict {
  const { ms, sum } = takeover(needs);
  const { distanceMs } = needs;
  return verdict(needs, {
    approach: 'full-active-active',
    against: [],
    good: 'the customer is taken to the home of his account, and no page crosses the distance',
    arithmetic: [
      sum,
      `0 × ${distanceMs} ms for a page: once per visit at most, a request is answered in the other data center (${distanceMs} ms)`,
    ],
    rtoMs: ms,
    pageMs: commitMs(needs),
    changes:
      'every row leads to an account; sign-in through the SDK; an edge in front of every data center routes customers',
    ability: 'high',
  });
}

/** With nothing to lose, a commit waits until the other data center has it: one round trip for each page that writes. */
function commitMs({ rpoMs, distanceMs, writesPerPage }: ApproachNeeds): number {
  return rpoMs === 0 && writesPerPage > 0 ? distanceMs : 0;
}

function notesOn(needs: ApproachNeeds): readonly string[] {
  const { rpoMs, distanceMs, writesPerPage } = needs;
  const durability =
    rpoMs === 0
      ? [
          `RPO 0 (durability: remote) costs every approach one round trip for each commit: 1 × ${distanceMs} ms when the ${writesPerPage} writes of a page are one transaction, ${writesPerPage} × ${distanceMs} = ${round(writesPerPage * distanceMs)} ms when each is its own.`,
        ]
      : [
          `RPO ${seconds(rpoMs)}: durability: local answers without waiting for the other data center. What had not arrived when one fails is kept as stranded; it is lost only with the disk it is on.`,
        ];
  return [
    ...durability,
    'A takeover by itself needs a witness in a third fault domain.',
    'Customers whose DNS answer names the lost data center come back when it is asked for again (a few minutes), unless an edge or CDN stands in front: no approach changes that.',
  ];
}

/** Least wrong: ability counts double, since it is neither bought nor given up; then the shortest interruption. */
function nearestOf(needs: ApproachNeeds, verdicts: readonly ApproachVerdict[]): ApproachAdvice['nearest'] {
  const wrong = ({ reasons, ability }: ApproachVerdict) =>
    reasons.length + (abilities.indexOf(ability) > abilities.indexOf(needs.ability) ? 1 : 0);
  const [nearest] = verdicts.toSorted((a, b) => wrong(a) - wrong(b) || a.rtoMs - b.rtoMs);
  return nearest ? { approach: nearest.approach, gives: nearest.reasons } : null;
}

function seconds(ms: number): string {
  return ms < 1_000 ? `${round(ms)} ms` : ms % 60_000 === 0 ? `${ms / 60_000} min` : `${Math.round(ms / 100) / 10} s`;
}

function round(ms: number): number {
  return Math.round(ms * 10) / 10;
}
