import { expect, test } from 'vitest';
import { skuPattern } from '../web/input.ts';
import { categories, goods } from './goods.ts';

test('every piece is on a shelf that exists, has a price, and a name of its own', () => {
  const slugs = categories.map(({ slug }) => slug);
  for (const good of goods) {
    expect(good.sku).toMatch(skuPattern);
    expect(slugs).toContain(good.category);
    expect(Number.isInteger(good.price) && good.price > 0, good.sku).toBe(true);
    for (const words of [good.name, good.summary, good.description, good.size, good.stock]) {
      expect(words.trim(), good.sku).not.toBe('');
    }
  }
  expect(new Set(goods.map(({ sku }) => sku)).size).toBe(goods.length);
  expect(new Set(goods.map(({ name }) => name)).size).toBe(goods.length);
});
