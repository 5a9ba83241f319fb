import { expect, test } from 'vitest';
import { readSettings, SettingsError } from './settings.ts';

test('nothing has to be set', () => {
  expect(readSettings({})).toEqual({
    host: '127.0.0.1',
    port: 3000,
    trustProxy: 'loopback',
    deskPassphrase: null,
    paymentUrl: null,
    scryptCostLog2: 15,
    demo: true,
    logLevel: 'info',
  });
});

test('what is set wrongly is said', () => {
  for (const env of [
    { PORT: '-1' },
    { PORT: '65536' },
    { PORT: '80x' },
    { STOREFRONT_SCRYPT_COST: '2' },
    { STOREFRONT_DEMO: 'maybe' },
    { STOREFRONT_PAYMENT_URL: 'payments:80' },
    { LOG_LEVEL: 'loud' },
    { STOREFRONT_DESK_PASSPHRASE: 'short' },
  ]) {
    expect(() => readSettings(env), JSON.stringify(env)).toThrow(SettingsError);
  }
  expect(readSettings({ PORT: '0', STOREFRONT_DEMO: 'off', HOST: '127.0.1.1' })).toMatchObject({
    host: '127.0.1.1',
    port: 0,
    demo: false,
  });
});
