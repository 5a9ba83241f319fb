/** Everything that can be said of a schema and a configuration without asking a server for more: `doctor` and `advise` say it. */
import type { Configuration } from 'lanekeeper/config';
import type { Catalog } from '../catalog.ts';
import type { Hazards } from '../inspect/hazards.ts';
import { bySeverity, type Finding, finding } from './finding.ts';
import { lintSchema } from './lint.ts';
import { lintHazards } from './lint-hazards.ts';
import { lintPlaces } from './lint-places.ts';

/** Findings about tables, keys, sequences, types and data centers, the gravest first. */
export function judgeSchema(configuration: Configuration, catalog: Catalog, hazards: Hazards): readonly Finding[] {
  return [
    ...lintSchema(configuration, catalog),
    ...lintHazards(configuration, catalog, hazards),
    ...lintPlaces(configuration),
  ]
    .map((found) => finding(configuration.here, found))
    .sort(bySeverity);
}
