/** The log behind `buffered` tables, each adapter against the same suite. */
import { natsLog, postgresLog } from '@lanekeeper/server/buffer';
import { afterAll, beforeAll, describe } from 'vitest';
import { bufferLogConforms } from '../support/buffer-conformance.ts';
import { type FencedDatabase, fencedDatabase, twoDataCenters } from '../support/fenced.ts';
import { missingNats, type TestNats, testNats } from '../support/nats.ts';

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

const missing = missingNats();
const login = { user: 'lanekeeper', password: 'p%41ss "word"'.replaceAll('"', '') };

describe.skipIf(missing !== null).each([1, 3] as const)(
  'the log in NATS with %i replicas (needs nats-server)',
  (replicas) => {
    let nats: TestNats;
    beforeAll(async () => {
      nats = await testNats({ servers: replicas, login });
    });
    afterAll(() => nats?.stop());

    bufferLogConforms({
      open: () =>
        natsLog({
          servers: nats.urls,
          login,
          cluster: 'shop',
          here: 'ny',
          targets: ['ny', 'la'],
          replicas,
          databaseUrl: database.urls.agent,
        }),
      crash: async () => {
        await nats.kill(0);
        await nats.start(0);
      },
    });
  },
);
