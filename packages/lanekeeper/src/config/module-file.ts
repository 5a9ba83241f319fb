/**
 * Configuration as a module: `lanekeeper.ts`, `.mjs` or `.js` with a default export.
 *
 * TypeScript is a matter of the Node that runs this. Node 22.18 and later import it themselves; earlier ones that have
 * `module.stripTypeScriptTypes` (22.13) get their types stripped by a loader hook for this one file. Node 20 has neither:
 * there the same hook passes the text on as it is, so that a file without type syntax, which `defineConfiguration({…})`
 * makes possible, works everywhere, and one with type syntax gets an error that says so.
 */
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { register } from 'node:module';
import { pathToFileURL } from 'node:url';
import { type Diagnostic, diagnoseRange } from './diagnose.ts';
import { moduleSource } from './module-places.ts';
import type { Range, Source } from './source.ts';

export type Imported =
  | { readonly kind: 'imported'; readonly value: unknown; readonly source: Source }
  | { readonly kind: 'broken'; readonly diagnostic: Diagnostic };

export async function importConfiguration(path: string, file: string): Promise<Imported> {
  const text = readFileSync(path, 'utf8');
  const url = pathToFileURL(path);
  const typescript = /\.[cm]?ts$/.test(path);
  if (typescript && !importsTypeScript()) {
    registerHook();
    url.searchParams.set(hookMark, '');
  }
  let module: { readonly default?: unknown };
  try {
    module = await import(url.href);
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    const hint =
      typescript && error instanceof SyntaxError && !importsTypeScript()
        ? `Node ${process.versions.node} cannot read TypeScript syntax: use Node 22.18 or later, or write the file without types: \`export default defineConfiguration({…})\`.`
        : null;
    const range = errorRange(error, url, text);
    return {
      kind: 'broken',
      diagnostic: diagnoseRange({ file, text }, range, 'error', `The file cannot be imported: ${message}`, hint),
    };
  }
  if (module.default === undefined) {
    return {
      kind: 'broken',
      diagnostic: diagnoseRange(
        { file, text },
        { start: 0, end: 0 },
        'error',
        'The file has no default export',
        'Write `export default defineConfiguration({…})`.',
      ),
    };
  }
  return { kind: 'imported', value: module.default, source: moduleSource(file, text) };
}

function importsTypeScript(): boolean {
  return Boolean((process.features as { typescript?: unknown }).typescript);
}

const hookMark = 'lanekeeper-configuration';
let hookRegistered = false;

/** A hook is for the whole process, so it acts only on URLs that carry the mark. */
function registerHook(): void {
  if (hookRegistered) return;
  hookRegistered = true;
  const hook = `
    import { readFileSync } from 'node:fs';
    import * as nodeModule from 'node:module';
    export async function load(url, context, next) {
      const parsed = new URL(url);
      if (!parsed.searchParams.has('${hookMark}')) return next(url, context);
      const text = readFileSync(parsed, 'utf8');
      const strip = nodeModule.stripTypeScriptTypes;
      return { format: 'module', shortCircuit: true, source: strip === undefined ? text : strip(text) };
    }`;
  register(`data:text/javascript,${encodeURIComponent(hook)}`);
}

/** Where the mistake is: V8 keeps the place of a syntax error to itself, and `node --check` tells it. */
function errorRange(error: unknown, url: URL, text: string): Range {
  const place = error instanceof SyntaxError ? syntaxPlace(text) : thrownPlace(error, url);
  if (place === null) return { start: 0, end: 0 };
  const before = text.split('\n').slice(0, place.line - 1);
  const start = before.reduce((offset, line) => offset + line.length + 1, 0) + place.column - 1;
  return { start, end: start + place.length };
}

type Place = { readonly line: number; readonly column: number; readonly length: number };

function syntaxPlace(text: string): Place | null {
  const { stderr } = spawnSync(process.execPath, ['--input-type=module', '--check', '-'], {
    input: text,
    timeout: 5000,
  });
  const match = /^\[stdin\]:(\d+)\n.*\n( *)(\^+)/.exec(String(stderr));
  return match === null ? null : { line: Number(match[1]), column: match[2]!.length + 1, length: match[3]!.length };
}

function thrownPlace(error: unknown, url: URL): Place | null {
  const stack = error instanceof Error ? (error.stack ?? '') : '';
  const found = stack.indexOf(`${url.href}:`);
  const match = found < 0 ? null : /^(\d+):(\d+)/.exec(stack.slice(found + url.href.length + 1));
  return match === null ? null : { line: Number(match[1]), column: Number(match[2]), length: 1 };
}
