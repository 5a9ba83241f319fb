/** Names of a lab's data centers, as options take them. */
import { InvalidArgumentError } from 'commander';
import { dataCenterNamePattern, maxDataCenters } from 'lanekeeper/config';

export function dataCenterNames(text: string): readonly string[] {
  const names = text.split(',').map((name) => name.trim());
  if (!names.every((name) => dataCenterNamePattern.test(name))) {
    throw new InvalidArgumentError('Short names of lower-case letters and digits, for example ny,la,fra.');
  }
  if (new Set(names).size !== names.length) throw new InvalidArgumentError('Each name once.');
  if (names.length < 2 || names.length > maxDataCenters) {
    throw new InvalidArgumentError(`Two names, or ${maxDataCenters}.`);
  }
  const taken = names.find((name) => ['witness', 'customers', 'payments'].includes(name));
  if (taken) throw new InvalidArgumentError(`${taken} is a place of its own in the lab.`);
  return names;
}
