// biome-ignore-all lint/suspicious/noTemplateCurlyInString: variables of a configuration look like this.
import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { parse, stringify } from 'yaml';
import { type Diagnostic, renderDiagnostic } from './diagnose.ts';
import { type CheckResult, checkText, placeIn } from './load.ts';

const example = readFileSync(new URL('../../../../docs/reference/lanekeeper.example.yaml', import.meta.url), 'utf8');
const exampleValue: unknown = parse(example);

/** Whatever was done to a file: a configuration that can be used, or diagnostics that can be shown. */
function mustHold(text: string): CheckResult {
  const result = checkText(text, { file: 'f', env: { SET: 'x' }, directory: '/nowhere' });
  if (result.kind === 'valid') {
    expect(Object.isFrozen(placeIn(result.configuration, Object.keys(result.configuration.dataCenters)[0]))).toBe(true);
    for (const warning of result.warnings) pointsIntoText(warning, text);
  } else {
    expect(result.diagnostics.some(({ severity }) => severity === 'error')).toBe(true);
    for (const diagnostic of result.diagnostics) pointsIntoText(diagnostic, text);
  }
  return result;
}

function pointsIntoText(diagnostic: Diagnostic, text: string): void {
  const lines = text.split('\n');
  const { line, column, length, source } = diagnostic;
  expect(line).toBeGreaterThanOrEqual(1);
  expect(line).toBeLessThanOrEqual(lines.length);
  const shown = lines[line - 1]!.replace(/\r$/, '');
  expect(source.length).toBe(shown.length);
  expect(column).toBeGreaterThanOrEqual(1);
  expect(column - 1).toBeLessThanOrEqual(lines[line - 1]!.length);
  expect(length).toBeGreaterThanOrEqual(1);
  expect(length === 1 || column - 1 + length <= lines[line - 1]!.length).toBe(true);
  expect(diagnostic.message).not.toBe('');
  const [, , carets] = renderDiagnostic(diagnostic).split('\n');
  expect(carets).toMatch(/\^/);
}

const nasty = fc.constantFrom(
  '{',
  '}',
  '[',
  ']',
  ':',
  ': ',
  '- ',
  '\t',
  '\n',
  '\r\n',
  '"',
  "'",
  '#',
  '&a ',
  '*a',
  '!!js ',
  '|',
  '>',
  '%',
  '@',
  '`',
  '---\n',
  '...\n',
  '<<: ',
  '${',
  '${SET}',
  '${NOPE}',
  '$${',
  '__proto__: 1\n',
  '"__proto__"',
  'constructor',
  'null',
  '~',
  '1e999',
  '.nan',
  '0x10',
  '\u0000',
  '\ufeff',
  '\ud800',
  '\u2028',
  'é',
  '? ',
  '!!binary ',
  '!!set ',
  'x'.repeat(300),
);

type Edit = { readonly at: number; readonly remove: number; readonly insert: string };
const edit: fc.Arbitrary<Edit> = fc.record({
  at: fc.double({ min: 0, max: 1, noNaN: true }),
  remove: fc.oneof(fc.constant(0), fc.nat(3), fc.nat(200)),
  insert: fc.oneof(fc.constant(''), nasty, fc.string({ maxLength: 8, unit: 'binary' })),
});

function applyEdits(text: string, edits: readonly Edit[]): string {
  return edits.reduce((result, { at, remove, insert }) => {
    const start = Math.floor(at * result.length);
    return result.slice(0, start) + insert + result.slice(start + remove);
  }, text);
}

test('a text that was cut about', () => {
  fc.assert(
    fc.property(fc.boolean(), fc.array(edit, { minLength: 1, maxLength: 4 }), (json, edits) => {
      mustHold(applyEdits(json ? JSON.stringify(exampleValue, null, 1) : example, edits));
    }),
    { numRuns: 400 },
  );
});

test('lines lost, doubled, moved and indented', () => {
  const change = fc.record({
    line: fc.nat(200),
    to: fc.nat(200),
    how: fc.constantFrom('lose', 'double', 'move', 'indent', 'outdent'),
  });
  fc.assert(
    fc.property(fc.array(change, { minLength: 1, maxLength: 5 }), (changes) => {
      const lines = example.split('\n');
      for (const { line, to, how } of changes) {
        const index = line % lines.length;
        const text = lines[index] ?? '';
        if (how === 'double') lines.splice(to % lines.length, 0, text);
        else if (how === 'indent') lines[index] = `  ${text}`;
        else if (how === 'outdent') lines[index] = text.replace(/^ {1,2}/, '');
        else {
          lines.splice(index, 1);
          if (how === 'move') lines.splice(to % (lines.length + 1), 0, text);
        }
      }
      mustHold(lines.join('\n'));
    }),
    { numRuns: 200 },
  );
});

/** Every place in the example, so that each can be replaced, renamed or removed. */
const places: (string | number)[][] = [];
collect(exampleValue, []);
function collect(value: unknown, path: (string | number)[]): void {
  if (path.length > 0) places.push(path);
  if (typeof value === 'object' && value !== null) {
    for (const [key, child] of Object.entries(value))
      collect(child, [...path, Array.isArray(value) ? Number(key) : key]);
  }
}

const replacement = fc.oneof(
  fc.jsonValue({ maxDepth: 2 }),
  fc.constantFrom(
    '',
    'ny',
    'LA',
    'postgres://a:b@c/d',
    'http://',
    'https://[::1]:99999',
    '1d',
    '99999999d',
    '-1s',
    '0s',
    -1,
    0.5,
    1e300,
    null,
    true,
    [],
    {},
    '${SET}',
    '${NOPE}',
    [[]],
    { __proto__x: 1 },
  ),
);

test('values replaced, renamed and removed', () => {
  const change = fc.record({
    place: fc.nat(places.length - 1),
    how: fc.constantFrom('replace', 'remove', 'rename'),
    replacement,
    name: fc.string({ maxLength: 6 }),
  });
  let valid = 0;
  fc.assert(
    fc.property(fc.boolean(), fc.array(change, { minLength: 1, maxLength: 3 }), (json, changes) => {
      const value = structuredClone(exampleValue);
      for (const { place, how, replacement, name } of changes) {
        const path = places[place]!;
        const parent = path
          .slice(0, -1)
          .reduce<unknown>((node, step) => (node as Record<string, unknown> | undefined)?.[step], value);
        if (typeof parent !== 'object' || parent === null) continue;
        const tree = parent as Record<string, unknown>;
        const key = path.at(-1)!;
        const old = tree[key];
        if (how === 'replace') tree[key] = replacement;
        else if (Array.isArray(parent)) parent.splice(Number(key), 1);
        else {
          delete tree[key];
          if (how === 'rename' && name !== '__proto__') tree[name] = old;
        }
      }
      const text = json ? JSON.stringify(value) : stringify(value);
      if (mustHold(text).kind === 'valid') valid++;
    }),
    { numRuns: 500 },
  );
  // Both outcomes happen, so that neither half of `mustHold` is idle.
  expect(valid).toBeGreaterThan(0);
});

test('anything at all', () => {
  fc.assert(
    fc.property(fc.oneof(fc.string({ unit: 'binary', maxLength: 60 }), fc.json()), (text) => void mustHold(text)),
    { numRuns: 300 },
  );
});

test('aliases that multiply are refused, not unfolded', () => {
  const lines = ['a: &a0 [x, x]'];
  for (let i = 1; i < 30; i++) lines.push(`a${i}: &a${i} [*a${i - 1}, *a${i - 1}, *a${i - 1}]`);
  expect(mustHold(`${lines.join('\n')}\n`).kind).toBe('invalid');
});
