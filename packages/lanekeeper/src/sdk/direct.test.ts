import { expect, test } from 'vitest';
import type { Asked, Databases } from './databases.ts';
import { writeDirectly } from './direct.ts';

const down: Asked = { kind: 'unavailable', error: new Error('connect ECONNREFUSED') };
const begun: Asked = {
  kind: 'answered',
  rows: [{ of_number: '1', of_key: ['a'], image: '{}', of_stamp: '5', refused_state: null, refused_message: null }],
};

/** Two data centers, of which those in `resting` could not be reached a moment ago, and what each answers when it is asked. */
function databases(resting: readonly string[], answers: Readonly<Record<string, Asked>>) {
  const asked: string[] = [];
  const askAnyway = async (dc: string, text: string): Promise<Asked> => {
    asked.push(`${dc} ${/direct_begin|spread_apply|direct_end/.exec(text)?.[0]}`);
    return answers[dc] as Asked;
  };
  const fake: Pick<Databases, 'here' | 'names' | 'rests' | 'ask' | 'askAnyway'> = {
    here: 'ny',
    names: ['ny', 'la'],
    rests: (dc) => resting.includes(dc),
    ask: async (dc, text) => (resting.includes(dc) ? down : askAnyway(dc, text)),
    askAnyway,
  };
  return { asked, databases: fake as Databases };
}

test('one that could not be reached a moment ago is asked when nobody else takes the write', async () => {
  const { asked, databases: both } = databases(['la'], { ny: down, la: begun });
  expect(await writeDirectly(both, 'prices', '{}', false)).toMatchObject({
    kind: 'incomplete',
    recordedIn: 'la',
    dataCenters: { ny: { kind: 'unavailable' }, la: { kind: 'written' } },
  });
  expect(asked.slice(0, 2)).toEqual(['ny direct_begin', 'la direct_begin']);
});

test('one that could not be reached a moment ago is left alone when another takes the write, also here', async () => {
  const { asked, databases: both } = databases(['ny'], { ny: down, la: begun });
  expect(await writeDirectly(both, 'prices', '{}', false)).toMatchObject({ kind: 'incomplete', recordedIn: 'la' });
  expect(asked.filter((one) => one.startsWith('ny'))).toEqual([]);
});

test('when nobody takes it, nothing was written', async () => {
  const { databases: both } = databases(['ny', 'la'], { ny: down, la: down });
  await expect(writeDirectly(both, 'prices', '{}', false)).rejects.toMatchObject({ code: 'LK_NOT_LOGGED' });
});
