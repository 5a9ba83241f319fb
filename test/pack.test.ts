/**
 * The three packages as others get them: packed, installed in a folder outside of the repository, compiled against and run.
 * What `npm run build` made last is what is packed.
 */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, mkdtempSync, readdirSync, readFileSync, realpathSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Manifest, root, textOf, workspaces } from './tidy/files.ts';

const run = promisify(execFile);
const packages = [...workspaces].filter(([folder]) => folder.startsWith('packages/')).map(([, manifest]) => manifest);
const rootManifest: Manifest = JSON.parse(textOf('package.json'));

type Packed = {
  readonly name: string;
  readonly filename: string;
  readonly files: readonly { readonly path: string }[];
};
let elsewhere: string;
let packed: readonly Packed[];

/** Neither npm's settings of this run nor a lab that happens to run here reach the programs elsewhere. */
const environment = Object.fromEntries(
  Object.entries(process.env).filter(([name]) => !/^(npm_|LANEKEEPER_(?!TEST_RUN)|NODE_OPTIONS|VITEST)/i.test(name)),
);

async function inside(command: string, args: readonly string[]): Promise<{ stdout: string; stderr: string }> {
  return run(command, args, { cwd: elsewhere, env: environment, maxBuffer: 16 * 1024 * 1024 });
}

beforeAll(async () => {
  elsewhere = realpathSync(mkdtempSync(join(tmpdir(), 'elsewhere-')));
  const chosen = packages.flatMap(({ name }) => ['-w', name]);
  const { stdout } = await run('npm', ['pack', '--json', '--pack-destination', elsewhere, ...chosen], {
    cwd: root,
    env: environment,
    maxBuffer: 16 * 1024 * 1024,
  });
  const answer: unknown = JSON.parse(stdout);
  packed = Object.values(answer as object) as Packed[];

  cpSync(join(root, 'test/pack'), elsewhere, { recursive: true });
  const pinned = { ...rootManifest.devDependencies, ...workspaces.get('packages/lanekeeper')?.devDependencies };
  const fromRegistry = ['@types/express', '@types/node', '@types/pg', 'express', 'fastify', 'typescript'];
  const dependencies = Object.fromEntries([
    ...packed.map(({ name, filename }) => [name, `file:${filename}`]),
    ...fromRegistry.map((name) => [name, pinned[name]]),
  ]);
  writeFileSync(
    join(elsewhere, 'package.json'),
    JSON.stringify({ name: 'elsewhere', private: true, type: 'module', dependencies }),
  );
  await inside('npm', ['install', '--prefer-offline', '--no-audit', '--no-fund', '--loglevel=error']);
}, 300_000);

afterAll(() => rmSync(elsewhere, { recursive: true, force: true }));

describe('what is packed', () => {
  test('all three packages', () => {
    expect(packed.map(({ name }) => name).sort()).toEqual(['@lanekeeper/lab', '@lanekeeper/server', 'lanekeeper']);
  });

  test('no tests, no sources, no build state; a licence and a page to read', () => {
    for (const { files } of packed) {
      const paths = files.map(({ path }) => path);
      expect(paths.filter((path) => /\.test\.|tsbuildinfo|\.map$|^src\/|(?<!\.d)\.ts$/.test(path))).toEqual([]);
      expect(paths).toContain('LICENSE');
      expect(paths).toContain('README.md');
    }
  });

  test('what applications install stays small: two dependencies that have none, and little code', () => {
    const installed = join(elsewhere, 'node_modules/lanekeeper');
    const manifest: Manifest = JSON.parse(readFileSync(join(installed, 'package.json'), 'utf8'));
    expect(Object.keys(manifest.dependencies ?? {}).sort()).toEqual(['yaml', 'zod']);
    for (const name of Object.keys(manifest.dependencies ?? {})) {
      const theirs: Manifest = JSON.parse(readFileSync(join(elsewhere, 'node_modules', name, 'package.json'), 'utf8'));
      expect(Object.keys(theirs.dependencies ?? {})).toEqual([]);
    }
    const bytes = (ending: string) =>
      readdirSync(join(installed, 'dist'), { recursive: true, encoding: 'utf8' })
        .filter((path) => path.endsWith(ending))
        .reduce((sum, path) => sum + statSync(join(installed, 'dist', path)).size, 0);
    // Comments included, nothing minified; a third is the configuration and its help. Raise it only for something that applications
    // gain from: the last time for routed connections, bookmarks, frontends, caches, singletons and writes to every data center.
    expect(bytes('.js')).toBeGreaterThan(50_000);
    expect(bytes('.js')).toBeLessThan(420_000);
    const tarball = packed.find(({ name }) => name === 'lanekeeper') as Packed;
    expect(statSync(join(elsewhere, tarball.filename)).size).toBeLessThan(190_000);
  });
});

describe('entry points', () => {
  const entries = packages.flatMap(({ name, exports = {} }) =>
    Object.keys(exports).map((path) => `${name}${path.slice(1)}`),
  );
  const modules = entries.filter((entry) => !entry.endsWith('package.json'));

  test('each is imported, from the built files', async () => {
    expect(modules.length).toBeGreaterThan(10);
    const script = `for (const name of ${JSON.stringify(modules)}) {
      const names = Object.keys(await import(name));
      console.log(JSON.stringify({ name, names: names.length, from: import.meta.resolve(name) }));
    }`;
    const { stdout } = await inside(process.execPath, ['--input-type=module', '--eval', script]);
    const imported = stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as { name: string; names: number; from: string });
    expect(imported.map(({ name }) => name)).toEqual(modules);
    for (const { names, from } of imported) {
      expect(names).toBeGreaterThan(0);
      expect(from).toMatch(/\/node_modules\/(@lanekeeper\/)?\w+\/dist\/.*\.js$/);
      expect(from).toContain(elsewhere);
    }
  });

  test('their types are whole, those of our packages included, and the application compiles against them', async () => {
    const lines = modules.map((entry, index) => `export * as entry${index} from '${entry}';`);
    writeFileSync(join(elsewhere, 'entries.ts'), `${lines.join('\n')}\n`);
    const compilerOptions = {
      target: 'es2023',
      module: 'nodenext',
      types: ['node'],
      strict: true,
      // What a package's own declarations import has to be there.
      skipLibCheck: false,
    };
    writeFileSync(
      join(elsewhere, 'tsconfig.json'),
      JSON.stringify({ compilerOptions, files: ['shop.ts', 'entries.ts'] }),
    );
    const compiled = await inside('node_modules/.bin/tsc', []).catch((error: { stdout: string }) => error);
    expect(compiled.stdout).toBe('');
  }, 120_000);
});

describe('the command', () => {
  const lanekeeper = (...args: string[]) => inside('node_modules/.bin/lanekeeper', args);

  test('lanekeeper --help', async () => {
    const { stdout } = await lanekeeper('--help');
    for (const name of ['lab', 'init', 'plan', 'apply', 'agent', 'edge', 'verify']) {
      expect(stdout).toMatch(new RegExp(`^ {2}${name}\\b`, 'm'));
    }
  });

  test('lanekeeper config schema', async () => {
    const { stdout } = await lanekeeper('config', 'schema');
    expect(JSON.parse(stdout)).toMatchObject({ title: 'lanekeeper.yaml', type: 'object' });
  });

  test('lanekeeper lab runs an application of somebody else, in two data centers', async () => {
    const lab = spawn(
      'node_modules/.bin/lanekeeper',
      ['lab', '--app', `${process.execPath} shop.js`, '--schema', 'schema.sql', '--rtt', '20ms', '--json'],
      { cwd: elsewhere, env: environment, stdio: ['ignore', 'pipe', 'pipe'] },
    );
    try {
      const { dataCenters } = await firstLine(lab);
      expect(Object.keys(dataCenters)).toEqual(['ny', 'la']);
      const post = (dc: 'ny' | 'la', path: string, body: object, cookie = '') =>
        fetch(new URL(path, dataCenters[dc].edge), {
          method: 'POST',
          headers: { 'content-type': 'application/json', cookie },
          body: JSON.stringify(body),
        });
      const registered = await post('ny', '/register', {});
      expect(registered.status).toBe(200);
      const cookie = (registered.headers.getSetCookie()[0] as string).split(';', 1)[0] as string;
      const written = await post('la', '/notes', { text: 'arrived in la, written in ny' }, cookie);
      expect(written.status).toBe(200);
      expect(written.headers.get('lanekeeper-data-center')).toBe('ny');
      expect(await written.json()).toMatchObject({ writtenIn: 'ny' });
    } finally {
      if (lab.exitCode === null) {
        lab.kill('SIGTERM');
        await once(lab, 'exit');
      }
    }
    expect(lab.exitCode).toBe(0);
  }, 120_000);
});

type Ready = { readonly dataCenters: Readonly<Record<'ny' | 'la', { readonly edge: string }>> };

async function firstLine(lab: ChildProcess): Promise<Ready> {
  let said = '';
  lab.stderr?.setEncoding('utf8').on('data', (text: string) => {
    said += text;
  });
  for await (const line of createInterface({ input: lab.stdout as NodeJS.ReadableStream })) return JSON.parse(line);
  throw new Error(`The lab ended before it was ready.\n${said}`);
}
