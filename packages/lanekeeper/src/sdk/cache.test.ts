import { expect, test } from 'vitest';
import { Caches, RowCache } from './cache.ts';

const tables = new Set(['public.products', 'public.prices']);
const live = (options = {}) => new RowCache(tables, options, true);
const heard = (cache: RowCache, table: string, key: string | null = null) =>
  cache.hear({ table, key: key === null ? null : JSON.stringify([key]) });

/** A fill that is answered when the test says so. */
function slow() {
  let answer: (value: string) => void = () => {};
  const promise = new Promise<string>((resolve) => {
    answer = resolve;
  });
  return { fill: () => promise, answer };
}

test('an entry is kept until one of its rows or tables changes', async () => {
  const cache = live();
  let reads = 0;
  const read = () => cache.get('page 1', [['products', 1], 'prices'], async () => ++reads);
  expect([await read(), await read()]).toEqual([1, 1]);
  heard(cache, 'public.products', '2');
  expect(await read()).toBe(1);
  heard(cache, 'public.products', '1');
  expect(await read()).toBe(2);
  heard(cache, 'public.prices', 'anything');
  expect(await read()).toBe(3);
  heard(cache, 'public.products');
  expect(await read()).toBe(4);
  cache.forget(['products', '1']);
  expect(await read()).toBe(5);
  expect(cache.statistics).toMatchObject({ hits: 2, misses: 5, forgotten: 4, entries: 1 });
});

test('what was read before a change was heard is not kept after it, nor given to who asks after it', async () => {
  const cache = live();
  const old = slow();
  const before = cache.get('p', [['products', 'a']], old.fill);
  const same = cache.get('p', [['products', 'a']], async () => 'not asked');
  await Promise.resolve();
  heard(cache, 'public.products', 'a');
  const after = cache.get('p', [['products', 'a']], async () => 'new');
  old.answer('old');
  expect(await Promise.all([before, same, after])).toEqual(['old', 'old', 'new']);
  expect(await cache.get('p', [['products', 'a']], async () => 'newer')).toBe('new');
});

test('the same for an old fill that ends after a new one', async () => {
  const cache = live();
  const old = slow();
  const before = cache.get('p', ['products'], old.fill);
  heard(cache, 'public.products', 'a');
  expect(await cache.get('p', ['products'], async () => 'new')).toBe('new');
  old.answer('old');
  expect(await before).toBe('old');
  expect(await cache.get('p', ['products'], async () => 'newest')).toBe('new');
});

test('a lost connection empties it, spoils what is being read, and until it is back nothing is kept', async () => {
  const caches = new Caches({ tables: { 'public.products': { name: 'public.products', cached: true } } as never });
  const cache = caches.create({});
  expect(await cache.get('p', ['products'], async () => 1)).toBe(1);
  expect(await cache.get('p', ['products'], async () => 2)).toBe(2);
  caches.live = true;
  expect(await cache.get('p', ['products'], async () => 3)).toBe(3);
  const old = slow();
  const under = cache.get('q', ['products'], old.fill);
  caches.live = false;
  caches.live = true;
  old.answer('old');
  expect(await under).toBe('old');
  expect(await cache.get('q', ['products'], async () => 'new')).toBe('new');
  expect(await cache.get('p', ['products'], async () => 4)).toBe(4);
  caches.hear('{"r":"public.products","k":["x"]}');
  caches.hear('nonsense');
  expect(await cache.get('p', ['products'], async () => 5)).toBe(5);
});

test('the least recently used goes first; old age goes too; failures are not kept', async () => {
  const cache = live({ max: 2 });
  for (const key of ['a', 'b', 'a', 'c']) await cache.get(key, [['products', key]], async () => key);
  expect(await cache.get('a', ['products'], async () => 'again')).toBe('a');
  expect(await cache.get('b', ['products'], async () => 'again')).toBe('again');
  expect(cache.statistics).toMatchObject({ entries: 2, evicted: 2 });
  const brief = live({ maxAgeMs: 1 });
  await brief.get('a', ['products'], async () => 1);
  await new Promise((resolve) => setTimeout(resolve, 5));
  expect(await brief.get('a', ['products'], async () => 2)).toBe(2);
  await expect(cache.get('x', ['products'], () => Promise.reject(new Error('no')))).rejects.toThrow('no');
  expect(await cache.get('x', ['products'], async () => 'yes')).toBe('yes');
});

test('a table of which nobody hears is a mistake', async () => {
  await expect(live().get('x', ['orders'], async () => 1)).rejects.toMatchObject({ code: 'LK_CONFIG' });
});
