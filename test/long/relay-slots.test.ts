/** A relay slot that is moved on while its reader falls behind and catches up, at random moments under load, has what is missing. */
import { type RelaySample, type TailPlace, withSample } from '@lanekeeper/server/postgres';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { runSql } from '../support/clusters.ts';
import { pause, type Relaying, relaying } from '../support/relaying.ts';

let here: Relaying;
beforeEach(async () => {
  here = await relaying();
}, 120_000);
afterEach(() => here?.trio.stop());

test('a relay slot that is moved on at random moments under load never lets go of what its reader lacks, and does not keep the rest', async () => {
  const { advance, arrived, cutOff, ensureSlots, fail, replay, same, sampleOf, stock, urls, write } = here;
  await stock();
  await ensureSlots();
  const loading = { on: true, written: 0 };
  const load = ['a', 'b', 'c'].map(async (writer) => {
    for (let n = 0; loading.on; n += 1) {
      await write(
        'ny',
        `INSERT INTO accounts VALUES ('${writer}-${n}', 'x', NULL); INSERT INTO reviews VALUES (hashtext('${writer}-${n}'), '${n}')`,
      );
      await write('ny', `UPDATE accounts SET name = 'changed' WHERE id = '${writer}-${n - 1}'`);
      loading.written += 1;
    }
  });
  const random = seeded(20_261_122);
  let samples: readonly RelaySample[] = [];
  let moved = 0;
  for (let round = 0; round < 40; round += 1) {
    const act = random();
    if (act < 0.15)
      await runSql(urls('fra').agent, `ALTER SUBSCRIPTION lanekeeper_ny_${random() < 0.5 ? 'homed' : 'rest'} DISABLE`);
    else if (act < 0.35) await enableAll();
    samples = withSample(samples, await sampleOf('la'), 8);
    if (random() < 0.7 && (await advance(samples)) !== null) moved += 1;
    await pause(random() * 60);
  }
  expect(moved).toBeGreaterThan(5);
  await enableAll();
  await pause(300);
  await cutOff(random() < 0.5 ? ['homed', 'rest'] : ['homed']);
  await pause(300);
  loading.on = false;
  await Promise.all(load);
  await arrived('ny', 'la');
  await advance(withSample(samples, await sampleOf('la'), 8));
  const upTo = (await fail()).la as TailPlace;
  // Of a stream that was not cut off it may have come past more that was nothing to it.
  expect(await replay(upTo)).toMatchObject({ kind: 'reached', homed: upTo.homed });
  await same();

  // Now that both have the same, nothing has to be kept.
  const last = await sampleOf('la');
  expect((await advance([last]))?.place).toBe(last.place);
  const [slot] = await runSql<{ passed: boolean }>(
    urls('la').superuser,
    `SELECT confirmed_flush_lsn >= $1::pg_lsn AS passed FROM pg_replication_slots WHERE slot_name = 'lanekeeper_fra_relay'`,
    [last.place],
  );
  expect(slot).toEqual({ passed: true });
}, 300_000);

async function enableAll(): Promise<void> {
  for (const stream of ['homed', 'rest'])
    await runSql(here.trio.dc('fra').urls.agent, `ALTER SUBSCRIPTION lanekeeper_ny_${stream} ENABLE`);
}

/** The same numbers in every run. */
function seeded(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 4_294_967_296;
  };
}
