import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { checkText } from './load.ts';
import { configurationSchema } from './schema.ts';

const path = new URL('../../../../docs/reference/lanekeeper.example.yaml', import.meta.url);
const text = readFileSync(path, 'utf8');

test('the example is right, without a warning', () => {
  const result = checkText(text, { file: 'example', env: {}, directory: '/nowhere' });
  expect(result).toMatchObject({ kind: 'valid', warnings: [] });
  if (result.kind !== 'valid') return;
  expect(result.configuration).toMatchObject({
    cluster: 'shop',
    homes: 'per-account',
    routing: 'customer',
    existingAccounts: 'ny',
    leases: {
      store: 'etcd',
      url: '',
      user: 'lanekeeper',
      tls: { ca: '/nowhere/etcd-ca.pem', cert: '/nowhere/etcd-client.pem', key: '/nowhere/etcd-client.key' },
      faultDomain: 'witness',
      ttlMs: 6000,
      renewEveryMs: 2000,
      skewMs: 1000,
    },
    failover: { mode: 'automatic', rejoin: 'automatic', keepStrandedMs: 30 * 86_400_000 },
    durability: { peerTimeoutMs: 2000 },
    moves: { dwellMs: 30_000, perHour: 12, signInWaitMs: 300, drainMs: 5000 },
    sessions: { maxAgeMs: 30 * 86_400_000, stickinessMs: 1_800_000, domain: 'shop.example' },
    ignore: ['public.kysely_*'],
  });
  expect(result.configuration.tables['public.order_lines']!.account).toEqual(['order_id', 'account_id']);
  expect(result.configuration.tables['shop.visits']!.class).toBe('session-state');
  expect(result.configuration.leases.endpoints).toHaveLength(3);
  expect(result.configuration.tables['public.orders']).toMatchObject({
    durability: 'remote',
    whenAlone: 'accept',
    stranded: 'keep',
  });
  expect(result.configuration.tables['public.carts']).toMatchObject({ durability: 'local', stranded: 'merge' });
  expect(result.configuration.tables['public.products']!.durability).toBe('local');
  expect(Object.isFrozen(result.configuration.dataCenters.ny!.agents)).toBe(true);
});

test('the example shows every field there is', () => {
  const fields = new Set<string>();
  collect(configurationSchema(), fields);
  expect(fields.size).toBeGreaterThan(40);
  const missing = [...fields].filter((field) => !new RegExp(`^[^#]*\\b${field}:`, 'm').test(text));
  expect(missing).toEqual([]);
});

test('every field of the JSON Schema says what it is for', () => {
  const undescribed: string[] = [];
  walk(configurationSchema(), '', (schema, where) => {
    // The members of a key are those of RFC 7517.
    if (where !== '' && !where.includes('.keys.') && typeof schema.description !== 'string') undescribed.push(where);
  });
  expect(undescribed).toEqual([]);
});

type JsonSchema = {
  properties?: Record<string, JsonSchema>;
  additionalProperties?: JsonSchema;
  anyOf?: JsonSchema[];
  items?: JsonSchema;
  description?: string;
};

function collect(schema: JsonSchema, fields: Set<string>): void {
  walk(schema, '', (_each, where) => {
    const name = where.split('.').at(-1)!;
    if (name !== '' && name !== '*') fields.add(name);
  });
}

function walk(schema: JsonSchema, where: string, visit: (schema: JsonSchema, where: string) => void): void {
  visit(schema, where);
  for (const [name, child] of Object.entries(schema.properties ?? {})) walk(child, `${where}.${name}`, visit);
  if (typeof schema.additionalProperties === 'object' && Object.keys(schema.additionalProperties).length > 0) {
    walk(schema.additionalProperties, `${where}.*`, visit);
  }
}
