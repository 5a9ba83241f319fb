/** What `verify --repair` did, or would do, in words. */
import type { RepairResult } from '../postgres/index.ts';
import { count } from './database-command.ts';
import type { Output } from './output.ts';

export function printRepair(
  output: Output,
  repair: Extract<RepairResult, { kind: 'repaired' }>,
  { here, there, dryRun }: { readonly here: string; readonly there: string; readonly dryRun: boolean },
): void {
  const { colors } = output;
  let sent = 0;
  for (const { difference, outcome } of repair.steps) {
    const key = Object.entries(difference.key)
      .map(([name, value]) => `${name} = ${value}`)
      .join(', ');
    const row = `${difference.table} (${key})`;
    if (outcome.kind === 'refused') {
      output.line(`${colors.yellow('!')} ${row}: left alone: ${outcome.why}`);
      continue;
    }
    sent += 1;
    const { from } = outcome;
    const to = from === here ? there : here;
    const onlyIn = difference.kind === 'only-here' ? here : difference.kind === 'only-there' ? there : null;
    const deletes = onlyIn !== null && onlyIn !== from;
    const what = deletes
      ? `${dryRun ? 'would be' : 'was'} deleted in ${to}`
      : `${dryRun ? 'would be' : 'was'} sent to ${to}`;
    output.line(`${dryRun ? colors.dim('·') : colors.green('✓')} ${row}: ${what}, as ${from} is its home`);
  }
  for (const { dataCenter, relation, key, message } of repair.failures) {
    output.line(
      `${colors.red('✗')} ${relation} (${key.join(', ')}) could not be put in place in ${dataCenter}: ${message}`,
    );
  }
  if (repair.late) output.line(`${colors.yellow('!')} not everything that was sent has been applied yet`);
  if (dryRun) output.line(`${count(sent, 'row')} would be sent. Without --dry-run it is done.`);
}
