/**
 * Three real data centers, without agents, of which two fail one after the other, each time with writes that somebody has and
 * somebody has not. They come back in both orders, stage by stage as their agents would do it. In the end all hold the same, and
 * what was stranded is in the ledger once.
 */
import { freezeStreams } from '@lanekeeper/server/postgres';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { runSql } from '../support/clusters.ts';
import {
  apart,
  arrived,
  comesBack,
  everywhere,
  expectEqual,
  fails,
  ledgerIn,
  line,
  linesOf,
  type Name,
  names,
  nextTerm,
  note,
  returningOf,
  startTrio,
  stopTrio,
  urls,
  write,
  writesDown,
} from '../support/returning-trio.ts';
import { using } from '../support/taken-over.ts';

beforeAll(startTrio, 90_000);
afterAll(stopTrio, 60_000);

test('two fail, each with what only one other has and with what nobody has; both come back at the third', async () => {
  // Only la hears this of ny, and then nobody does.
  await apart('ny', 'fra');
  await line('ny', 'ny1', 'only la has it');
  await note('ny', 'ny2', 'only la has it');
  await arrived('ny', 'la');
  await apart('ny', 'la');
  await line('ny', 'ny1', 'nobody has it');
  await write('ny', "INSERT INTO accounts VALUES ('ny9', 'born alone')");
  await runSql(urls('ny').agent, "SELECT lanekeeper.give('ny3', 'fra', 1, 0)");
  await fails('ny', 'la');

  // la takes over, and fails before fra has heard of that; ny, which was cut off only, still hears la.
  await apart('la', 'fra');
  await line('la', 'la1', 'only ny has it');
  await arrived('la', 'ny');
  await writesDown('la');
  await line('la', 'ny1', 'by la, and nobody has it');
  await note('la', 'la2', 'nobody has it of la');
  await expect(line('fra', 'ny1', 'no')).rejects.toMatchObject({ code: 'LK001' });

  // ny has begun to come back at la, and has written down there what fra has not heard of either.
  const begun = returningOf('ny');
  const early = { kind: 'rejoin', round: 1, term: 2, takenOver: 2, successor: 'la' } as const;
  expect(await begun.perform({ ...early, stage: 'frozen' })).toEqual({ kind: 'reached', stage: 'frozen' });

  await fails('la', 'fra');
  await using(urls('ny').agent, (client) => freezeStreams(client, 'la', 3, 10_000));
  expect(await begun.perform({ ...early, stage: 'stranded' })).toMatchObject({ kind: 'not-yet' });
  await writesDown('fra');
  for (const account of ['ny1', 'la1']) await line('fra', account, 'by fra');
  await note('fra', 'ny3', 'by fra');

  await comesBack('ny', { term: 3, successor: 'fra' });
  expect(await linesOf('ny', 'la1')).toEqual(['by fra']);
  expect(await linesOf('ny', 'ny1')).toEqual(['by fra']);
  const ofNy = ['ny born alone', 'ny nobody has it', 'ny only la has it', 'ny only la has it'];
  expect(await ledgerIn('fra')).toEqual(['la only ny has it', ...ofNy]);

  await expect(line('ny', 'ny4', 'no')).rejects.toMatchObject({ code: 'LK001' });
  await comesBack('la', { term: 3, successor: 'fra' });
  await everywhere();
  await expectEqual();
  const ofLa = ['la by la, and nobody has it', 'la nobody has it of la', 'la only ny has it'];
  for (const name of names) expect(await ledgerIn(name)).toEqual([...ofLa, ...ofNy]);
  for (const name of names) expect(await linesOf(name, 'ny1')).toEqual(['by fra']);
}, 120_000);

test('one that was away while another one failed and came back gets what it missed', async () => {
  // fra fails, and then la, which has written on, and something that nobody has heard of.
  await everywhere();
  await apart('la', 'fra');
  await line('fra', 'fra1', 'only la has it');
  await arrived('fra', 'la');
  await arrived('fra', 'ny');
  await fails('fra', 'la');
  await writesDown('la');
  await arrived('la', 'ny');
  await line('la', 'fra1', 'by la');
  await note('la', 'la3', 'while fra is away');
  await arrived('la', 'ny');
  await apart('la', 'ny');
  await line('la', 'fra2', 'nobody has it of la, later');
  await fails('la', 'ny');
  await writesDown('ny');
  await line('ny', 'la3', 'by ny');
  // la comes back while fra is away, and writes: accounts of its own from now on.
  await comesBack('la', { term: 5, successor: 'ny' });
  await write('la', "INSERT INTO accounts VALUES ('la9', 'new')");
  await line('la', 'la9', 'new');
  expect(await linesOf('fra', 'fra1')).toEqual(['only la has it']);

  await comesBack('fra', { term: 5, successor: 'ny' });
  await everywhere();
  await expectEqual();
  for (const name of names) {
    expect(await linesOf(name, 'fra1')).toEqual(['by la', 'only la has it']);
    expect(await linesOf(name, 'la9')).toEqual(['new']);
    expect(await ledgerIn(name)).toContain('la nobody has it of la, later');
  }
}, 120_000);

test('the first one comes back at the third, and has to hear of what the second one wrote to its accounts, while that is away', async () => {
  await everywhere();
  await apart('ny', 'la');
  await apart('ny', 'fra');
  await note('ny', 'ny1', 'nobody has it either');
  await note('ny', 'ny4', 'nobody has it either');
  await fails('ny', 'la');
  await writesDown('la');
  for (const account of ['ny1', 'ny2']) await note('la', account, 'by la, and fra has it');
  await line('la', 'ny1', 'by la, and fra has it');
  await arrived('la', 'fra');
  await apart('la', 'fra');
  await note('la', 'ny2', 'nobody has it of la in the end');
  await fails('la', 'fra');
  await writesDown('fra');
  await note('fra', 'ny4', 'by fra in the end');

  await comesBack('ny', { term: 7, successor: 'fra' });
  const notes = async (name: Name) =>
    runSql(urls(name).agent, "SELECT id, note FROM accounts WHERE id IN ('ny1', 'ny2', 'ny4') ORDER BY id");
  const expected = [
    { id: 'ny1', note: 'by la, and fra has it' },
    { id: 'ny2', note: 'by la, and fra has it' },
    { id: 'ny4', note: 'by fra in the end' },
  ];
  expect(await notes('ny')).toEqual(expected);
  await comesBack('la', { term: 7, successor: 'fra' });
  await everywhere();
  await expectEqual();
  for (const name of names) expect(await ledgerIn(name)).toContain('ny nobody has it either');
}, 120_000);

test('its home fails when it is streaming: it begins again at the next one, and has heard more of the first than that one', async () => {
  const stage = 'streaming';
  const term = nextTerm();
  const account = `la_in_${term}`;
  await write('la', `INSERT INTO accounts VALUES ('${account}', 'born')`);
  await everywhere();
  await apart('la', 'ny');
  await apart('la', 'fra');
  await note('la', account, `nobody has it ${stage}`);
  await fails('la', 'ny');
  await writesDown('ny');
  await note('ny', account, 'by ny');
  await arrived('ny', 'fra');
  await comesBack('la', { term, successor: 'ny' }, stage);

  await apart('ny', 'fra');
  await line('ny', account, `only la has it ${stage}`);
  await arrived('ny', 'la');
  await apart('ny', 'la');
  await line('ny', account, `nobody has it of ny ${stage}`);
  await fails('ny', 'fra');
  await writesDown('fra');
  await line('fra', account, 'by fra');
  await comesBack('la', { term: term + 1, successor: 'fra' });
  expect(await linesOf('la', account)).toEqual(['by fra']);
  const told = async (name: Name) => (await ledgerIn(name)).filter((entry) => entry.endsWith(` ${stage}`));
  expect(await told('fra')).toEqual([`la nobody has it ${stage}`, `ny only la has it ${stage}`]);
  await comesBack('ny', { term: term + 1, successor: 'fra' });
  await everywhere();
  await expectEqual();
  for (const name of names) {
    expect(await told(name)).toEqual([
      `la nobody has it ${stage}`,
      `ny nobody has it of ny ${stage}`,
      `ny only la has it ${stage}`,
    ]);
    expect(await linesOf(name, account)).toEqual(['by fra']);
  }
}, 120_000);
