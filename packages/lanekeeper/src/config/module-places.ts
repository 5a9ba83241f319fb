/**
 * Where in a TypeScript or JavaScript file the object literal of the configuration has a key: good enough to point at a
 * mistake, not a parser of the language. What is not written as a literal (a variable, a call, a spread) is shown at the
 * nearest place that is.
 */
import type { Path, Problem } from './problem.ts';
import type { Range, Source } from './source.ts';

type Token = {
  readonly kind: 'string' | 'word' | 'mark';
  readonly text: string;
  readonly start: number;
  readonly end: number;
};

type Entry = { readonly key: Range; readonly value: Value };
type Value = Range & { readonly entries: ReadonlyMap<string, Entry> | null };

/** Deeper than any configuration: below it nothing is looked at. */
const maxDepth = 32;

export function moduleSource(file: string, text: string): Source {
  const objects = literalObjects(scan(text));
  // The configuration is the literal that has most of its keys; helpers before it in the file have none.
  const root = objects.reduce<Value | null>((best, each) => (score(each) > score(best) ? each : best), null);
  return { file, text, locate: (path, at) => locate(root, path, at) };
}

const sections = ['cluster', 'approach', 'dataCenters', 'leases', 'tables', 'roles', 'sessions', 'claims'];

function score(value: Value | null): number {
  return sections.filter((name) => value?.entries?.has(name)).length;
}

function locate(root: Value | null, path: Path, at: Problem['at']): Range | null {
  if (root === null) return null;
  let value = root;
  let place: Range = { start: root.start, end: root.start + 1 };
  for (const [index, step] of path.entries()) {
    const entry = value.entries?.get(String(step));
    if (entry === undefined) return place;
    const last = index === path.length - 1;
    // Of a block only the name is underlined.
    place = (last && at === 'key') || entry.value.entries !== null ? entry.key : entry.value;
    value = entry.value;
  }
  return place;
}

function literalObjects(tokens: readonly Token[]): Value[] {
  const objects: Value[] = [];
  let position = 0;
  while (position < tokens.length) value(0);
  return objects;

  /** Reads up to the comma or bracket that ends a value; what it begins with decides what it is. */
  function value(depth: number): Value {
    const first = tokens[position]!;
    let result: Value = { start: first.start, end: first.end, entries: null };
    let begun = false;
    while (position < tokens.length) {
      const { text, kind, end } = tokens[position]!;
      const closing = kind === 'mark' && (text === '}' || text === ']' || text === ')');
      if (closing || (kind === 'mark' && (text === ',' || text === ';'))) {
        // At the top there is nothing that these could end.
        if (depth === 0 || !begun) position++;
        break;
      }
      const opens = kind === 'mark' && (text === '{' || text === '[' || text === '(');
      const inner = opens && depth < maxDepth ? group(text, depth + 1) : null;
      if (inner === null) position++;
      if (!begun && inner !== null && text !== '(') result = inner;
      else if (result.entries === null) result = { ...result, end: inner?.end ?? end };
      begun = true;
    }
    return result;
  }

  function group(open: string, depth: number): Value {
    const start = tokens[position]!.start;
    const close = open === '{' ? '}' : open === '[' ? ']' : ')';
    const entries = new Map<string, Entry>();
    position++;
    let index = 0;
    while (position < tokens.length && !isMark(tokens[position]!, close)) {
      const token = tokens[position]!;
      const before = position;
      if (open === '{' && token.kind !== 'mark' && isMark(tokens[position + 1], ':')) {
        position += 2;
        if (position < tokens.length)
          entries.set(token.text, { key: { start: token.start, end: token.end }, value: value(depth) });
      } else {
        const item = value(depth);
        // `{ cluster, … }`, and the elements of a list.
        if (open === '{' && token.kind === 'word')
          entries.set(token.text, { key: { start: token.start, end: token.end }, value: item });
        else if (open === '[') entries.set(String(index), { key: item, value: item });
      }
      index++;
      if (isMark(tokens[position], ',') || isMark(tokens[position], ';')) position++;
      // A bracket of another kind: the text was not what it seemed. Go on behind it.
      else if (position === before) position++;
    }
    const end = tokens[position]?.end ?? tokens.at(-1)!.end;
    position++;
    const read: Value = { start, end, entries: open === '(' ? null : entries };
    if (open === '{') objects.push(read);
    return read;
  }
}

function isMark(token: Token | undefined, text: string): boolean {
  return token !== undefined && token.kind === 'mark' && token.text === text;
}

/** Comments and blanks are passed over; strings and templates are one token each, so that a brace in them is no brace. */
function scan(text: string): Token[] {
  const pattern =
    /\s+|\/\/[^\n]*|\/\*[\s\S]*?(?:\*\/|$)|("(?:[^"\\\n]|\\[\s\S])*"?|'(?:[^'\\\n]|\\[\s\S])*'?|`(?:[^`\\]|\\[\s\S])*`?)|([A-Za-z_$][\w$]*|\d[\w.]*)|([\s\S])/g;
  const tokens: Token[] = [];
  for (const match of text.matchAll(pattern)) {
    const [whole, string, word, mark] = match;
    const start = match.index;
    const end = start + whole.length;
    if (string !== undefined) tokens.push({ kind: 'string', text: string.slice(1, -1), start, end });
    else if (word !== undefined) tokens.push({ kind: 'word', text: word, start, end });
    else if (mark !== undefined) tokens.push({ kind: 'mark', text: mark, start, end });
  }
  return tokens;
}
