/** Advice for a person: what can be written everywhere, what cannot, and what will hurt, each said once. */
import type { Configuration } from 'lanekeeper/config';
import type { TableAdvice } from '../advise/index.ts';
import type { Finding } from '../postgres/index.ts';
import { count } from './database-command.ts';
import type { Output } from './output.ts';

export type Advice = {
  /** Whether `configuration` was written by somebody, or guessed. */
  readonly declared: boolean;
  readonly configuration: Configuration;
  readonly tables: readonly TableAdvice[];
  readonly findings: readonly Finding[];
};

const namesShown = 8;

export function printAdvice(output: Output, advice: Advice, everything: boolean): void {
  const { colors } = output;
  const { tables, findings, declared, configuration } = advice;
  if (everything) for (const table of tables) printTable(output, table);
  else {
    output.line(
      declared
        ? `${count(tables.length, 'table')}, as declared (${configuration.approach}):`
        : `${count(tables.length, 'table')}, guessed (\`lanekeeper adopt\` writes it down):`,
    );
    for (const [heading, group] of grouped(tables)) {
      const names = group.map(({ table }) => short(table));
      output.line(`${heading}: ${colors.bold(String(group.length))}  ${colors.dim(some(names))}`);
    }
    printChanges(output, tables);
    printDisagreements(output, tables);
  }
  printFindings(output, findings, everything);
}

function printTable(output: Output, table: TableAdvice): void {
  const { colors } = output;
  const declared = table.declared === null ? '' : ` (declared ${table.declared})`;
  output.line(`${colors.bold(table.table)}: ${table.suggested}${declared}`);
  output.line(`    ${table.why}`);
  output.line(`    active-active: ${table.activeActive.replace('-', ' ')}; ${table.because}`);
  if (table.pattern !== null) output.line(`    pattern ${table.pattern}: ${patterns[table.pattern]}`);
  if (table.policy !== null) output.line(`    policy: ${table.policy}`);
  for (const change of table.changes) output.line(`    ${colors.yellow('change:')} ${change}`);
}

const patterns = {
  1: 'many masters, one active for each row',
  2: 'one master, many readers',
  3: 'a feeder, many readers',
  4: 'the application writes to every data center',
  5: 'writes wait in a log',
} as const;

function grouped(tables: readonly TableAdvice[]): ReadonlyMap<string, readonly TableAdvice[]> {
  const groups = new Map<string, TableAdvice[]>();
  for (const heading of Object.values(headings)) groups.set(heading, []);
  for (const table of tables) groups.get(headingOf(table))?.push(table);
  return new Map([...groups].filter(([, group]) => group.length > 0));
}

const headings = {
  homed: '  written in the home of their account',
  single: '  written in the one home of everything',
  fixed: '  written in one fixed home',
  merged: '  written anywhere',
  fed: '  published by one data center',
  local: '  each data center its own',
} as const;

function headingOf(table: TableAdvice): string {
  if (table.pattern === 1) return table.activeActive === 'no' ? headings.single : headings.homed;
  if (table.pattern === 2) return headings.fixed;
  if (table.pattern === 3 && table.policy === null) return headings.fed;
  if (table.policy !== null || table.pattern !== null) return headings.merged;
  return headings.local;
}

/** What the application must change, each change once. */
function printChanges(output: Output, tables: readonly TableAdvice[]): void {
  const changes = new Map<string, string[]>();
  for (const { table, changes: own } of tables)
    for (const change of own) changes.set(change, [...(changes.get(change) ?? []), short(table)]);
  if (changes.size === 0) return;
  output.line('\nThe application has to change:');
  for (const [change, where] of changes) output.line(`  ${change}  ${output.colors.dim(some(where, 4))}`);
}

function printDisagreements(output: Output, tables: readonly TableAdvice[]): void {
  const other = tables.filter(({ declared, suggested }) => declared !== null && suggested !== declared);
  if (other.length === 0) return;
  output.line('\nGuessed otherwise than declared (names and counters can mislead; you decide):');
  for (const { table, declared, suggested, why } of other)
    output.line(`  ${table}: ${declared}, guessed ${suggested} ${output.colors.dim(`(${why})`)}`);
}

const signs = { error: '✗', warning: '!', advice: '·' } as const;

function printFindings(output: Output, findings: readonly Finding[], everything: boolean): void {
  const { colors } = output;
  const paint = { error: colors.red, warning: colors.yellow, advice: colors.dim };
  const byCode = new Map<string, Finding[]>();
  for (const found of findings) byCode.set(found.code, [...(byCode.get(found.code) ?? []), found]);
  if (byCode.size > 0) output.line('');
  for (const [code, [first, ...rest]] of byCode) {
    if (!first) continue;
    const what = first.what.includes(first.subject) ? first.what : `${first.subject}: ${first.what}`;
    output.line(`${paint[first.severity](signs[first.severity])} ${what} ${colors.dim(`[${code}]`)}`);
    output.line(colors.dim(`    ${first.why}`));
    if (first.mend !== null) output.line(`    ${first.mend}`);
    if (rest.length > 0)
      output.line(
        colors.dim(
          `    and ${rest.length} more: ${
            everything
              ? rest.map(({ subject }) => subject).join(', ')
              : some(
                  rest.map(({ subject }) => subject),
                  5,
                )
          }`,
        ),
      );
  }
  const of = (severity: Finding['severity']) => findings.filter((found) => found.severity === severity).length;
  const parts = [count(of('error'), 'error'), count(of('warning'), 'warning'), `${of('advice')} to know`];
  output.line(`\n${of('error') > 0 ? colors.red('✗') : colors.green('✓')} ${parts.join(', ')}`);
}

function some(names: readonly string[], most = namesShown): string {
  return names.length <= most ? names.join(', ') : `${names.slice(0, most).join(', ')} and ${names.length - most} more`;
}

function short(table: string): string {
  return table.replace(/^public\./, '');
}
