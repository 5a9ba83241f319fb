import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';

/** In a process of its own with what was built: how Node imports TypeScript is the subject, and vitest has its own way. */
const built = new URL('../../dist/config/index.js', import.meta.url);
const directory = mkdtempSync(join(tmpdir(), 'lanekeeper-module-'));
afterAll(() => rmSync(directory, { recursive: true }));
beforeAll(() => {
  if (!existsSync(built)) throw new Error('Run `npm run build` first: this test runs what was built.');
});

function load(name: string, text: string): { configuration?: Record<string, unknown>; error?: string } {
  const file = join(directory, name);
  writeFileSync(file, text.replaceAll('BUILT', built.href));
  const script = `
    import { loadConfiguration } from ${JSON.stringify(built.href)};
    const result = await loadConfiguration({ file: ${JSON.stringify(file)}, env: { LANEKEEPER_DC: 'ny' } })
      .then(({ configuration }) => ({ configuration }), (error) => ({ error: error.message }));
    console.log(JSON.stringify(result));`;
  const { stdout, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', script], {
    encoding: 'utf8',
    timeout: 20_000,
  });
  if (stdout === '') throw new Error(stderr);
  return JSON.parse(stdout);
}

const body = `{
  cluster: 'shop',
  approach: 'active-passive',
  dataCenters: {
    ny: { place: 'New York', faultDomain: 'us-east', database: 'postgres://ny/shop', url: 'https://ny.shop.example' },
  },
  leases: { url: \`postgres://\${'witness'}/witness\` },
  tables: {},
}`;

test('TypeScript without types, and JavaScript, on every Node', () => {
  const text = `import { defineConfiguration } from 'BUILT';\nexport default defineConfiguration(${body});\n`;
  for (const name of ['a.ts', 'a.mts', 'a.mjs'])
    expect([name, load(name, text).configuration?.cluster]).toEqual([name, 'shop']);
});

test('TypeScript with types is read where Node can, and refused with the reason where it cannot', () => {
  const text = `const cluster: string = 'typed';\nexport default { ...${body}, cluster };\n`;
  const { configuration, error } = load('typed.ts', text);
  const [major, minor] = process.versions.node.split('.').map(Number) as [number, number];
  if (major > 22 || (major === 22 && minor >= 13)) expect(configuration?.cluster).toBe('typed');
  else
    expect(error).toMatch(
      /typed.ts:1:7: error: .*\n.*const cluster: string[^\n]*\n.*\^\^\^\^\^\^\^\n.*Node 20.* cannot read TypeScript syntax/,
    );
});

test('a mistake is shown in the object literal', () => {
  const { error } = load(
    'wrong.ts',
    `// { cluster: 1 }\nconst other = { place: '}' };\nexport default ${body.replace("'https://ny.shop.example'", "'ny.shop.example', agents: [\n'http://a',\n other.place]")};\n`,
  );
  expect(error).toMatch(
    /wrong.ts:7:91: error: This is not an http or https URL\n.*'ny.shop.example', agents: \[\n +\| +\^{17}\n/,
  );
  expect(error).toMatch(/wrong.ts:9:2: error: This is not an http or https URL\n +9 \| {2}other.place\]/);
});

test('what the file throws is shown where it was thrown', () => {
  expect(load('throws.mjs', `const a = 1;\nthrow new Error('no such secret');\n`).error).toMatch(
    /throws.mjs:2:7: error: .*no such secret/,
  );
  expect(load('syntax.mjs', `export default {\n  a: ;\n};\n`).error).toMatch(/syntax.mjs:2:6: error:/);
  expect(load('none.mjs', `export const a = 1;\n`).error).toMatch(/no default export/);
  expect(load('number.mjs', `export default 3;\n`).error).toMatch(/The configuration is a number/);
});
