/** What README.md says of codes and variables is what the code knows. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';

const folder = fileURLToPath(new URL('..', import.meta.url));
const readme = readFileSync(join(folder, 'README.md'), 'utf8');
const sources = readdirSync(join(folder, 'src'), { recursive: true, encoding: 'utf8' })
  .filter((name) => name.endsWith('.ts') && !name.endsWith('.test.ts'))
  .map((name) => readFileSync(join(folder, 'src', name), 'utf8'))
  .join('\n');

function found(text: string, pattern: RegExp): string[] {
  return [...new Set(text.match(pattern))].sort();
}

test('every code of the shop is in the table, and no other', () => {
  expect(found(readme, /\bSHOP_[A-Z_]+\b/g)).toEqual(found(sources, /\bSHOP_[A-Z]+(?:_[A-Z]+)*\b/g));
});

test('every variable of the shop is in the table', () => {
  const read = found(sources, /(?<=\benv\.)[A-Z_]+|(?<=\(env, ')[A-Z_]+/g);
  expect(read.length).toBeGreaterThan(8);
  for (const name of read) expect(readme).toContain(`\`${name}\``);
});
