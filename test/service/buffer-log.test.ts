/** The log behind `buffered` tables, each adapter against the same suite. */
import { postgresLog } from '@lanekeeper/server/buffer';
import { afterAll, beforeAll, describe } from 'vitest';
import { bufferLogConforms } from '../support/buffer-conformance.ts';
import { type FencedDatabase, fencedDatabase, twoDataCenters } from '../support/fenced.ts';

const schema = `CREATE TABLE notes (id text PRIMARY KEY, body text NOT NULL);
  GRANT SELECT, INSERT, UPDATE, DELETE ON notes TO lanekeeper_application`;
const configuration = twoDataCenters({
  tables: { notes: { class: 'cache', writes: 'buffered' } },
  extra: { approach: 'active-passive' },
});

let database: FencedDatabase;
beforeAll(async () => {
  database = await fencedDatabase(schema, configuration);
});
afterAll(() => database?.stop());

describe('the log in PostgreSQL', () => {
  bufferLogConforms({
    open: () => postgresLog({ url: database.urls.agent, here: 'ny' }),
    crash: async () => {
      await database.cluster.kill();
      await database.cluster.start();
    },
  });
});
