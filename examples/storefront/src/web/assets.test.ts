import { gunzipSync } from 'node:zlib';
import { expect, test } from 'vitest';
import { goods } from '../catalog/goods.ts';
import { Assets, encodingFor, loadAssets } from './assets.ts';

test('the name changes with the content, and yesterday’s name still finds it', async () => {
  const assets = new Assets();
  assets.add('a-b.svg', 'image/svg+xml', Buffer.from('one'));
  const path = assets.path('a-b.svg');
  expect(path).toMatch(/^\/assets\/a-b\.[\w-]{10}\.svg$/);
  const file = path.slice('/assets/'.length);
  expect(assets.find(file)).toMatchObject({ name: 'a-b.svg', current: true });
  expect(assets.find('a-b.0123456789.svg')).toMatchObject({ name: 'a-b.svg', current: false });
  expect(assets.find('a-b.svg')).toMatchObject({ current: false });
  for (const name of ['', 'a', '../a-b.svg', '__proto__', 'constructor']) expect(assets.find(name)).toBeNull();
  expect(gunzipSync(await assets.encoded('a-b.svg', 'gzip')).toString()).toBe('one');
  expect(() => assets.path('no.svg')).toThrow('no asset no.svg');
});

test('every product has a picture of its own, drawn the same every time', () => {
  const [one, other] = [loadAssets(), loadAssets()];
  for (const { sku } of goods) {
    const name = `${sku}.svg`;
    expect(one.get(name).path).toBe(other.get(name).path);
    expect(one.get(name).title, sku).toMatch(/^[A-Z].{15,}/);
    const svg = one.get(name).body.toString();
    expect(svg, sku).not.toMatch(/NaN|undefined|Infinity/);
    // One clip path for each part, or one picture's parts would be cut like another's.
    const ids = [...svg.matchAll(/ id="([^"]+)"/g)].map((match) => match[1]);
    expect(new Set(ids).size, sku).toBe(ids.length);
  }
});

test('what is sent is what is taken', () => {
  expect(encodingFor('gzip, deflate, br, zstd', 'image/svg+xml')).toBe('br');
  expect(encodingFor('gzip, br;q=0', 'text/css')).toBe('gzip');
  expect(encodingFor('deflate', 'text/css')).toBe('identity');
  expect(encodingFor(undefined, 'text/css')).toBe('identity');
  expect(encodingFor('br', 'font/woff2')).toBe('identity');
});
