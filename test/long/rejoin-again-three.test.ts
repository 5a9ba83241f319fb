/**
 * Coming back among three when another one fails in the middle of it, with what only the one that comes back has. Nobody waits for
 * what that one says: what counts is less than what it had set nothing aside of.
 */
import { freezeStreams } from '@lanekeeper/server/postgres';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { runSql } from '../support/clusters.ts';
import {
  apart,
  arrived,
  comesBack,
  eventually,
  everywhere,
  expectEqual,
  fails,
  ledgerIn,
  line,
  linesOf,
  names,
  nextTerm,
  note,
  startTrio,
  stopTrio,
  urls,
  write,
  writesDown,
} from '../support/returning-trio.ts';
import { using } from '../support/taken-over.ts';

beforeAll(startTrio, 90_000);
afterAll(stopTrio, 60_000);

test.each(['undone', 'caught-up'])(
  'another one fails when it is %s, with what only this one has: it begins again, and sets that aside as well',
  async (stage) => {
    const term = nextTerm();
    const account = `la_in_${term}`;
    await write('la', `INSERT INTO accounts VALUES ('${account}', 'born')`);
    await everywhere();
    const tellNy = async () => {
      await apart('la', 'fra');
      await line('la', account, `only ny has it ${stage}`);
      await arrived('la', 'ny');
    };
    if (stage === 'undone') await tellNy();
    await fails('ny', 'fra');
    await writesDown('fra');
    await comesBack('ny', { term, successor: 'fra' }, stage);
    if (stage === 'caught-up') {
      await note('la', account, 'everybody has it');
      await arrived('la', 'ny');
      await arrived('la', 'fra');
      await tellNy();
    }
    await fails('la', 'fra');
    await using(urls('ny').agent, (client) => freezeStreams(client, 'la', term + 1, 10_000));
    await writesDown('fra');
    await line('fra', account, 'by fra');
    // Otherwise it would read on, and have both.
    if (stage === 'caught-up')
      await eventually('the stream from fra is held', async () =>
        expect(
          await runSql(
            urls('ny').superuser,
            "SELECT FROM pg_stat_subscription_stats WHERE subname = 'lanekeeper_fra_homed' AND apply_error_count > 0",
          ),
        ).toHaveLength(1),
      );

    const reached = await comesBack('ny', { term, successor: 'fra' });
    expect(reached).toContain('frozen');
    expect(reached).toContain('stranded');
    expect(await linesOf('ny', account)).toEqual(['by fra']);
    expect(await ledgerIn('fra')).toContain(`la only ny has it ${stage}`);
    await comesBack('la', { term: term + 1, successor: 'fra' });
    await everywhere();
    await expectEqual();
    for (const name of names) {
      expect(await linesOf(name, account)).toEqual(['by fra']);
      expect((await ledgerIn(name)).filter((entry) => entry.endsWith(` ${stage}`))).toEqual([
        `la only ny has it ${stage}`,
      ]);
    }
  },
  120_000,
);
