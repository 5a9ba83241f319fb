import { expect, test } from 'vitest';
import { Successions } from './successions.ts';

const take = { term: 2, kind: 'take', from: 'ny', to: 'la', undoes: null };
const back = { term: 3, kind: 'return', from: 'la', to: 'ny', undoes: 2 };
const deed = (home: string, term = 1) => ({ home, epoch: { term, counter: 4 }, accepted: true, draining: false });

/** Every answer is that of another data center's agents. */
function setUp(here: string, ...answers: unknown[]) {
  const heard = { news: 0, asked: 0 };
  const agents = answers.map((answer) => ({
    ask: async () => {
      heard.asked += 1;
      if (answer instanceof Error) throw answer;
      return answer;
    },
  }));
  return { heard, successions: new Successions(here, agents, () => (heard.news += 1)) };
}

test('a data center that was taken over learns from any agents where its accounts are', async () => {
  const answers = [{ term: 1, successions: [] }, { term: 2, successions: [take] }, new Error('away')];
  const { heard, successions } = setUp('ny', ...answers);
  expect(successions.present(deed('ny'))).toEqual(deed('ny'));
  await Promise.all([successions.learn(), successions.learn()]);
  expect(heard).toEqual({ news: 1, asked: 3 });
  expect(successions.present(deed('ny'))).toEqual({ ...deed('la', 2) });
  expect(successions.present(deed('ny', 2))).toEqual(deed('ny', 2));
  expect(successions.present(deed('la'))).toEqual(deed('la'));
  expect(successions.bornTerm).toBe(2);
});

test('what is to be here, and not yet in the database here, is arriving', async () => {
  const { successions } = setUp('la', { term: 2, successions: [take] });
  await successions.learn();
  expect(successions.present(deed('ny'))).toEqual({ ...deed('la', 2), accepted: false });
  expect(successions.bornTerm).toBe(1);
});

test('nonsense, silence and an older history change nothing', async () => {
  for (const answer of [
    new Error('away'),
    null,
    {},
    { successions: [{ ...take, from: 'la' }] },
    { successions: [back, take] },
  ]) {
    const { heard, successions } = setUp('ny', answer);
    await successions.learn();
    expect(heard.news).toBe(0);
    expect(successions.present(deed('ny'))).toEqual(deed('ny'));
  }
});

test('who is born here after the database heard of a succession away from here has at least its term', () => {
  const { successions } = setUp('ny');
  successions.heard({ term: 3, from: 'la' });
  expect(successions.bornTerm).toBe(1);
  successions.heard({ term: 2, from: 'ny' });
  expect(successions.bornTerm).toBe(2);
});
