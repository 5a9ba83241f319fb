/** Fits the sections of a configuration to the data centers of this lab. Pure. */
import type { WrittenConfiguration } from 'lanekeeper/config';

/** What an application says of itself; the data centers are the lab's. */
export type Sections = Pick<WrittenConfiguration, 'tables'> &
  Partial<
    Omit<WrittenConfiguration, 'cluster' | 'dataCenters' | 'leases' | 'roles' | 'enforce' | 'rollout' | 'tables'>
  >;

/** The first data center takes the place of those that the lab does not have. */
export function fitSections(sections: Sections, names: readonly string[]): Sections {
  const fit = (name: string): string => (names.includes(name) ? name : (names[0] as string));
  const tables = Object.entries(sections.tables).map(([table, written]) => [
    table,
    written?.feeder === undefined ? written : { ...written, feeder: fit(written.feeder) },
  ]);
  const claims = Object.entries(sections.claims ?? {}).map(([claim, written]) => [
    claim,
    written?.dataCenter === undefined ? written : { ...written, dataCenter: fit(written.dataCenter) },
  ]);
  return {
    ...sections,
    tables: Object.fromEntries(tables),
    claims: Object.fromEntries(claims),
    ...(sections.fixed === undefined
      ? {}
      : { fixed: Object.fromEntries(Object.entries(sections.fixed).map(([name, dc]) => [name, fit(dc)])) }),
    ...(sections.accounts?.existing === undefined ? {} : { accounts: { existing: fit(sections.accounts.existing) } }),
  };
}

/** Data centers that publish tables for the others. */
export function feedersOf(sections: Sections): readonly string[] {
  return [...new Set(Object.values(sections.tables).flatMap(({ feeder }) => (feeder === undefined ? [] : [feeder])))];
}

/** Accounts that move at sign-in when nobody used them for `stickiness`, as often as that may be; null: as they were. */
export function restless(sections: Sections, stickiness: string | null): Sections {
  if (stickiness === null) return sections;
  return {
    ...sections,
    sessions: { ...sections.sessions, stickiness },
    moves: { ...sections.moves, dwell: '0s', perHour: 3_600 },
  };
}
