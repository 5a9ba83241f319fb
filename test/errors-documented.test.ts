/** The table of errors, its page in the docs, what the database raises and what the sources name: one list. */
import { errors } from 'lanekeeper/model';
import { describe, expect, test } from 'vitest';
import { allFiles, textOf } from './tidy/files.ts';

const page = textOf('docs/reference/errors.md');
const sections = new Map(
  page
    .split(/^### /m)
    .slice(1)
    .map((section) => {
      const [code = '', ...rest] = section.split('\n');
      return [code, rest.join('\n').replace(/^## [\s\S]*/m, '')] as const;
    }),
);
const sources = allFiles().filter(
  (path) => /^(packages|examples)\/.*\.ts$/.test(path) && !path.includes('.test.') && !path.endsWith('model/errors.ts'),
);

/** Codes of `process.emitWarning`, described at the end of the page. */
const warnings = ['LK_CONTROL', 'LK_CONFLICT'];

test('the page has a section for every code, in the order of the table, and no others', () => {
  expect([...sections.keys()]).toEqual(Object.keys(errors));
});

describe.each(Object.entries(errors))('%s', (code, entry) => {
  const section = sections.get(code) ?? '';

  test('says SQLSTATE, status and whether it may succeed later', () => {
    const sqlstate = 'sqlstate' in entry ? `\`${entry.sqlstate}\`` : 'none';
    const cells = section.split('\n').map((line) => line.split('|').map((cell) => cell.trim()));
    expect(cells).toContainEqual(['', sqlstate, String(entry.status), entry.retryable ? 'yes' : 'no', '']);
  });

  test('means what the table says, and then says what to do', () => {
    const paragraphs = section.split(/\n{2,}/).map((paragraph) => paragraph.trim());
    const meaning = paragraphs.indexOf(entry.help);
    expect(meaning, `the sentence "${entry.help}" is a paragraph of its own`).toBeGreaterThan(0);
    expect(paragraphs[meaning + 1]?.length ?? 0).toBeGreaterThan(20);
  });
});

test('a SQLSTATE means one thing', () => {
  const states = Object.values(errors).flatMap((entry) => ('sqlstate' in entry ? [entry.sqlstate] : []));
  expect(new Set(states).size).toBe(states.length);
});

test('the database raises the SQLSTATEs of the table, all of them and no others', () => {
  const raising = allFiles().filter((path) => /^packages\/server\/(sql\/\d+\.sql|src\/postgres\/.*\.ts)$/.test(path));
  const raised = raising
    .filter((path) => !path.includes('.test.'))
    .flatMap((path) => [...textOf(path).matchAll(/'(LK\d{3})'/g)].map((match) => match[1] as string));
  const known = Object.values(errors).flatMap((entry) => ('sqlstate' in entry ? [entry.sqlstate as string] : []));
  expect([...new Set(raised)].sort()).toEqual(known.sort());
});

test('sources name only codes that exist', () => {
  const wrong = sources.flatMap((path) =>
    [...textOf(path).matchAll(/['`](LK_[A-Z_]+)['`]/g)]
      .map((match) => match[1] as string)
      .filter((code) => !Object.hasOwn(errors, code) && !warnings.includes(code))
      .map((code) => `${path}: ${code}`),
  );
  expect(wrong).toEqual([]);
});

test('warnings are described', () => {
  for (const code of warnings) expect(page).toContain(`\`${code}\``);
});
