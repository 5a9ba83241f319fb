/** Can those who are left hold all, when one data center fails? As far as the configuration says what each can serve. */
import type { Configuration } from 'lanekeeper/config';
import type { Found } from './finding.ts';

export function judgeCapacity({ dataCenters }: Pick<Configuration, 'dataCenters'>): Found[] {
  const all = Object.values(dataCenters);
  if (all.length < 2 || all.every(({ capacity }) => capacity === null)) return [];
  const unknown = all.filter(({ capacity }) => capacity === null).map(({ name }) => name);
  if (unknown.length > 0)
    return [
      {
        severity: 'advice',
        code: 'capacity-unknown',
        subject: unknown.join(', '),
        what: `nobody has said what ${unknown.join(', ')} can serve`,
        why: 'whether the others could hold all cannot be worked out',
        mend: unknown.map((name) => `dataCenters.${name}.capacity: { limit: …, peak: … }`).join('\n'),
      },
    ];
  const peak = sum(all.map(({ capacity }) => capacity?.peak ?? 0));
  return all.flatMap(({ name }): Found[] => {
    const left = all.filter((other) => other.name !== name);
    const limit = sum(left.map(({ capacity }) => capacity?.limit ?? 0));
    if (limit >= peak) return [];
    return [
      {
        severity: 'warning',
        code: 'capacity',
        subject: name,
        what: `without ${name}, ${left.map((other) => other.name).join(' and ')} can serve ${limit} requests a second of the ${peak} that come at the busiest time`,
        why: 'a failover then ends in overload: what is left has to hold all, or grow before customers arrive (`hooks.onTakeover`)',
      },
    ];
  });
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, one) => total + one, 0);
}
