/** Everything that catalogs and counters tell of a database, read in one read-only transaction. */
import type { Catalog } from '../catalog.ts';
import type { Connect, Unavailable } from '../connect.ts';
import { type CarriedTables, readCarried } from '../streams/carried.ts';
import { type DatabaseProblem, databaseProblem } from '../transaction.ts';
import { type Hazards, readHazards } from './hazards.ts';
import { readCatalog } from './read-catalog.ts';
import { readStatistics, type Statistics } from './statistics.ts';

export type Survey = {
  readonly kind: 'surveyed';
  readonly database: string;
  readonly catalog: Catalog;
  readonly hazards: Hazards;
  readonly statistics: Statistics;
  /** What the streams carry of each table. */
  readonly carried: CarriedTables;
};

export type SurveyResult = Survey | Unavailable | { readonly kind: 'unreadable'; readonly error: DatabaseProblem };

/** Any role that may connect can see the catalogs; what a role may not see of sequences is left out. */
export async function surveyDatabase(connect: Connect): Promise<SurveyResult> {
  const connected = await connect('lanekeeper survey');
  if (connected.kind === 'unavailable') return connected;
  const { client } = connected;
  try {
    await client.query('BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY');
    const { rows } = await client.query<{ name: string }>('SELECT current_database() AS name');
    const catalog = await readCatalog(client);
    const hazards = await readHazards(client);
    const statistics = await readStatistics(client);
    const carried = await readCarried(client);
    await client.query('COMMIT');
    return { kind: 'surveyed', database: rows[0]?.name ?? '', catalog, hazards, statistics, carried };
  } catch (thrown) {
    const error = databaseProblem(thrown);
    if (!error) throw thrown;
    return { kind: 'unreadable', error };
  } finally {
    await client.end();
  }
}
