// biome-ignore-all lint/suspicious/noTemplateCurlyInString: variables of a configuration look like this.
import { generateKeyPairSync } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeEach, expect, test } from 'vitest';
import { ConfigurationError } from './diagnose.ts';
import { createConfiguration, loadConfiguration } from './load.ts';
import type { WrittenConfiguration } from './schema.ts';

const root = mkdtempSync(join(tmpdir(), 'lanekeeper-config-'));
afterAll(() => rmSync(root, { recursive: true }));
let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(root, 'case-'));
});

const valid: WrittenConfiguration = {
  cluster: 'shop',
  approach: 'active-passive',
  dataCenters: {
    ny: { place: 'New York', faultDomain: 'us-east', database: 'postgres://ny/shop', url: 'https://ny.shop.example' },
    la: {
      place: 'Los Angeles',
      faultDomain: 'us-west',
      database: 'postgres://la/shop',
      url: 'https://la.shop.example',
    },
  },
  leases: { url: 'postgres://witness/witness' },
  tables: { orders: { class: 'system-of-record' } },
};

function write(name: string, content: unknown): string {
  const path = join(directory, name);
  writeFileSync(path, typeof content === 'string' ? content : JSON.stringify(content));
  return path;
}

const ny = { LANEKEEPER_DC: 'ny' };

test('two data centers of one name are one too many', async () => {
  const [first, second] = Object.values(valid.dataCenters).map((dc) => JSON.stringify(dc));
  const rest = JSON.stringify({ ...valid, dataCenters: undefined }).slice(1, -1);
  const file = write('lanekeeper.yaml', `{ "dataCenters": {\n  "ny": ${first},\n  "ny": ${second} },\n  ${rest} }`);
  await expect(loadConfiguration({ file, env: ny })).rejects.toThrow(/3:3: error: This key is there twice/);
});

test('finds the file in the directory, and says where it came from', async () => {
  const path = write('lanekeeper.json', valid);
  const { configuration, file } = await loadConfiguration({ env: ny, directory });
  expect(file).toBe(path);
  expect(configuration.here).toBe('ny');
  expect(configuration.dataCenters.la).toMatchObject({ number: 2, edge: 'https://la.shop.example', agents: [] });
  expect(Object.isFrozen(configuration)).toBe(true);
});

test('LANEKEEPER_CONFIG names a file, and an argument wins over it', async () => {
  write('other.yaml', { ...valid, cluster: 'other' });
  const named = write('named.yaml', { ...valid, cluster: 'named' });
  const env = { ...ny, LANEKEEPER_CONFIG: 'other.yaml' };
  expect((await loadConfiguration({ env, directory })).configuration.cluster).toBe('other');
  expect((await loadConfiguration({ env, directory, file: named })).configuration.cluster).toBe('named');
});

test('no file, an absent file and two files are refused with what to do', async () => {
  await expect(loadConfiguration({ env: ny, directory })).rejects.toThrow(
    /looked for lanekeeper.yaml, .*lanekeeper init/,
  );
  await expect(loadConfiguration({ env: ny, directory, file: 'no.yaml' })).rejects.toThrow(/no file no.yaml/);
  await expect(loadConfiguration({ env: { LANEKEEPER_CONFIG: 'no.yaml' }, directory })).rejects.toThrow(
    /named by LANEKEEPER_CONFIG/,
  );
  write('lanekeeper.yaml', valid);
  write('lanekeeper.json', valid);
  await expect(loadConfiguration({ env: ny, directory })).rejects.toThrow(
    /lanekeeper.yaml and lanekeeper.json: say which/,
  );
});

test('a directory and a file that is far too large are refused', async () => {
  await expect(loadConfiguration({ env: ny, file: directory })).rejects.toMatchObject({ code: 'LK_CONFIG' });
  const path = write('lanekeeper.yaml', `# ${'x'.repeat(1024 * 1024)}`);
  await expect(loadConfiguration({ env: ny, file: path })).rejects.toThrow(/this is not a configuration/);
});

test('LANEKEEPER_DC must be one of the data centers', async () => {
  const file = write('lanekeeper.yaml', valid);
  await expect(loadConfiguration({ env: {}, file })).rejects.toThrow(/LANEKEEPER_DC is not set: .*`ny` or `la`/);
  await expect(loadConfiguration({ env: { LANEKEEPER_DC: 'nyc' }, file })).rejects.toThrow(/did you mean `ny`/);
  await expect(loadConfiguration({ env: { LANEKEEPER_DC: 'constructor' }, file })).rejects.toThrow(
    /one of `ny` or `la`/,
  );
  expect((await loadConfiguration({ env: ny, file, dc: 'la' })).configuration.here).toBe('la');
});

test('values come from the environment, $${ stays, keys do not', async () => {
  const file = write('lanekeeper.yaml', {
    ...valid,
    dataCenters: { ...valid.dataCenters, ny: { ...valid.dataCenters.ny, place: '$${A} ${PLACE}, ${PLACE}' } },
  });
  const { configuration } = await loadConfiguration({ env: { ...ny, PLACE: 'New ${York}' }, file });
  expect(configuration.dataCenters.ny!.place).toBe('${A} New ${York}, New ${York}');
});

test('keys come from a file beside the configuration', async () => {
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const jwk = { kid: 'ny-1', ...publicKey.export({ format: 'jwk' }) };
  write('keys.json', { keys: [jwk] });
  const file = write('lanekeeper.yaml', { ...valid, sessions: { keys: './keys.json' } });
  const { configuration, warnings } = await loadConfiguration({ env: ny, file, directory: tmpdir() });
  expect(configuration.sessions.keys).toEqual([jwk]);
  expect(warnings.map(({ message }) => message)).toEqual(['There is no public key of `la`']);

  write('keys.json', [{ kid: 'ny-1', ...privateKey.export({ format: 'jwk' }) }]);
  const refused = await loadConfiguration({ env: ny, file }).catch((error: unknown) => error);
  expect(refused).toBeInstanceOf(ConfigurationError);
  expect((refused as Error).message).toMatch(/private key/);
  expect((refused as Error).message).not.toContain(privateKey.export({ format: 'jwk' }).d);

  for (const broken of ['{', '{"keys": 3}', '[1]', 'null']) {
    write('keys.json', broken);
    await expect(loadConfiguration({ env: ny, file })).rejects.toThrow(/The key file .\/keys.json is not/);
  }
});

test('a configuration made by code is checked like a file', () => {
  expect(createConfiguration(valid, { here: 'la' }).here).toBe('la');
  const wrong = { ...valid, leases: { ...valid.leases, tll: '6s' } } as WrittenConfiguration;
  expect(() => createConfiguration(wrong, { here: 'la' })).toThrow(
    /configuration: error: `tll` is not known in `leases` \(leases.tll\)/,
  );
});
