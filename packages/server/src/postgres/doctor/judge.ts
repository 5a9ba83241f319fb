/** Everything that can be said of a schema and a configuration without asking a server for more: `doctor` and `advise` say it. */
import type { Configuration } from 'lanekeeper/config';
import type { Catalog } from '../catalog.ts';
import type { Hazards } from '../inspect/hazards.ts';
import { judgeCapacity } from './capacity.ts';
import { bySeverity, type Finding, type Found, finding } from './finding.ts';
import { lintSchema } from './lint.ts';
import { lintHazards } from './lint-hazards.ts';
import { lintPlaces } from './lint-places.ts';

/** Findings about tables, keys, sequences and types, the gravest first. */
export function judgeSchema(configuration: Configuration, catalog: Catalog, hazards: Hazards): readonly Finding[] {
  return sorted(configuration, [
    ...lintSchema(configuration, catalog),
    ...lintHazards(configuration, catalog, hazards),
  ]);
}

/** Findings about the data centers, which no database has to be asked for. */
export function judgePlaces(configuration: Configuration): readonly Finding[] {
  return sorted(configuration, [...lintPlaces(configuration), ...judgeCapacity(configuration)]);
}

function sorted({ here }: Configuration, found: readonly Found[]): readonly Finding[] {
  return found.map((one) => finding(here, one)).sort(bySeverity);
}
