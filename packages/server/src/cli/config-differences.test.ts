import {
  comparableConfiguration,
  configurationDigest,
  createConfiguration,
  type WrittenConfiguration,
} from 'lanekeeper/config';
import { expect, test } from 'vitest';
import { differencesOf } from './config-differences.ts';

const dc = (place: string, port: number) => ({
  place,
  faultDomain: place,
  database: `postgres://127.0.0.1:${port}/shop`,
  url: `https://${place}.shop.example`,
});

const written = (): WrittenConfiguration => ({
  cluster: 'shop',
  approach: 'full-active-active',
  dataCenters: { ny: dc('east', 1), la: dc('west', 2) },
  leases: { store: 'postgres', url: 'postgres://witness.example/witness' },
  tables: { accounts: { class: 'system-of-record', account: 'id', root: true } },
  hooks: { onTakeover: 'https://scaler.example/secret-path' },
});

const make = (change: (configuration: WrittenConfiguration) => void = () => {}, here = 'ny') => {
  const changed = written();
  change(changed);
  return createConfiguration(changed, { here });
};
const found = (change: (configuration: WrittenConfiguration) => void) =>
  differencesOf(comparableConfiguration(make()), comparableConfiguration(make(change))).map(({ path, needs }) => [
    path.join('.'),
    needs,
  ]);

test('addresses, and where one is, make no difference; nothing that could be secret is in it', () => {
  const elsewhere = make((one) => {
    for (const [name, dataCenter] of Object.entries(one.dataCenters)) {
      dataCenter.database = `postgres://10.0.0.1:7/shop_${name}`;
      dataCenter.agents = ['http://10.0.0.2:7411'];
    }
    one.leases = { store: 'postgres', url: 'postgres://somebody@10.0.0.3/witness' };
  }, 'la');
  expect(configurationDigest(elsewhere)).toBe(configurationDigest(make()));
  const text = JSON.stringify(comparableConfiguration(elsewhere));
  expect(text).not.toMatch(/10\.0\.0|somebody|secret-path/);
  expect(text).toMatch(/onTakeover":true/);
});

test('the order in which things are written makes none either, defaults that are written out do not', () => {
  const turned = make((one) => {
    one.moves = { perHour: 12, dwell: '30s' };
    const { tables, cluster } = one;
    Object.assign(one, { tables, cluster });
  });
  expect(configurationDigest(turned)).toBe(configurationDigest(make()));
});

test('what differs, and what it needs', () => {
  expect(found((one) => (one.moves = { dwell: '1m' }))).toEqual([['moves.dwellMs', ['restart']]]);
  expect(found((one) => (one.tables.orders = { class: 'session-state' }))).toEqual([
    ['tables.public.orders', ['apply', 'restart']],
  ]);
  expect(found((one) => (one.stride = 16))).toEqual([['stride', ['never']]]);
  expect(found((one) => (one.approach = 'active-active-apps')).map(([path]) => path)).toEqual([
    'approach',
    'homes',
    'routing',
    'tables.public.accounts.account',
    'tables.public.accounts.root',
  ]);
  expect(found((one) => (one.rollout = { bake: '1m' }))).toEqual([['rollout.bakeMs', ['nothing']]]);
  expect(configurationDigest(make((one) => (one.moves = { dwell: '1m' })))).not.toBe(configurationDigest(make()));
});

test('a fixed home that starts elsewhere moves nothing', () => {
  const [one] = differencesOf({ fixed: { carts: 'ny' } }, { fixed: { carts: 'la' } });
  expect(one).toMatchObject({
    path: ['fixed', 'carts'],
    needs: ['nothing'],
    note: expect.stringMatching(/rehome fixed:carts --to la/),
  });
});
