/**
 * A file as text and as data, with the way back from a path in the data to a place in the text. YAML and JSON are both
 * read by the YAML parser, which keeps ranges.
 */
import {
  type Document,
  isAlias,
  isMap,
  isPair,
  isScalar,
  isSeq,
  type Node,
  parseDocument,
  visit,
  type YAMLParseError,
  type YAMLWarning,
} from 'yaml';
import type { Path, Problem } from './problem.ts';

/** Offsets into the text, end exclusive. */
export type Range = { readonly start: number; readonly end: number };

export type Source = {
  /** As it is shown in front of `:line:column`. */
  readonly file: string;
  readonly text: string;
  /** Where the key or the value of `path` is, or that of its nearest parent; null when the file has no such place. */
  locate(path: Path, at: Problem['at']): Range | null;
};

/** A mistake of syntax, at offsets the parser knows. */
export type SyntaxMistake = { readonly range: Range; readonly message: string; readonly hint: string | null };

export type Parsed =
  | { readonly kind: 'parsed'; readonly source: Source; readonly value: unknown }
  | { readonly kind: 'broken'; readonly source: Source; readonly mistakes: readonly SyntaxMistake[] };

/** More than any configuration needs; beyond it, it is the wrong file. */
export const maxFileBytes = 1024 * 1024;

export function parseYaml(file: string, text: string): Parsed {
  const document = parseDocument(text, { prettyErrors: false, uniqueKeys: true, logLevel: 'error' });
  const contents = document.contents as Node | null;
  const source: Source = { file, text, locate: (path, at) => locate(contents, path, at) };
  const syntax = syntaxMistakes([...document.errors, ...document.warnings], text);
  const mistakes = syntax.length > 0 ? syntax : mistakesOfUse(document);
  if (mistakes.length > 0) return { kind: 'broken', source, mistakes };
  try {
    return { kind: 'parsed', source, value: contents === null ? null : document.toJS({ maxAliasCount: 100 }) };
  } catch {
    // The parser throws when aliases would unfold into far more than the file holds.
    const message = 'The aliases in this file stand for too much';
    return { kind: 'broken', source, mistakes: [{ range: { start: 0, end: 0 }, message, hint: 'Write it out.' }] };
  }

  function locate(root: Node | null, path: Path, at: Problem['at']): Range | null {
    let node: Node | null = root;
    let range: Range | null = rangeOf(node);
    for (const [depth, step] of path.entries()) {
      if (isAlias(node)) node = node.resolve(document) ?? null;
      const last = depth === path.length - 1;
      if (isMap(node)) {
        const pair = node.items.find((item) => isPair(item) && keyText(item.key) === String(step));
        if (pair === undefined) return whole(range, node, depth === 0);
        const key = rangeOf(pair.key as Node | null);
        node = (pair.value as Node | null) ?? null;
        const value = rangeOf(node);
        range = (last && at === 'key') || value === null || value.end === value.start ? (key ?? value ?? range) : value;
        // A missing key below is shown at the name of what lacks it, not at its whole block.
        if (!last && key !== null && (isMap(node) || node === null) && !hasStep(node, path[depth + 1]!)) return key;
      } else if (isSeq(node)) {
        const item = (node.items[Number(step)] as Node | undefined) ?? null;
        if (item === null) return range;
        node = item;
        range = rangeOf(item) ?? range;
      } else return range;
    }
    return range;
  }

  function hasStep(node: unknown, step: string | number): boolean {
    return isMap(node) && node.items.some((item) => keyText(item.key) === String(step));
  }
}

/** YAML that is well formed, and still nothing that a configuration can consist of. */
function mistakesOfUse(document: Document.Parsed): SyntaxMistake[] {
  const mistakes: SyntaxMistake[] = [];
  const add = (node: unknown, message: string, hint: string): void => {
    mistakes.push({ range: rangeOf(node) ?? { start: 0, end: 0 }, message, hint });
  };
  visit(document, {
    Pair: (_, pair) => {
      const { key } = pair;
      if (isScalar(key) && key.value !== null && typeof key.value !== 'object') return undefined;
      add(rangeOf(key) === null ? pair.value : key, 'A key must be text', 'Write `key: value`.');
      return visit.SKIP;
    },
    Alias: (_, alias) => {
      if (alias.resolve(document) === undefined)
        add(alias, 'Nothing is called by this name further up', 'Define it with & before you use it with *.');
    },
  });
  return mistakes;
}

/** Once a bracket or a block is broken, what follows looks wrong too: the first such mistake is the one that counts. */
const derailing: ReadonlySet<string> = new Set([
  'UNEXPECTED_TOKEN',
  'MULTIPLE_DOCS',
  'MISSING_CHAR',
  'BAD_INDENT',
  'BLOCK_IN_FLOW',
]);

function syntaxMistakes(found: readonly (YAMLParseError | YAMLWarning)[], text: string): SyntaxMistake[] {
  const inOrder = [...found].sort((a, b) => a.pos[0] - b.pos[0]);
  const derailed = inOrder.findIndex(({ code }) => derailing.has(code));
  const meaningful = derailed < 0 ? inOrder : inOrder.slice(0, derailed + 1);
  return meaningful.map(({ pos, code, message }) => {
    const range = { start: pos[0], end: pos[1] };
    // `{ url: ${URL} }`: between braces YAML takes the brace of a variable for one of its own.
    if (
      /\$\{[^\s}]*\}?$/.test(text.slice(Math.max(0, range.end - 80), range.end)) ||
      text.startsWith('${', range.start - 1)
    ) {
      return {
        range,
        message: 'Between { } or [ ] a variable must be quoted',
        // biome-ignore lint/suspicious/noTemplateCurlyInString: this is what to write.
        hint: 'Write "${NAME}" with the quotes.',
      };
    }
    if (code === 'DUPLICATE_KEY') {
      const key = /^[^\s:]*/.exec(text.slice(range.start))![0];
      return {
        range: { start: range.start, end: range.start + key.length },
        message: 'This key is there twice',
        hint: 'Remove one of them.',
      };
    }
    if (message.startsWith('Flow '))
      return { range, message: 'A closing } or ] is missing before this place', hint: null };
    const known = knownMistakes[code];
    // The parser quotes what it met, which may be a URL with its password.
    return { range, message: known?.message ?? firstLine(message).replace(/: ".*$/, ''), hint: known?.hint ?? null };
  });
}

const knownMistakes: Readonly<Record<string, { readonly message: string; readonly hint: string }>> = {
  TAB_AS_INDENT: { message: 'A tab cannot indent in YAML', hint: 'Use spaces.' },
  BAD_INDENT: {
    message: 'This line is not indented like its neighbours',
    hint: 'Keys of one block begin in the same column.',
  },
  MULTIPLE_DOCS: {
    message: 'A second document begins here',
    hint: 'One file holds one configuration: remove the line ---.',
  },
};

function keyText(key: unknown): string {
  return isScalar(key) ? String(key.value) : String(key);
}

/** A key that is missing at the top is shown at the top, not under everything. */
function whole(range: Range | null, node: Node, top: boolean): Range | null {
  if (!top) return range;
  const start = rangeOf(node)?.start ?? 0;
  return { start, end: start };
}

function rangeOf(node: unknown): Range | null {
  if (typeof node !== 'object' || node === null || !('range' in node)) return null;
  const { range } = node as Node;
  return range ? { start: range[0], end: range[1] } : null;
}

function firstLine(text: string): string {
  return text.split('\n', 1)[0]!.replace(/[.:]\s*$/, '');
}
