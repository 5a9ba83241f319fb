import { expect, test } from 'vitest';
import type { Bookmark } from '../session/index.ts';
import { LastWrite } from './last-write.ts';

const before: Bookmark = { dataCenter: 'ny', position: '0/1', generation: 1 };

/** Looks that are answered by hand. */
function byHand() {
  const asked: ((position: string | null) => void)[] = [];
  const write = new LastWrite(
    (dataCenter) =>
      new Promise((resolve, reject) => {
        asked.push((position) =>
          position === null ? reject(new Error('no')) : resolve({ dataCenter, position, generation: 1 }),
        );
      }),
  );
  return { asked, write };
}

test('nothing was written: nothing changes, nobody waits', () => {
  const { write, asked } = byHand();
  expect(write.settled(1_000)).toBeNull();
  expect(write.after(before)).toBe(before);
  expect(asked).toHaveLength(0);
});

test('what is written while somebody looks is looked for again, once', async () => {
  const { write, asked } = byHand();
  for (let i = 0; i < 3; i += 1) write.note('local', 'ny');
  expect(asked).toHaveLength(1);
  const settled = write.settled(10_000);
  asked[0]?.('0/5');
  await expect.poll(() => asked.length).toBe(2);
  asked[1]?.('0/7');
  await settled;
  expect(write.after(before)).toEqual({ dataCenter: 'ny', position: '0/7', generation: 1 });
  expect(write.settled(1_000)).toBeNull();
});

test('a remote write covers what was written there before, not elsewhere, nor later', async () => {
  const { write, asked } = byHand();
  write.note('local', 'ny');
  write.note('remote', 'ny');
  expect(write.settled(1_000)).toBeNull();
  expect(write.after(before)).toBeNull();
  expect(write.after({ ...before, dataCenter: 'la' })).toMatchObject({ dataCenter: 'la' });
  asked[0]?.('0/5');
  write.note('local', 'ny');
  await expect.poll(() => asked.length).toBe(2);
  asked[1]?.('0/9');
  await write.settled(10_000);
  expect(write.after(before)).toMatchObject({ position: '0/9' });
});

test('who does not answer is not waited for long, and what is not known changes nothing', async () => {
  const { write, asked } = byHand();
  write.note('local', 'la');
  await write.settled(20);
  expect(write.after(before)).toBe(before);
  asked[0]?.(null);
  await expect.poll(() => write.settled(1_000)).toBeNull();
  expect(write.after(before)).toBe(before);
});
