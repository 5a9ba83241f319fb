/** The data centers themselves, as far as the configuration tells: what fails together, how many there are, what they can carry. Pure. */
import type { Configuration, DataCenter } from 'lanekeeper/config';
import type { Found } from './finding.ts';

export function lintPlaces({ dataCenters }: Pick<Configuration, 'dataCenters'>): Found[] {
  const found: Found[] = [];
  const all = Object.values(dataCenters);
  for (const [index, dc] of all.entries()) {
    const other = all.slice(0, index).find((one) => one.faultDomain.toLowerCase() === dc.faultDomain.toLowerCase());
    if (!other) continue;
    found.push({
      severity: 'warning',
      code: 'fault-domain-shared',
      subject: `${other.name} and ${dc.name}`,
      what: `${other.name} and ${dc.name} are both in ${dc.faultDomain}`,
      why: 'what takes one down takes the other one down too, so together they protect little more than one',
      mend: `dataCenters.${dc.name}.faultDomain: … (and the data center somewhere else)`,
    });
  }
  if (all.length > 3)
    found.push({
      severity: 'warning',
      code: 'too-many-data-centers',
      subject: `${all.length} data centers`,
      what: `there are ${all.length} data centers`,
      why: 'two or three are right: each more is one more that every change of ownership waits for, and protects less than it costs',
    });
  return [...found, ...lintCapacity(all)];
}

/** When one fails at its busiest hour, the others have its load beside their own. */
function lintCapacity(all: readonly DataCenter[]): Found[] {
  if (all.length < 2) return [];
  const unknown = all.filter(({ capacity }) => capacity === null).map(({ name }) => name);
  if (unknown.length > 0)
    return [
      {
        severity: 'advice',
        code: 'capacity-unknown',
        subject: unknown.join(', '),
        what: 'nobody has said how much it can serve',
        why: 'so nobody can say whether the others could carry its load when it fails',
        mend: `dataCenters.${unknown[0]}.capacity: { limit: …, peak: … }`,
      },
    ];
  const peak = all.reduce((sum, { capacity }) => sum + (capacity?.peak ?? 0), 0);
  return all.flatMap((lost): Found[] => {
    const limit = all.reduce((sum, dc) => sum + (dc === lost ? 0 : (dc.capacity?.limit ?? 0)), 0);
    if (peak <= limit) return [];
    return [
      {
        severity: 'warning',
        code: 'capacity-short',
        subject: lost.name,
        what: `without ${lost.name} the others can serve ${limit} requests a second, and ${peak} come at the busiest`,
        why: 'a takeover then turns the loss of one data center into the overload of all',
        mend: `more instances, or an autoscaler that hears of it: hooks.onTakeover`,
      },
    ];
  });
}
