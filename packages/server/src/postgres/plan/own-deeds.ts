/**
 * Deeds of accounts that are nobody's row: the one home of everything, fixed homes, accounts that rows without an account are mapped
 * to, and the buckets of claims. They are the same in every data center from the start, so each writes them all itself:
 * one that arrives from elsewhere finds its equal.
 */
import type { Configuration } from 'lanekeeper/config';
import { type DataCenterName, fixedAccount, singleAccount } from 'lanekeeper/model';
import { quoteText } from '../fence/names.ts';

/** Claims are spread over so many buckets, each with a home of its own. */
export const claimBuckets = 256;

export type OwnDeed = { readonly account: string; readonly home: DataCenterName };

export function ownDeeds(configuration: Configuration): readonly OwnDeed[] {
  const existing = configuration.existingAccounts;
  const fixed = Object.entries(configuration.fixed).map(([name, home]) => ({ account: fixedAccount(name), home }));
  if (configuration.homes === 'single') return [{ account: singleAccount, home: existing }, ...fixed];
  const named = new Set(
    Object.values(configuration.tables).flatMap((table) => (table.nullAccount === null ? [] : [table.nullAccount])),
  );
  const deeds: OwnDeed[] = [...named].sort().map((account) => ({ account, home: existing }));
  deeds.push(...fixed);
  if (Object.values(configuration.claims).some((claim) => claim.mode === 'buckets')) {
    const homes = Object.values(configuration.dataCenters)
      .toSorted((a, b) => a.number - b.number)
      .map((dc) => dc.name);
    for (let bucket = 0; bucket < claimBuckets; bucket += 1) {
      deeds.push({ account: `claim:${bucket}`, home: homes[bucket % homes.length] ?? existing });
    }
  }
  return deeds;
}

export function ownDeedsSql(deeds: readonly OwnDeed[]): string {
  const rows = deeds.map((deed) => `(${quoteText(deed.account)}, ${quoteText(deed.home)}, 1, 0)`).join(', ');
  return `INSERT INTO lanekeeper.deed (account, home, term, counter) VALUES ${rows} ON CONFLICT (account) DO NOTHING`;
}
