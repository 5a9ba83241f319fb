/** What the documentation shows is accepted: configurations, JSON, commands and their options, TypeScript; and its lists are whole. */
import { execFile } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { checkText, renderDiagnostics } from 'lanekeeper/config';
import { generateKeyPair } from 'lanekeeper/session';
import { afterAll, describe, expect, test } from 'vitest';
import { parse, stringify } from 'yaml';
import { Metrics } from '../packages/server/src/agent/metrics.ts';
import { run } from '../packages/server/src/cli/main.ts';
import { exposition, newCounters } from '../packages/server/src/edge/counters.ts';
import { allFiles, root, textOf } from './tidy/files.ts';
import { type CodeBlock, codeBlocksOf } from './tidy/markdown.ts';

/** All but the notes for those who write tests. */
const pages = allFiles().filter((path) => path.endsWith('.md') && !path.startsWith('test/'));
mkdirSync(join(root, 'test-results'), { recursive: true });
const folder = mkdtempSync(join(root, 'test-results/docs-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Every block in these languages: [where it is, its text]. Indented ones, inside lists, too. */
function blocks(...languages: readonly string[]): [string, string][] {
  return pages.flatMap((page) => {
    const flat = textOf(page).replace(/^( +)```[\s\S]*?^\1```$/gm, (block, indent) =>
      block.replaceAll(new RegExp(`^${indent}`, 'gm'), ''),
    );
    return codeBlocksOf(flat)
      .filter(({ language }) => languages.includes(language))
      .map(({ text, line }: CodeBlock): [string, string] => [`${page}:${line}`, text]);
  });
}

describe('configurations', () => {
  const keys = ['ny', 'la'].map((dc) => generateKeyPair(dc).publicJwk);
  const whole = {
    cluster: 'shop',
    approach: 'full-active-active',
    dataCenters: {
      ny: { place: 'A', faultDomain: 'a', database: 'postgres://127.0.0.1/shop', url: 'https://ny.shop.example' },
      la: { place: 'B', faultDomain: 'b', database: 'postgres://127.0.0.2/shop', url: 'https://la.shop.example' },
    },
    leases: { url: 'postgres://127.0.0.3/witness' },
    tables: { accounts: { class: 'system-of-record', account: 'id', root: true } },
    sessions: { keys },
  };
  const env = { NY_DATABASE: '127.0.0.1:5432', LA_DATABASE: '127.0.0.2:5432' };

  test.each(blocks('yaml'))('%s', (where, text) => {
    writeFileSync(join(folder, 'keys.json'), JSON.stringify({ keys }));
    // A part stands for the file that it is a part of.
    const written = parse(text) as object;
    const file = 'cluster' in written ? text : stringify({ ...whole, ...written });
    const result = checkText(file, { file: where, env, directory: folder });
    expect(result.kind === 'invalid' ? renderDiagnostics(result.diagnostics) : '').toBe('');
  });
});

test.each(blocks('json'))('JSON of %s', (_where, text) => {
  expect(() => JSON.parse(text)).not.toThrow();
});

test('TypeScript compiles', async () => {
  const found = blocks('ts');
  expect(found.length).toBeGreaterThan(10);
  writeFileSync(
    join(folder, 'known.d.ts'),
    `import type { FastifyInstance } from 'fastify';
     import type { Lanekeeper } from 'lanekeeper';
     import type pg from 'pg';
     declare global {
       const lanekeeper: Lanekeeper;
       const app: FastifyInstance;
       const pool: pg.Pool;
     }`,
  );
  found.forEach(([where, text], index) => {
    writeFileSync(join(folder, `example-${index}.ts`), `// ${where}\n${text}\nexport {};\n`);
  });
  const compilerOptions = { noEmit: true, composite: false, declaration: false, sourceMap: false };
  // The plugin's declarations add to the types of requests.
  const files = ['known.d.ts', ...found.map((_, index) => `example-${index}.ts`)];
  writeFileSync(
    join(folder, 'tsconfig.json'),
    JSON.stringify({
      extends: '../../tsconfig.base.json',
      compilerOptions: { ...compilerOptions, types: ['node'] },
      files,
    }),
  );
  const compiler = join(root, 'node_modules/.bin/tsc');
  const failed = await promisify(execFile)(compiler, ['-p', folder]).then(
    () => null,
    (error: { stdout: string; message: string }) => error,
  );
  const places = (failed?.stdout ?? '').replace(/example-(\d+)\.ts/g, (_, index) => `${found[Number(index)]?.[0]} `);
  expect(failed === null ? '' : places || failed.message).toBe('');
}, 120_000);

describe('commands', () => {
  test('in blocks and in sentences: they exist, and so do their options', async () => {
    const known = await helpOfAll();
    const shown = [
      ...blocks('sh').flatMap(([where, text]) =>
        text
          .replaceAll('\\\n', ' ')
          .split('\n')
          .flatMap((line) => line.split(/[|;&]|\$\(/))
          .map((command) => [where, command.replace(/^\s*(\w+=\S*\s+)*/, '').replace(/\s[>#].*$/, '')] as const),
      ),
      ...pages.flatMap((page) =>
        [...textOf(page).matchAll(/`((?:npx )?lanekeeper [^`\n]+)`/g)].map(
          ([, command = '']) => [page, command] as const,
        ),
      ),
    ].flatMap(([where, command]) => {
      const words = /^(?:npx )?lanekeeper\s+(.+)$/.exec(command.trim())?.[1]?.split(/\s+/);
      return words === undefined ? [] : [{ where, command, words }];
    });
    expect(shown.length).toBeGreaterThan(40);
    const wrong = shown.flatMap(({ where, command, words }) => {
      const two = words.slice(0, 2).join(' ');
      const name = known.has(two) ? two : (words[0] ?? '');
      const options = known.get(name);
      if (name === 'COMMAND' || name.startsWith('-')) return [];
      if (options === undefined) return [`${where}: there is no \`${command}\``];
      // What stands after -- is somebody else's command.
      const own = words.includes('--') ? words.slice(0, words.indexOf('--')) : words;
      const given = own.filter((word) => word.startsWith('--')).map((word) => word.replace(/=.*$/, ''));
      return given
        .filter((word) => word !== '--help' && !options.includes(word))
        .map((word) => `${where}: \`${command}\` has no ${word}`);
    });
    expect(wrong).toEqual([]);
  });

  test('npm scripts and benches that are named exist', () => {
    const { scripts } = JSON.parse(textOf('package.json')) as { scripts: Record<string, string> };
    const named = pages.flatMap((page) =>
      [...textOf(page).matchAll(/\bnpm (?:run )?(start|test|(?<=run )[\w-]+)/g)].map(([, name = '']) => name),
    );
    expect(named.length).toBeGreaterThan(3);
    expect(named.filter((name) => scripts[name] === undefined)).toEqual([]);
  });

  test('the reference lists every command with every option', async () => {
    const rows = textOf('docs/reference/cli.md')
      .split('\n')
      .flatMap((line) => {
        const [, command, , options = ''] = line.split('|').map((cell) => cell.trim());
        const name = /^`lanekeeper (.+)`$/.exec(command ?? '')?.[1];
        return name === undefined ? [] : [[name, (options.match(/--[\w-]+/g) ?? []).sort()] as const];
      });
    const known = [...(await helpOfAll())].map(([name, options]) => [name, [...options].sort()] as const);
    const groups = ['buffer', 'config', 'conflicts', 'copies', 'keys', 'migrate', 'publish', 'stranded'];
    expect(Object.fromEntries(rows)).toEqual(Object.fromEntries(known.filter(([name]) => !groups.includes(name))));
  });
});

test('metrics: the reference lists what the agent and the edge show', async () => {
  const listed = [...textOf('docs/reference/metrics.md').matchAll(/^\| `(\w+)`\s+\| (\w+)/gm)].map(
    (row) => `${row[1]} ${row[2]}`,
  );
  const agent = await new Metrics().text(null, 0);
  // Gauges of the edge are named where it is asked.
  const gauges = [...textOf('packages/server/src/edge/pages.ts').matchAll(/name: '(\w+)'/g)].map(
    ([, name = '']) => name,
  );
  const edge = exposition(
    newCounters(),
    gauges.map((name) => ({ name, help: '', values: [] })),
  );
  const shown = [...`${agent}\n${edge}`.matchAll(/^# TYPE (lanekeeper_\w+) (\w+)/gm)].map(
    (row) => `${row[1]} ${row[2]}`,
  );
  expect(listed.sort()).toEqual(shown.sort());
});

test('a test that is quoted by its title is in the file', () => {
  const quoted = pages.flatMap((page) =>
    [...textOf(page).matchAll(/`(test\/[\w/.-]+\.ts)`:\s+"([^"]+)"/g)].map(([, file = '', title = '']) => ({
      page,
      file,
      title,
    })),
  );
  expect(quoted.length).toBeGreaterThan(20);
  const missing = quoted.filter(
    ({ file, title }) => !textOf(file).replaceAll("\\'", "'").includes(title.replace(/\s+/g, ' ')),
  );
  expect(missing).toEqual([]);
});

/** Name of every command, groups included, and its long options. */
async function helpOfAll(): Promise<ReadonlyMap<string, readonly string[]>> {
  const known = new Map<string, readonly string[]>();
  const open = await childrenOf([]);
  for (let words = open.pop(); words !== undefined; words = open.pop()) {
    const help = await helpOf(words);
    known.set(
      words.join(' '),
      [...help.matchAll(/^ {2}(?:-\w, )?(--[\w-]+)/gm)]
        .map(([, option = '']) => option)
        .filter((one) => one !== '--help'),
    );
    open.push(...(await childrenOf(words)));
  }
  return known;
}

async function childrenOf(words: readonly string[]): Promise<string[][]> {
  const commands = /^Commands:\n([\s\S]*?)(\n\n|$(?![\s\S]))/m.exec(await helpOf(words))?.[1] ?? '';
  return [...commands.matchAll(/^ {2}([a-z][\w-]*)/gm)]
    .map(([, name = '']) => name)
    .filter((name) => name !== 'help')
    .map((name) => [...words, name]);
}

const helps = new Map<string, string>();

async function helpOf(words: readonly string[]): Promise<string> {
  const key = words.join(' ');
  const asked = helps.get(key);
  if (asked !== undefined) return asked;
  let out = '';
  const stdout = {
    write: (text: string) => {
      out += text;
    },
  };
  await run([...words, '--help'], { env: {}, directory: folder, stdout, stderr: stdout });
  helps.set(key, out);
  return out;
}
