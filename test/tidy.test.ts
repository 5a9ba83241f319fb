/**
 * Style as a test (`CONTRIBUTING.md` says it in words): the arrows between rooms, no circles, nothing that nobody uses, no
 * files of 2,000 lines, no paths in the docs that do not exist. Plain text scanning; every failure names file and line.
 */
import { dirname, join, normalize } from 'node:path';
import { describe, expect, test } from 'vitest';
import {
  allFiles,
  exists,
  type Import,
  importsOf,
  linesOf,
  matches,
  packageOf,
  startedBy,
  target,
  textOf,
  workspaceOf,
  workspaces,
} from './tidy/files.ts';
import { headingsOf, linksOf, pathsOf } from './tidy/markdown.ts';
import { lineCap, longFiles, type Room, roomOf, rooms } from './tidy/rooms.ts';

const files = allFiles();
const isTest = (path: string): boolean => /\.test\.ts$/.test(path) || path.startsWith('test/');
const typescript = files.filter((path) => path.endsWith('.ts') && !path.endsWith('.d.ts'));
const sources = typescript.filter((path) => roomOf(path) !== null && !isTest(path));
const programs = files.filter((path) => /\.(ts|js|mjs|css|sql)$/.test(path) || path === '.ci/run');

test('the scan sees the repository', () => {
  expect(sources.length).toBeGreaterThan(150);
  for (const [name, room] of Object.entries(rooms)) {
    expect(sources, `room ${name} has no files`).toContainEqual(expect.stringMatching(`^${room.folder}/`));
    expect(sources.flatMap(importsOf).length).toBeGreaterThan(300);
  }
});

describe('arrows', () => {
  test('every source file belongs to a room', () => {
    const strays = typescript.filter(
      (path) => /^(packages|examples)\/[^/]+\/src\//.test(path) && roomOf(path) === null,
    );
    expect(strays).toEqual([]);
  });

  test('rooms import what the table in tidy/rooms.ts allows, and nothing else', () => {
    const wrong = sources.flatMap((path) => {
      const name = roomOf(path) as string;
      const room = rooms[name] as Room;
      return importsOf(path).flatMap((one) => {
        const reached = target(one);
        if (reached !== null) {
          const there = roomOf(reached);
          const allowed = there === name || (there !== null && room.rooms.includes(there));
          return allowed ? [] : [`${path}: ${name} must not import ${there ?? reached} (${one.specifier})`];
        }
        if (one.specifier.startsWith('node:')) {
          const allowed = room.node === 'all' || room.node.includes(one.specifier);
          return allowed ? [] : [`${path}: ${name} must not import ${one.specifier}`];
        }
        const allowed = room.packages.includes(packageOf(one.specifier));
        return allowed ? [] : [`${path}: ${name} must not import the package ${one.specifier}`];
      });
    });
    expect(wrong).toEqual([]);
  });

  test('the table has no circle', () => {
    const edges = new Map(Object.entries(rooms).map(([name, room]) => [name, room.rooms]));
    expect(circles(edges)).toEqual([]);
  });

  test('a relative import stays in its package, a package does not import itself by name', () => {
    const wrong = sources.flatMap((path) =>
      importsOf(path).flatMap((one) => {
        const own = workspaceOf(path) as string;
        const reached = target(one);
        if (reached === null) return [];
        const crosses = workspaceOf(reached) !== own;
        return one.specifier.startsWith('.') === crosses ? [`${path}: ${one.specifier}`] : [];
      }),
    );
    expect(wrong).toEqual([]);
  });

  test('a room that has an index is entered by it', () => {
    const wrong = sources.flatMap((path) =>
      importsOf(path).flatMap((one) => {
        const reached = target(one);
        const there = reached === null ? null : roomOf(reached);
        if (reached === null || there === null || there === roomOf(path) || !one.specifier.startsWith('.')) return [];
        const index = `${(rooms[there] as Room).folder}/index.ts`;
        return exists(index) && reached !== index ? [`${path}: ${one.specifier}`] : [];
      }),
    );
    expect(wrong).toEqual([]);
  });

  test('what is imported is declared by the package that imports it', () => {
    const wrong = typescript.flatMap((path) => {
      const folder = workspaceOf(path);
      const manifest = folder === null ? undefined : workspaces.get(folder);
      if (manifest === undefined) return [];
      const declared = new Set([
        ...Object.keys(manifest.dependencies ?? {}),
        ...Object.keys(manifest.peerDependencies ?? {}),
        ...Object.keys(manifest.optionalDependencies ?? {}),
        ...(isTest(path) ? ['vitest', 'fast-check', ...Object.keys(manifest.devDependencies ?? {})] : []),
      ]);
      return importsOf(path)
        .filter(({ specifier }) => !specifier.startsWith('.') && !specifier.startsWith('node:'))
        .filter(({ specifier }) => !declared.has(packageOf(specifier)))
        .map(({ specifier }) => `${path}: ${specifier}`);
    });
    expect(wrong).toEqual([]);
  });

  test('what decides has no clock, no chance and no process: they are arguments', () => {
    const impure =
      /\b(Date\.now|new Date\(\)|performance\.|Math\.random|process\.|setTimeout|setInterval|setImmediate|console\.)/;
    const pure = sources.filter((path) => ['model', 'ownership', 'advise'].includes(roomOf(path) as string));
    expect(pure.flatMap((path) => matches(path, impure))).toEqual([]);
  });
});

describe('files', () => {
  test('no circle of imports', () => {
    // Of tests only what runs: a model of the world and the actors in it may know each other's types.
    const counts = (one: Import): boolean => !isTest(one.from) || !one.typeOnly;
    const edges = new Map(
      typescript.map((path) => [
        path,
        importsOf(path)
          .filter(counts)
          .flatMap((one) => target(one) ?? []),
      ]),
    );
    expect(circles(edges)).toEqual([]);
  });

  test('every relative import names a file, with its ending', () => {
    const wrong = typescript.flatMap((path) =>
      importsOf(path)
        .filter(({ specifier }) => specifier.startsWith('.'))
        .filter((one) => !/\.(ts|js|json)$/.test(one.specifier) || !exists(target(one) as string))
        .filter((one) => !(one.specifier.includes('/dist/') && one.specifier.endsWith('.js')))
        .map((one) => `${path}: ${one.specifier}`),
    );
    expect(wrong).toEqual([]);
  });

  test('every source file is used by the product, not by its tests only', () => {
    const starts = [...workspaces].flatMap(([folder, manifest]) => [
      ...Object.values(manifest.exports ?? {}).flatMap((entry) =>
        typeof entry === 'object' && entry['lanekeeper-source']
          ? [normalize(`${folder}/${entry['lanekeeper-source']}`)]
          : [],
      ),
      ...startedBy(`${folder}/package.json`),
      ...Object.values(manifest.bin ?? {}).flatMap((script) => startedBy(normalize(`${folder}/${script}`))),
    ]);
    const used = new Set<string>();
    const open = [...starts];
    for (let path = open.pop(); path !== undefined; path = open.pop()) {
      if (used.has(path) || !exists(path)) continue;
      used.add(path);
      open.push(...importsOf(path).flatMap((one) => target(one) ?? []), ...startedBy(path));
    }
    expect(sources.filter((path) => !used.has(path))).toEqual([]);
  });

  test('every file of test support is used by a test', () => {
    const used = new Set(typescript.flatMap((path) => importsOf(path).flatMap((one) => target(one) ?? [])));
    const named = [
      ...programs.filter((path) => path.startsWith('test/') && path.endsWith('.js')),
      ...typescript.filter((path) => path.endsWith('.test.ts')),
    ]
      .map(textOf)
      .join('\n');
    const support = typescript.filter((path) => path.startsWith('test/') && !path.endsWith('.test.ts'));
    expect(
      support.filter(
        (path) => !used.has(path) && !named.includes(`'${path.split('/').at(-1)}'`) && !named.includes(path),
      ),
    ).toEqual([]);
  });

  test('a name says what a file is for', () => {
    const vague = /(^|\/)(utils?|helpers?|lib|misc|common|shared|stuff)\.(ts|js)$/;
    expect(programs.filter((path) => vague.test(path))).toEqual([]);
  });

  test(`at most ${lineCap} lines, exceptions only shrink`, () => {
    const counted = programs.filter((path) => !path.startsWith('packages/server/sql/') && !isTest(path));
    const grown = counted
      .filter((path) => linesOf(path) > (longFiles[path] ?? lineCap))
      .map((path) => `${path}: ${linesOf(path)} lines, ${longFiles[path] ?? lineCap} allowed`);
    expect(grown).toEqual([]);
    const shrunk = Object.entries(longFiles)
      .filter(([path, lines]) => !exists(path) || linesOf(path) < lines)
      .map(([path, lines]) => `${path}: recorded with ${lines}, now ${exists(path) ? linesOf(path) : 'gone'}`);
    expect(shrunk).toEqual([]);
  });

  test('the lock file names every platform, or `npm ci` refuses it', () => {
    type Locked = Readonly<Record<string, { readonly optionalDependencies?: Readonly<Record<string, string>> }>>;
    const { packages } = JSON.parse(textOf('package-lock.json')) as { packages: Locked };
    const missing = Object.entries(packages).flatMap(([path, { optionalDependencies = {} }]) =>
      Object.keys(optionalDependencies)
        .filter(
          (name) =>
            packages[`node_modules/${name}`] === undefined && packages[`${path}/node_modules/${name}`] === undefined,
        )
        .map((name) => `${path || 'package.json'} → ${name}`),
    );
    expect(missing).toEqual([]);
  });

  test('SQL files are numbered without a gap', () => {
    const numbers = files.flatMap((path) => /^packages\/server\/sql\/(\d{6})\.sql$/.exec(path)?.[1] ?? []);
    expect(numbers.length).toBeGreaterThan(0);
    expect(numbers).toEqual(numbers.map((_, index) => String(index + 1).padStart(6, '0')));
  });
});

describe('text', () => {
  const code = typescript.filter((path) => !path.startsWith('test/tidy'));

  test('only TypeScript that can be erased', () => {
    expect(textOf('tsconfig.base.json')).toMatch(/"erasableSyntaxOnly": true/);
    const projects = files.filter((path) => /(^|\/)tsconfig\.json$/.test(path) && path !== 'tsconfig.json');
    expect(projects.filter((path) => !textOf(path).includes('tsconfig.base.json"'))).toEqual([]);
    expect(projects.filter((path) => textOf(path).includes('erasableSyntaxOnly'))).toEqual([]);
    const written =
      /^\s*(export\s+)?(declare\s+)?(const\s+)?enum\s+\w+\s*\{|^\s*constructor\((.*,)?\s*(public|private|protected|readonly)\s+\w+\??:/;
    expect(code.flatMap((path) => matches(path, written))).toEqual([]);
  });

  test('names are exported one by one', () => {
    expect(code.flatMap((path) => matches(path, /^export\s+\*/))).toEqual([]);
    // Fastify, the test runner and those who would import pg ask for a default export.
    const expected = [
      'packages/lanekeeper/src/sdk/fastify.ts',
      'packages/lanekeeper/src/sdk/pg.ts',
      'test/support/leaks.global.ts',
      'vitest.config.ts',
    ];
    const found = code.filter(
      (path) => matches(path, /^export\s+default\b|^export\s*\{[^}]*\bas default\b/).length > 0,
    );
    expect(found.filter((path) => !expected.includes(path))).toEqual([]);
  });

  test('nothing happens on import', () => {
    const wrong = sources.flatMap((path) =>
      importsOf(path)
        .filter(({ sideEffectOnly }) => sideEffectOnly)
        .map(({ specifier }) => `${path}: ${specifier}`),
    );
    expect(wrong).toEqual([]);
  });

  test('nothing is left for later, and no test runs alone', () => {
    const later = /\b(TODO|FIXME|XXX|HACK)\b/;
    const all = files.filter((path) => /\.(ts|js|css|sql|md|yaml|json)$/.test(path) || path === '.ci/run');
    const text = all.filter((path) => !path.startsWith('test/tidy') && !path.endsWith('package-lock.json'));
    expect(text.flatMap((path) => matches(path, later))).toEqual([]);
    const alone = /\b(test|describe|it|suite)\.only\b|\bonly:\s*true\b/;
    expect(code.filter(isTest).flatMap((path) => matches(path, alone))).toEqual([]);
  });

  test('errors are told apart by code, not by message', () => {
    const byMessage = /\b(error|cause|e|err)\)?\.message\.(includes|startsWith|match)\(/;
    expect(sources.flatMap((path) => matches(path, byMessage))).toEqual([]);
  });
});

describe('docs', () => {
  const pages = files.filter((path) => path.endsWith('.md'));

  test('every link leads somewhere', () => {
    const broken = pages.flatMap((page) =>
      linksOf(textOf(page)).flatMap((link) => {
        if (/^[a-z]+:/.test(link)) return [];
        const [path = '', anchor] = link.split('#');
        const file = path === '' ? page : normalize(join(dirname(page), path));
        if (!exists(file)) return [`${page}: ${link}`];
        if (anchor === undefined || !file.endsWith('.md')) return [];
        return headingsOf(textOf(file)).includes(anchor) ? [] : [`${page}: ${link} (no such heading)`];
      }),
    );
    expect(broken).toEqual([]);
  });

  test('every path that is named exists', () => {
    const names = new Set(files.map((path) => path.split('/').at(-1)));
    const missing = pages.flatMap((page) =>
      pathsOf(textOf(page))
        .filter((path) => !exists(path) && !exists(normalize(join(dirname(page), path))))
        // A bare file name, in a text about one folder.
        .filter((path) => path.includes('/') || !names.has(path))
        .map((path) => `${page}: ${path}`),
    );
    expect(missing).toEqual([]);
  });

  test('every page of docs can be reached from the README', () => {
    const reached = new Set<string>();
    const open = ['README.md'];
    for (let page = open.pop(); page !== undefined; page = open.pop()) {
      if (reached.has(page) || !exists(page)) continue;
      reached.add(page);
      if (!page.endsWith('.md')) continue;
      for (const link of linksOf(textOf(page))) {
        if (!/^[a-z]+:/.test(link)) open.push(normalize(join(dirname(page), link.split('#')[0] ?? '')));
      }
    }
    const docs = files.filter((path) => path.startsWith('docs/'));
    expect(docs.filter((path) => !reached.has(path))).toEqual([]);
  });
});

/** Every circle that a depth-first walk meets, each as `a → b → a`. */
function circles(edges: ReadonlyMap<string, readonly string[]>): string[] {
  const found: string[] = [];
  const done = new Set<string>();
  const path: string[] = [];
  const visit = (node: string): void => {
    const start = path.indexOf(node);
    if (start >= 0) {
      found.push([...path.slice(start), node].join(' → '));
      return;
    }
    if (done.has(node)) return;
    path.push(node);
    for (const next of edges.get(node) ?? []) visit(next);
    path.pop();
    done.add(node);
  };
  for (const node of edges.keys()) visit(node);
  return found;
}
