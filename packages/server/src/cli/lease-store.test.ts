import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createConfiguration, type WrittenConfiguration } from 'lanekeeper/config';
import { afterAll, expect, test } from 'vitest';
import { openLeaseStore } from './lease-store.ts';

const directory = mkdtempSync(join(tmpdir(), 'lanekeeper-lease-store-'));
afterAll(() => rmSync(directory, { recursive: true }));

const endpoints = ['https://127.0.0.1:3', 'https://127.0.0.1:4', 'https://127.0.0.1:5'];
function open(leases: WrittenConfiguration['leases'], env: NodeJS.ProcessEnv = {}) {
  const ny = { place: 'x', faultDomain: 'x', database: 'postgres://127.0.0.1:1/shop', url: 'http://127.0.0.1:2' };
  const written = { cluster: 'shop', approach: 'active-passive', dataCenters: { ny }, leases, tables: {} } as const;
  return openLeaseStore(createConfiguration(written, { here: 'ny', directory }), env);
}

test('the store that is configured is the one that is asked', async () => {
  const postgres = open({ url: 'postgres://127.0.0.1:3/witness' });
  await expect(postgres.read()).rejects.toThrow('ECONNREFUSED 127.0.0.1:3');
  const etcd = open({ store: 'etcd', endpoints });
  await expect(etcd.read()).rejects.toThrow(/The lease store failed\. https:\/\/127\.0\.0\.1:3: .*127\.0\.0\.1:5/);
  await Promise.all([postgres.close(), etcd.close()]);
});

test('a user without password, and files that are no certificates, are mistakes of the configuration', () => {
  expect(() => open({ store: 'etcd', endpoints, user: 'u' })).toThrow(/LANEKEEPER_WITNESS_PASSWORD is not set/);
  const tls = { ca: './ca.pem' };
  expect(() => open({ store: 'etcd', endpoints, tls })).toThrow(
    /leases\.tls\.ca: .*\/ca\.pem cannot be read \(ENOENT\)/,
  );
  writeFileSync(join(directory, 'ca.pem'), 'nothing');
  expect(() => open({ store: 'etcd', endpoints, tls })).toThrow(/leases\.tls\.ca: .* is not a PEM file/);
});
