/** What agents do for shared rows: send what was written before anybody read it, finish what is pending, forget what all have forgotten. */
import { applyChanges } from '@lanekeeper/server/postgres';
import { Client } from 'pg';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type TestAgents, testAgents } from '../support/agents.ts';
import { applyPair, connectAs } from '../support/applied.ts';
import { runSql, testRoleNames } from '../support/clusters.ts';
import { eventually } from '../support/eventually.ts';
import { type TestPair, testPair } from '../support/pair.ts';

let pair: TestPair;
let agents: TestAgents;
let holder: Client | null = null;

const write = (dc: string, sql: string) => runSql(pair.dc(dc).urls.application, sql);
const words = (dc: string) => runSql(pair.dc(dc).urls.application, 'SELECT word, meaning FROM words ORDER BY word');

beforeAll(async () => {
  pair = await testPair({
    schema: `
      CREATE TABLE words (word text PRIMARY KEY, meaning text);
      INSERT INTO words VALUES ('both', 'have it');
      GRANT SELECT, INSERT, UPDATE, DELETE ON words TO ${testRoleNames.application};
    `,
    configuration: {
      approach: 'active-passive',
      tables: { words: { class: 'system-of-reference' } },
      merge: { keepTombstones: '5s' },
    },
  });
}, 60_000);
afterAll(async () => {
  await holder?.end().catch(() => {});
  await agents?.stop();
  await pair?.stop();
});

it('what was written while nobody read it is sent to who begins to', async () => {
  const ny = pair.dc('ny');
  expect(await applyChanges(connectAs(ny, 'owner'), ny.configuration)).toMatchObject({ kind: 'applied' });
  await write('ny', "INSERT INTO words VALUES ('early', '1'), ('gone', '2'); DELETE FROM words WHERE word = 'gone'");
  await applyPair(pair);
  await write('la', "INSERT INTO words VALUES ('gone', 'there')");
  agents = await testAgents(pair);
  await Promise.all(pair.names.map((name) => agents.start(name)));
  const expected = [
    { word: 'both', meaning: 'have it' },
    { word: 'early', meaning: '1' },
    { word: 'gone', meaning: 'there' },
  ];
  for (const dc of pair.names)
    await eventually(agents, `words of ${dc}`, async () => expect(await words(dc)).toEqual(expected));
}, 60_000);

it('what is pending is shown, and finished when the row is free', async () => {
  holder = new Client({ connectionString: pair.dc('la').urls.application });
  holder.on('error', () => {});
  await holder.connect();
  await holder.query("BEGIN; UPDATE words SET meaning = 'held' WHERE word = 'early'");
  await write('ny', "UPDATE words SET meaning = 'later' WHERE word = 'early'");
  await eventually(agents, 'pending', async () =>
    expect((await agents.status('la')).merge).toMatchObject({ locked: 1, failed: [] }),
  );
  const shown = await agents.command('la', 'status');
  expect(shown.stdout).toMatch(/shared rows to merge/);
  await holder.query('ROLLBACK');
  await eventually(agents, 'merged', async () =>
    expect(await words('la')).toContainEqual({ word: 'early', meaning: 'later' }),
  );
  await eventually(agents, 'nothing pending', async () =>
    expect((await agents.status('la')).merge).toMatchObject({ locked: 0, oldestSeconds: null }),
  );
}, 60_000);

it('deleted rows are forgotten in time, by both', async () => {
  await write('la', "DELETE FROM words WHERE word = 'gone'");
  for (const dc of pair.names) {
    await eventually(agents, `${dc} knows`, async () => expect(await words(dc)).toHaveLength(2));
    await eventually(
      agents,
      `${dc} forgets`,
      async () => expect((await agents.status(dc)).merge).toMatchObject({ tombstones: 0 }),
      60_000,
    );
  }
  await write('ny', "INSERT INTO words VALUES ('gone', 'again')");
  await eventually(agents, 'again', async () =>
    expect(await words('la')).toContainEqual({ word: 'gone', meaning: 'again' }),
  );
}, 120_000);
