/** Checks the shape of what was written (keys, types, values by themselves) and says in our words what zod found. */
import { z } from 'zod';
import { nearest, oneOf } from './nearest.ts';
import { formatPath, type Path, type Problem } from './problem.ts';
import { type FilledConfiguration, schema } from './schema.ts';

type Issue = z.core.$ZodIssue;

export type ShapeResult =
  | { readonly kind: 'fits'; readonly value: FilledConfiguration }
  | { readonly kind: 'mistakes'; readonly problems: readonly Problem[] };

export function checkShape(value: unknown): ShapeResult {
  const hidden = hiddenKeys(value, []);
  if (hidden.length > 0) return { kind: 'mistakes', problems: hidden };
  const result = schema.safeParse(value);
  if (result.success) return { kind: 'fits', value: result.data };
  return { kind: 'mistakes', problems: result.error.issues.flatMap((issue) => problemsOf(issue, value)) };
}

/** zod passes over `__proto__` in records without a word; here every key is either understood or refused. */
function hiddenKeys(value: unknown, path: Path): Problem[] {
  if (typeof value !== 'object' || value === null) return [];
  const found: Problem[] = [];
  for (const [key, child] of Object.entries(value)) {
    const childPath = [...path, Array.isArray(value) ? Number(key) : key];
    if (key === '__proto__') found.push(problem(childPath, 'key', 'Nothing can be called `__proto__`', null));
    else found.push(...hiddenKeys(child, childPath));
  }
  return found;
}

function problem(path: Path, at: Problem['at'], message: string, hint: string | null): Problem {
  return { severity: 'error', path, at, message, hint };
}

function problemsOf(issue: Issue, root: unknown): Problem[] {
  const path = issue.path.map((step) => (typeof step === 'symbol' ? String(step) : step));
  const name = path.length === 0 ? 'The configuration' : `\`${formatPath(path)}\``;
  const input = valueAt(root, path);
  switch (issue.code) {
    case 'unrecognized_keys':
      return issue.keys.map((key) => unknownKey(path, key));
    case 'invalid_key': {
      const wrongName = problem(
        path,
        'key',
        `\`${String(path.at(-1))}\` is not a name that can be used here`,
        keyHint(path),
      );
      // zod leaves the value of a wrong name unread; its mistakes are to be seen in the same run.
      const node = schemaAt(path);
      const below = node === null ? undefined : z.safeParse(node, input).error;
      return [
        wrongName,
        ...(below?.issues ?? []).flatMap((inner) => problemsOf({ ...inner, path: [...path, ...inner.path] }, root)),
      ];
    }
    case 'invalid_type':
    case 'invalid_union':
      if (input === undefined) return [problem(path, 'key', `${name} is missing`, describe(path))];
      return [problem(path, 'value', `${name} is ${kindOf(input)}`, expectation(issue, path))];
    case 'invalid_value': {
      if (input === undefined)
        return [problem(path, 'key', `${name} is missing`, `One of ${oneOf(issue.values.map(String))}.`)];
      const meant = typeof input === 'string' ? nearest(input, issue.values.map(String)) : null;
      const choices = `One of ${oneOf(issue.values.map(String))}.`;
      return [
        problem(
          path,
          'value',
          `${name} cannot be ${shown(input)}`,
          meant === null ? choices : `Did you mean \`${meant}\`? ${choices}`,
        ),
      ];
    }
    case 'invalid_format':
      return [problem(path, 'value', `${name} cannot be ${shown(input)}`, formatHint(path))];
    case 'too_small':
      if (input === '') return [problem(path, 'value', `${name} is empty`, describe(path))];
      return [problem(path, 'value', `${name} is too small`, `At least ${issue.minimum}.`)];
    case 'too_big':
      return [problem(path, 'value', `${name} is too large`, `At most ${issue.maximum}.`)];
    default:
      return [problem(path, 'value', `${name}: ${issue.message}`, describe(path))];
  }
}

function unknownKey(path: Path, key: string): Problem {
  const here = keysAt(path);
  const place = path.length === 0 ? 'here' : `in \`${formatPath(path)}\``;
  const meant = nearest(key, here);
  let hint = `Known ${place}: ${oneOf(here)}.`;
  if (meant !== null) hint = `Did you mean \`${meant}\`?`;
  else {
    const elsewhere = homesOfKey(key);
    if (elsewhere.length > 0) hint = `It belongs to ${oneOf(elsewhere)}.`;
  }
  return problem([...path, key], 'key', `\`${key}\` is not known ${place}`, hint);
}

function keyHint(path: Path): string {
  if (path[0] === 'dataCenters')
    return 'A lower-case letter, then lower-case letters and digits, at most 15 in all, for example `ny`.';
  if (path[0] === 'claims')
    return 'A lower-case letter, then lower-case letters, digits and _, at most 32 in all, for example `email`.';
  return 'A name that is not empty.';
}

/** Patterns are explained once, by what the field is. */
function formatHint(path: Path): string | null {
  const key = path.at(-1);
  const parent = path.at(-2);
  if (key === 'cluster')
    return 'A lower-case letter, then lower-case letters, digits, - and _, at most 31 in all, for example `shop`.';
  if (key === 'cookie') return 'A lower-case letter, then lower-case letters, digits, - and _, at most 32 in all.';
  if (key === 'feeder' || key === 'dataCenter' || key === 'existing')
    return 'The short name of a data center, for example `ny`.';
  if (parent === 'leases' || parent === 'moves' || parent === 'sessions' || parent === 'durability')
    return 'A number and its unit: `500ms`, `6s`, `30m`, `12h` or `30d`.';
  return describe(path);
}

function expectation(issue: Issue, path: Path): string | null {
  const expected = issue.code === 'invalid_type' ? expectedWords[issue.expected] : undefined;
  const description = describe(path);
  if (expected === undefined) return description;
  if (typeof path.at(-1) === 'string' && formatHintFor(path)) return formatHint(path);
  return `It should be ${expected}.${description === null ? '' : ` ${description}`}`;
}

/** Durations written as bare numbers are a type mistake to zod, and a missing unit to a person. */
function formatHintFor(path: Path): boolean {
  const node = schemaAt(path);
  return node?._zod.def.type === 'string' && formatHint(path) !== describe(path);
}

const expectedWords: Readonly<Record<string, string>> = {
  string: 'text',
  number: 'a number',
  int: 'a whole number',
  boolean: '`true` or `false`',
  array: 'a list',
  object: 'a set of keys and values',
  record: 'a set of names and values',
};

function kindOf(value: unknown): string {
  if (value === null) return 'empty';
  if (Array.isArray(value)) return 'a list';
  if (typeof value === 'object') return 'a set of keys and values';
  if (typeof value === 'string') return 'text';
  if (typeof value === 'number' && !Number.isInteger(value)) return 'not a whole number';
  return `a ${typeof value}`;
}

/** Values are shown only when they are short: a long one may be a secret that was interpolated into the wrong place. */
function shown(value: unknown): string {
  if (typeof value === 'string') return value.length <= 24 ? JSON.stringify(value) : 'this';
  return typeof value === 'number' || typeof value === 'boolean' ? String(value) : kindOf(value);
}

function valueAt(root: unknown, path: Path): unknown {
  let value = root;
  for (const step of path) {
    if (typeof value !== 'object' || value === null || !Object.hasOwn(value, step)) return undefined;
    value = (value as Record<string | number, unknown>)[step];
  }
  return value;
}

// What the schema knows at a path. zod's own introspection is used, so that help and check can never differ.

type Node = z.core.$ZodTypes;

function bare(node: Node): Node {
  let current = node;
  for (;;) {
    const { def } = current._zod;
    if (def.type === 'optional' || def.type === 'default' || def.type === 'prefault') current = def.innerType as Node;
    else return current;
  }
}

function schemaAt(path: Path): Node | null {
  let node: Node | null = bare(schema as unknown as Node);
  for (const step of path) {
    node = node === null ? null : childOf(node, step);
    if (node === null) return null;
  }
  return node;
}

function childOf(node: Node, step: string | number): Node | null {
  const { def } = node._zod;
  if (def.type === 'object' && typeof step === 'string' && Object.hasOwn(def.shape, step))
    return bare(def.shape[step] as Node);
  if (def.type === 'record') return bare(def.valueType as Node);
  if (def.type === 'array') return bare(def.element as Node);
  if (def.type === 'union') {
    for (const option of def.options) {
      const child = childOf(bare(option as Node), step);
      if (child !== null) return child;
    }
  }
  return null;
}

function keysAt(path: Path): string[] {
  const def = schemaAt(path)?._zod.def;
  if (def?.type === 'object') return Object.keys(def.shape);
  if (def?.type !== 'record') return [];
  const names = (def.keyType as Node)._zod.def;
  return names.type === 'enum' ? Object.values(names.entries).map(String) : [];
}

function describe(path: Path): string | null {
  // The description sits on the outermost wrapper or on the type itself.
  const parent = schemaAt(path.slice(0, -1));
  const step = path.at(-1);
  if (parent?._zod.def.type === 'object' && typeof step === 'string') {
    let node = parent._zod.def.shape[step] as (Node & { description?: string }) | undefined;
    while (node !== undefined) {
      if (node.description !== undefined) return node.description;
      const { def } = node._zod;
      node = 'innerType' in def ? (def.innerType as Node) : undefined;
    }
  }
  return null;
}

/** Where else in the configuration a key of this name belongs, as paths with `*` for names. */
function homesOfKey(key: string): string[] {
  const found: string[] = [];
  const visit = (node: Node, path: string): void => {
    const { def } = node._zod;
    if (def.type === 'object') {
      if (path !== '' && Object.hasOwn(def.shape, key)) found.push(path);
      for (const [name, child] of Object.entries(def.shape))
        visit(bare(child as Node), path === '' ? name : `${path}.${name}`);
    } else if (def.type === 'record') visit(bare(def.valueType as Node), `${path}.*`);
  };
  visit(bare(schema as unknown as Node), '');
  return found;
}
