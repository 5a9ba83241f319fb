/** How a table that belongs to no account is written and merged. Part of `resolve-tables.ts`. */
import type { DataClass, Policy, WritePattern } from '../model/index.ts';
import type { Table } from './configuration.ts';
import { durationMs } from './duration.ts';
import { nearest, oneOf } from './nearest.ts';
import type { Path, Problems } from './problem.ts';
import { checkDataCenterName } from './resolve-data-centers.ts';
import type { FilledConfiguration } from './schema.ts';

type WrittenTable = FilledConfiguration['tables'][string];

const dayMs = 86_400_000;
const defaultWeight = 100;

/** Classes whose rows are written in more than one place. */
const shared: ReadonlySet<DataClass> = new Set(['system-of-reference', 'cache']);

export function mergingOf(
  table: WrittenTable,
  path: Path,
  written: FilledConfiguration,
  problems: Problems,
): Pick<Table, 'policy' | 'weights' | 'writes' | 'copy' | 'feeder' | 'cached' | 'home'> {
  checkFeeder(table, path, written, problems);
  const writes = writesOf(table, path, problems);
  return {
    policy: policyOf(table, writes, path, problems),
    weights: weightsOf(table, path, written, problems),
    writes,
    copy: copyOf(table, path, problems),
    feeder: table.feeder ?? null,
    cached: table.cached,
    home: homeOf(table, path, written, problems),
  };
}

function homeOf(table: WrittenTable, path: Path, written: FilledConfiguration, problems: Problems): string | null {
  const { home } = table;
  if (home === undefined) return null;
  const at = [...path, 'home'];
  if (table.class !== 'system-of-record')
    problems.error(
      at,
      `A ${table.class} table has no home`,
      'Remove `home`, or declare the table system-of-record.',
      'key',
    );
  else if (table.account !== undefined || table.root)
    problems.error(
      at,
      'A row is written either in the home of its account or in a fixed home',
      'Remove `home`, or `account` and `root`.',
      'key',
    );
  if (!Object.hasOwn(written.fixed, home)) {
    const meant = nearest(home, Object.keys(written.fixed));
    problems.error(
      at,
      `There is no fixed home \`${home}\``,
      meant === null ? `Add it to \`fixed\`, for example \`${home}: ny\`.` : `Did you mean \`${meant}\`?`,
    );
  }
  return home;
}

function writesOf(table: WrittenTable, path: Path, problems: Problems): WritePattern {
  const { writes } = table;
  if (writes === 'replicated' || shared.has(table.class)) {
    if (writes !== 'replicated' && table.feeder !== undefined)
      problems.error(
        [...path, 'writes'],
        'What a feeder publishes is carried by PostgreSQL',
        'Remove `writes`, or `feeder`.',
      );
    return writes;
  }
  const reason =
    table.class === 'system-of-record'
      ? 'A record that was acknowledged must be where it is read next, and in order: no log and no second writer can promise that'
      : `A ${table.class} table is not written in several data centers`;
  problems.error(
    [...path, 'writes'],
    reason,
    'Remove `writes`, or declare the table system-of-reference, if losing to another write is all right.',
  );
  return 'replicated';
}

function policyOf(table: WrittenTable, writes: WritePattern, path: Path, problems: Problems): Policy | null {
  const { policy } = table;
  const at = [...path, 'policy'];
  if (policy === undefined) {
    const merged = table.class === 'system-of-reference' && table.feeder === undefined && writes === 'replicated';
    return merged ? 'timestamp-weight' : null;
  }
  if (table.class === 'system-of-record')
    problems.error(
      at,
      'Every policy throws one of two writes away, and a record that was acknowledged must not be lost: it is written in one home instead, so that there is nothing to merge',
      'Remove `policy`, or declare the table system-of-reference, if losing a write is all right.',
    );
  else if (!shared.has(table.class))
    problems.error(at, `A ${table.class} table is written in one place, so nothing is merged`, 'Remove `policy`.');
  else if (table.feeder !== undefined)
    problems.error(
      at,
      'Only its feeder writes this table, so nothing is merged',
      'Remove `policy`; or remove `feeder` and give that data center the greatest weight with locality-weight.',
    );
  else if (writes !== 'replicated')
    problems.error(
      at,
      `With \`writes: ${writes}\` every data center gets every write, in order per key; nothing is merged`,
      'Remove `policy`.',
    );
  else if (policy === 'last-man-standing' && table.class !== 'cache')
    problems.error(
      at,
      'With last-man-standing data centers stay different from each other',
      'Another policy: timestamp-weight, locality-weight or application-weight. Only a cache may diverge.',
    );
  else if (policy === 'last-man-standing' && !table.allowDivergence)
    problems.error(
      at,
      'With last-man-standing data centers stay different from each other',
      'Write `allowDivergence: true` if that is all right, or another policy.',
    );
  return policy;
}

function weightsOf(
  table: WrittenTable,
  path: Path,
  written: FilledConfiguration,
  problems: Problems,
): Record<string, number> {
  const own = table.weights ?? {};
  for (const name of Object.keys(own)) checkDataCenterName(name, [...path, 'weights', name], written, problems);
  if (table.weights !== undefined && table.policy !== 'locality-weight')
    problems.error(
      [...path, 'weights'],
      'Weights of data centers count for locality-weight only',
      'Write `policy: locality-weight`, or remove `weights`.',
      'key',
    );
  const weights: Record<string, number> = Object.create(null);
  for (const name of Object.keys(written.dataCenters))
    weights[name] = own[name] ?? written.merge.weights[name] ?? defaultWeight;
  return weights;
}

function copyOf(table: WrittenTable, path: Path, problems: Problems): Table['copy'] {
  const { copy } = table;
  if (copy === undefined) return null;
  if (table.class !== 'system-of-reference')
    problems.error(
      [...path, 'copy'],
      `A ${table.class} table is no copy of others`,
      'Declare it system-of-reference, with a `feeder` that makes the copy.',
      'key',
    );
  else if (table.feeder === undefined)
    problems.error(
      [...path, 'feeder'],
      'Which data center makes the copy?',
      'Add `feeder:`; the others receive it from there.',
      'key',
    );
  const [hours = 0, minutes = 0] = copy.at.split(':').map(Number);
  return {
    query: copy.query,
    everyMs: durationMs(copy.every, [...path, 'copy', 'every'], problems, 1000, 366 * dayMs),
    atMs: (hours * 60 + minutes) * 60_000,
  };
}

function checkFeeder(table: WrittenTable, path: Path, written: FilledConfiguration, problems: Problems): void {
  const fed = table.class === 'read-only' || table.class === 'static-content';
  if (fed && table.feeder === undefined) {
    problems.error(
      [...path, 'feeder'],
      `A ${table.class} table is written by one data center: which?`,
      `Add \`feeder:\` with one of ${oneOf(Object.keys(written.dataCenters))}.`,
      'key',
    );
  } else if (!fed && table.feeder !== undefined && table.class !== 'system-of-reference') {
    problems.error(
      [...path, 'feeder'],
      `A ${table.class} table has no feeder`,
      'Remove `feeder`, or declare the table read-only: written by its feeder, read by all.',
      'key',
    );
  }
  if (table.feeder !== undefined) checkDataCenterName(table.feeder, [...path, 'feeder'], written, problems);
}
