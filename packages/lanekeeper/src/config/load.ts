/**
 * Loading: find the file, parse it, fill in the environment, check, resolve. Every mistake of the stage that fails is
 * reported at once; a later stage never runs on what an earlier one refused.
 */
import { existsSync, readFileSync, statSync } from 'node:fs';
import { dirname, relative, resolve as resolvePath } from 'node:path';
import { type DataCenterName, LanekeeperError } from '../model/index.ts';
import type { Configuration } from './configuration.ts';
import { ConfigurationError, type Diagnostic, diagnose, diagnoseRange, type SourcelessFile } from './diagnose.ts';
import { type Environment, interpolate } from './interpolate.ts';
import { readKeyFile } from './key-file.ts';
import { importConfiguration } from './module-file.ts';
import { nearest, oneOf } from './nearest.ts';
import { formatPath, type Problem, Problems } from './problem.ts';
import { deepFreeze, type PlacelessConfiguration, resolve } from './resolve.ts';
import { salvage } from './salvage.ts';
import type { FilledConfiguration, WrittenConfiguration } from './schema.ts';
import { checkShape } from './shape.ts';
import { maxFileBytes, parseYaml, type Source } from './source.ts';

/** Looked for in the working directory, when neither an argument nor LANEKEEPER_CONFIG names a file. */
export const defaultFiles = [
  'lanekeeper.yaml',
  'lanekeeper.yml',
  'lanekeeper.ts',
  'lanekeeper.mjs',
  'lanekeeper.js',
  'lanekeeper.json',
] as const;

export type CheckResult =
  | {
      readonly kind: 'valid';
      readonly file: string;
      readonly configuration: PlacelessConfiguration;
      readonly warnings: readonly Diagnostic[];
    }
  | { readonly kind: 'invalid'; readonly file: string; readonly diagnostics: readonly Diagnostic[] };

export type Loaded = {
  readonly configuration: Configuration;
  readonly warnings: readonly Diagnostic[];
  /** Absolute path of the file it came from. */
  readonly file: string;
};

/**
 * Loads the configuration of one data center. `file` defaults to LANEKEEPER_CONFIG, then to the first of `defaultFiles`
 * in `directory` (the working directory); `dc` to LANEKEEPER_DC. Throws LanekeeperError LK_CONFIG with every diagnostic.
 */
export async function loadConfiguration({
  file,
  env,
  dc,
  directory,
}: {
  readonly file?: string | undefined;
  readonly env: Environment;
  readonly dc?: DataCenterName | undefined;
  readonly directory?: string | undefined;
}): Promise<Loaded> {
  const path = findConfigurationFile({ file, env, directory });
  const result = await checkConfigurationFile(path, env);
  if (result.kind === 'invalid') throw new ConfigurationError(result.diagnostics);
  return {
    configuration: placeIn(result.configuration, dc ?? env.LANEKEEPER_DC),
    warnings: result.warnings,
    file: path,
  };
}

/** The absolute path of the configuration file; throws LK_CONFIG when there is none, or more than one to choose from. */
export function findConfigurationFile({
  file,
  env,
  directory = process.cwd(),
}: {
  readonly file?: string | undefined;
  readonly env: Environment;
  readonly directory?: string | undefined;
}): string {
  const named = file ?? (env.LANEKEEPER_CONFIG || undefined);
  if (named !== undefined) {
    const path = resolvePath(directory, named);
    if (existsSync(path)) return path;
    const origin = file === undefined ? ' (named by LANEKEEPER_CONFIG)' : '';
    throw new LanekeeperError(
      'LK_CONFIG',
      `There is no file ${named}${origin}. \`lanekeeper init\` writes a first one.`,
    );
  }
  const found = defaultFiles.filter((name) => existsSync(resolvePath(directory, name)));
  if (found.length > 1)
    throw new LanekeeperError(
      'LK_CONFIG',
      `There are ${found.join(' and ')}: say which with --config or LANEKEEPER_CONFIG.`,
    );
  if (found[0] === undefined) {
    throw new LanekeeperError(
      'LK_CONFIG',
      `There is no configuration in ${directory}: looked for ${defaultFiles.join(', ')}. \`lanekeeper init\` writes a first one; --config or LANEKEEPER_CONFIG names another file.`,
    );
  }
  return resolvePath(directory, found[0]);
}

/** Checks a file without saying in which data center this is. Throws only when the file cannot be read at all. */
export async function checkConfigurationFile(path: string, env: Environment): Promise<CheckResult> {
  const file = shownName(path);
  if (/\.[cm]?[jt]s$/.test(path)) {
    const imported = await importConfiguration(path, file);
    if (imported.kind === 'broken') return { kind: 'invalid', file, diagnostics: [imported.diagnostic] };
    return checkValue(imported.value, imported.source, dirname(path));
  }
  return checkText(readText(path, file), { file, env, directory: dirname(path) });
}

/** Checks the text of a YAML or JSON file. `directory` is what a key file is relative to. */
export function checkText(
  text: string,
  { file, env, directory }: { readonly file: string; readonly env: Environment; readonly directory: string },
): CheckResult {
  const parsed = parseYaml(file, text);
  if (parsed.kind === 'broken') {
    const diagnostics = parsed.mistakes.map(({ range, message, hint }) =>
      diagnoseRange(parsed.source, range, 'error', message, hint),
    );
    return { kind: 'invalid', file, diagnostics };
  }
  const filled = interpolate(parsed.value, env);
  return checkValue(filled.value, { ...parsed.source, conceal: filled.conceal }, directory, filled.problems);
}

/** A configuration made by code, for tests and tools. Throws LanekeeperError LK_CONFIG; warnings are dropped. */
export function createConfiguration(
  written: WrittenConfiguration,
  { here, directory = process.cwd() }: { readonly here: DataCenterName; readonly directory?: string },
): Configuration {
  const result = checkValue(written, { file: 'configuration' }, directory);
  if (result.kind === 'invalid') throw new ConfigurationError(result.diagnostics);
  return placeIn(result.configuration, here);
}

/** Says in which data center this is. Throws LK_CONFIG when `dc` is missing or not one of the configuration's. */
export function placeIn(configuration: PlacelessConfiguration, dc: DataCenterName | undefined): Configuration {
  const names = Object.keys(configuration.dataCenters);
  if (dc === undefined || dc === '') {
    throw new LanekeeperError(
      'LK_CONFIG',
      `LANEKEEPER_DC is not set: say in which data center this process is, ${oneOf(names)}.`,
    );
  }
  if (!Object.hasOwn(configuration.dataCenters, dc)) {
    const meant = nearest(dc, names);
    const hint = meant === null ? `one of ${oneOf(names)}` : `did you mean \`${meant}\`?`;
    throw new LanekeeperError('LK_CONFIG', `LANEKEEPER_DC is \`${dc}\`, and there is no such data center: ${hint}`);
  }
  return deepFreeze({ ...configuration, here: dc });
}

/** Where a value comes from, and how to keep secrets that were filled in out of the messages. */
type Origin = (Source | SourcelessFile) & { readonly conceal?: (problem: Problem) => Problem };

/** `earlier` are mistakes that left holes in `value`; what follows from a hole is not reported again. */
function checkValue(value: unknown, source: Origin, directory: string, earlier: readonly Problem[] = []): CheckResult {
  const shape = checkShape(value);
  if (shape.kind === 'fits' && earlier.length === 0) {
    const { configuration, problems } = checkMeaning(shape.value, directory);
    if (problems.some(({ severity }) => severity === 'error')) return invalid(problems, source);
    return { kind: 'valid', file: source.file, configuration, warnings: diagnoseAll(problems, source) };
  }
  const holes = new Set(earlier.map(({ path }) => formatPath(path)));
  const wrongShape = shape.kind === 'fits' ? [] : shape.problems.filter(({ path }) => !holes.has(formatPath(path)));
  const mistakes = [...earlier, ...wrongShape];
  const salvaged = salvage(value, mistakes);
  const meaning = salvaged === null ? [] : checkMeaning(salvaged.value, directory).problems.filter(salvaged.trusts);
  return invalid([...mistakes, ...meaning], source);
}

function checkMeaning(
  written: FilledConfiguration,
  directory: string,
): { readonly configuration: PlacelessConfiguration; readonly problems: readonly Problem[] } {
  const problems = new Problems();
  const { keys } = written.sessions;
  if (typeof keys !== 'string')
    return { configuration: resolve(written, problems, directory), problems: problems.list };
  const keyFile = readKeyFile(directory, keys);
  const read = keyFile.kind === 'read' ? [...keyFile.keys] : [];
  const configuration = resolve({ ...written, sessions: { ...written.sessions, keys: read } }, problems, directory);
  if (keyFile.kind === 'read') return { configuration, problems: problems.list };
  // Keys that could not be read are not keys that are missing.
  const others = problems.list.filter(({ path }) => formatPath(path) !== 'sessions.keys');
  const { message, hint } = keyFile;
  return {
    configuration,
    problems: [...others, { severity: 'error', path: ['sessions', 'keys'], at: 'value', message, hint }],
  };
}

function invalid(problems: readonly Problem[], source: Origin): CheckResult {
  return { kind: 'invalid', file: source.file, diagnostics: diagnoseAll(problems, source) };
}

/** In the order of the file. */
function diagnoseAll(problems: readonly Problem[], source: Origin): Diagnostic[] {
  const { conceal = (problem: Problem) => problem } = source;
  return problems
    .map((problem) => diagnose(conceal(problem), source))
    .sort((a, b) => a.line - b.line || a.column - b.column);
}

function readText(path: string, file: string): string {
  let bytes: number;
  try {
    bytes = statSync(path).size;
    if (bytes <= maxFileBytes) return readFileSync(path, 'utf8');
  } catch (error) {
    throw new LanekeeperError(
      'LK_CONFIG',
      `${file} cannot be read: ${(error as NodeJS.ErrnoException).code ?? error}.`,
      {},
      { cause: error },
    );
  }
  throw new LanekeeperError('LK_CONFIG', `${file} has ${bytes} bytes: this is not a configuration.`);
}

/** Relative to the working directory for files below it. */
function shownName(path: string): string {
  const below = relative(process.cwd(), path);
  return below === '' || below.startsWith('..') ? path : below;
}
