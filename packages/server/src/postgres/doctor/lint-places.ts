/** The data centers themselves, as far as the configuration tells: what fails together, and how many there are. Pure. */
import type { Configuration } from 'lanekeeper/config';
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
  return found;
}
