/** Among three, what one keeps for another in case the third fails has to be without the column as well, before it is dropped. */
import { leaveOutColumns } from '@lanekeeper/server/postgres';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { connectAs } from '../support/applied.ts';
import { runSql } from '../support/clusters.ts';
import { type Relaying, relaying } from '../support/relaying.ts';
import { applyTrouble } from '../support/settled.ts';

let three: Relaying;
beforeAll(async () => {
  three = await relaying();
});
afterAll(() => three?.trio.stop());

const leaveOut = (withinMs: number) =>
  leaveOutColumns({
    configuration: three.trio.dc('ny').configuration,
    connect: (dc) => connectAs(three.trio.dc(dc), 'owner'),
    table: 'public.accounts',
    columns: ['note'],
    isNew: false,
    withinMs,
    onEvent: () => {},
  });

test('a column is waited for in the relay slots, and then no failure brings it back', async () => {
  const { names, superusers } = three.trio;
  for (const keeper of names) await three.ensureSlots(keeper);
  await three.stock();

  const early = await leaveOut(3_000);
  expect(early.kind).toBe('waiting');
  for (const keeper of names)
    expect(early).toHaveProperty(`waiting.${keeper}`, expect.stringMatching(/\(lanekeeper_\w+_relay\)/));
  // What the agents do all the while.
  for (const keeper of names) await three.write(keeper, `INSERT INTO accounts (id) VALUES ('after ${keeper}')`);
  await three.everywhere();
  const done = leaveOut(30_000);
  let ended = false;
  done.finally(() => {
    ended = true;
  });
  while (!ended)
    for (const keeper of names) {
      const sample = await three.sampleOf(keeper);
      await three.everywhere();
      for (const peer of names.filter((name) => name !== keeper)) await three.advance([sample], keeper, peer);
    }
  expect(await done).toEqual({ kind: 'left-out', dataCenters: ['ny', 'la', 'fra'], having: ['ny', 'la', 'fra'] });

  await three.cutOff();
  await three.write(
    'ny',
    "INSERT INTO accounts (id, name) VALUES ('last', 'of ny'); UPDATE accounts SET name = 'new' WHERE id = 'a1'",
  );
  await three.arrived('ny', 'la');
  for (const dc of ['la', 'fra']) await runSql(three.urls(dc).owner, 'ALTER TABLE accounts DROP COLUMN note');
  expect(await applyTrouble(superusers)).toEqual({});
  const { la, fra } = await three.fail();
  expect(fra).not.toEqual(la);
  expect(await three.replay(la as NonNullable<typeof la>)).toMatchObject({ kind: 'reached' });
  await three.same();
});
