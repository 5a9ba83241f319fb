/** The files of the repository as text, and what they import from one another. Plain scanning: biome has made them regular. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = fileURLToPath(new URL('../../', import.meta.url));

const skipped = new Set(['node_modules', 'dist', 'coverage', 'test-results', 'results']);

/** Every file that is ours, as a path from the root with `/`, sorted. */
export function allFiles(folder = ''): string[] {
  return readdirSync(join(root, folder), { withFileTypes: true })
    .flatMap((entry) => {
      const path = folder === '' ? entry.name : `${folder}/${entry.name}`;
      if (!entry.isDirectory()) return [path];
      if (skipped.has(entry.name) || (entry.name.startsWith('.') && entry.name !== '.ci')) return [];
      return allFiles(path);
    })
    .sort();
}

const texts = new Map<string, string>();

export function textOf(path: string): string {
  const known = texts.get(path);
  if (known !== undefined) return known;
  const text = readFileSync(join(root, path), 'utf8');
  texts.set(path, text);
  return text;
}

export function linesOf(path: string): number {
  const text = textOf(path);
  return text.split('\n').length - (text.endsWith('\n') ? 1 : 0);
}

/** `path:line` of every line that matches, for a message in which one can click. */
export function matches(path: string, pattern: RegExp): string[] {
  return textOf(path)
    .split('\n')
    .flatMap((line, index) => (pattern.test(line) ? [`${path}:${index + 1}: ${line.trim()}`] : []));
}

export function exists(path: string): boolean {
  return existsSync(join(root, path));
}

export type Import = {
  readonly from: string;
  readonly specifier: string;
  readonly sideEffectOnly: boolean;
  readonly typeOnly: boolean;
};

const statement = /^(?:import|export)\s(?:[^;'"]*?\sfrom\s+)?'([^']+)'/gm;
const dynamic = /\bimport\(\s*'([^']+)'\s*\)/g;

export function importsOf(path: string): Import[] {
  const text = textOf(path);
  return [
    ...[...text.matchAll(statement)].map((match) => ({
      from: path,
      specifier: match[1] as string,
      sideEffectOnly: /^import\s+'/.test(match[0]),
      typeOnly: /^(import|export)\s+type\b/.test(match[0]),
    })),
    ...[...text.matchAll(dynamic)].map((match) => ({
      from: path,
      specifier: match[1] as string,
      sideEffectOnly: false,
      typeOnly: false,
    })),
  ];
}

export type Manifest = {
  readonly name: string;
  readonly bin?: Readonly<Record<string, string>>;
  readonly scripts?: Readonly<Record<string, string>>;
  readonly exports?: Readonly<Record<string, string | Readonly<Record<string, string>>>>;
  readonly dependencies?: Readonly<Record<string, string>>;
  readonly devDependencies?: Readonly<Record<string, string>>;
  readonly peerDependencies?: Readonly<Record<string, string>>;
  readonly optionalDependencies?: Readonly<Record<string, string>>;
};

/** The workspaces that have sources: folder → package.json. */
export const workspaces: ReadonlyMap<string, Manifest> = new Map(
  allFiles()
    .filter((path) => /^(packages|examples)\/[^/]+\/package\.json$/.test(path))
    .map((path) => [dirname(path), JSON.parse(textOf(path)) as Manifest]),
);

/** The workspace folder in which a file is, or null: tests and benches belong to none. */
export function workspaceOf(path: string): string | null {
  return [...workspaces.keys()].find((folder) => path.startsWith(`${folder}/`)) ?? null;
}

/** `lanekeeper/config` → the source file behind that export. Null for packages of others. */
export function sourceOfExport(specifier: string): string | null {
  for (const [folder, manifest] of workspaces) {
    if (specifier !== manifest.name && !specifier.startsWith(`${manifest.name}/`)) continue;
    const target = manifest.exports?.[`.${specifier.slice(manifest.name.length)}`];
    const source = typeof target === 'object' ? target['lanekeeper-source'] : undefined;
    if (source === undefined) throw new Error(`${manifest.name} exports nothing as ${specifier}`);
    return normalize(`${folder}/${source}`);
  }
  return null;
}

/** The file of ours that an import reaches; null when it is a module of Node or of others. */
export function target(one: Import): string | null {
  if (one.specifier.startsWith('.')) return normalize(join(dirname(one.from), one.specifier));
  return one.specifier.startsWith('node:') ? null : sourceOfExport(one.specifier);
}

/** `@scope/name/sub` → `@scope/name`. */
export function packageOf(specifier: string): string {
  return specifier
    .split('/')
    .slice(0, specifier.startsWith('@') ? 2 : 1)
    .join('/');
}

/** What a `dist/….js` inside a text was compiled from, for files that are started rather than imported. */
export function startedBy(path: string): string[] {
  const folder = workspaceOf(path);
  if (folder === null) return [];
  return [...textOf(path).matchAll(/\bdist\/([\w/.-]+)\.js\b/g)].map((match) => `${folder}/src/${match[1]}.ts`);
}
