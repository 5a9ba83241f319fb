/** `lanekeeper plan`: what `apply` would change in this data center's database, in words and in SQL. Changes nothing. */
import { Command } from 'commander';
import { planChanges, type Step } from '../postgres/index.ts';
import {
  count,
  type DatabaseOptions,
  databaseFailure,
  openDatabaseCommand,
  refused,
  unavailable,
} from './database-command.ts';
import { type CliContext, createOutput, type Output } from './output.ts';

export function planCommand(context: CliContext): Command {
  return new Command('plan')
    .description('show what apply would change in the database')
    .option('--config <file>', 'the configuration')
    .option('--dc <name>', 'the data center (default: LANEKEEPER_DC)')
    .option('--sql', 'show the SQL of every step')
    .option('--json', 'print the steps as JSON')
    .addHelpText('after', '\nConnects as the owner and changes nothing.')
    .action((options: DatabaseOptions & { readonly sql?: boolean }) => runPlan(context, options));
}

async function runPlan(context: CliContext, options: DatabaseOptions & { readonly sql?: boolean }): Promise<void> {
  const output = createOutput(context, { json: options.json });
  const { configuration, connect } = await openDatabaseCommand(context, options);
  const { here } = configuration;
  const result = await planChanges(connect(here, 'owner'), configuration);
  if (result.kind === 'unavailable') throw unavailable(result, here, 'owner');
  if (result.kind === 'unreadable') throw databaseFailure(`The database of ${here} cannot be read`, result.error);
  const { plan } = result;
  if (plan.problems.length > 0) throw refused(plan.problems);
  printUndeclared(output, plan.undeclared);
  if (plan.steps.length === 0) output.line(`${output.colors.green('✓')} ${here} is as the configuration declares it.`);
  let locked = '';
  for (const group of groupByTitle(plan.steps)) {
    const lock = lockOf(group);
    // A table is locked once for all its triggers, and said once.
    printGroup(output, group, { sql: options.sql === true, lock: lock === locked ? '' : lock });
    locked = lock;
  }
  if (plan.steps.length > 0) output.line(`\n${summary(plan.steps)}. \`lanekeeper apply\` does it.`);
  output.result({ dataCenter: here, steps: plan.steps.map(stepForScript), undeclared: plan.undeclared });
}

/** A fence is many objects with one purpose: a person reads the purpose once. */
function groupByTitle(steps: readonly Step[]): readonly (readonly [Step, ...Step[]])[] {
  const groups = new Map<string, [Step, ...Step[]]>();
  for (const step of steps) {
    const id = `${step.kind}\n${step.title}\n${step.why}`;
    const group = groups.get(id);
    if (group) group.push(step);
    else groups.set(id, [step]);
  }
  return [...groups.values()];
}

const signs = { create: '+', change: '~', remove: '-' } as const;

function lockOf(group: readonly Step[]): string {
  const lock = group.find((step) => step.lock !== null)?.lock;
  return lock ? `locks ${lock.table}, ${lock.mode}: ${lock.blocks}` : '';
}

function printGroup(
  output: Output,
  group: readonly [Step, ...Step[]],
  also: { readonly sql: boolean; readonly lock: string },
): void {
  const { colors } = output;
  const [first] = group;
  const paint = { create: colors.green, change: colors.yellow, remove: colors.red }[first.kind];
  output.line(`${paint(signs[first.kind])} ${first.title} ${colors.dim(`(${first.why})`)}`);
  if (also.lock !== '') output.line(colors.dim(`    ${also.lock}`));
  const rows = group.reduce((sum, step) => sum + (step.estimatedRows ?? 0), 0);
  if (rows > 0) output.line(colors.dim(`    about ${count(rows, 'row')}`));
  if (first.waitsFor !== null) output.line(colors.yellow(`    later: ${first.waitsFor}`));
  for (const step of also.sql ? group : []) output.line(colors.dim(step.sql.replace(/^/gm, '    ')));
}

function summary(steps: readonly Step[]): string {
  const of = (kind: Step['kind']) => steps.filter((step) => step.kind === kind).length;
  return `${of('create')} to create, ${of('change')} to change, ${of('remove')} to remove`;
}

/** Steps without what only `apply` needs. */
export function stepForScript({ action, ...step }: Step): Record<string, unknown> {
  return { ...step, do: action.do };
}

export function printUndeclared(output: Output, undeclared: readonly string[]): void {
  if (undeclared.length === 0) return;
  const are = undeclared.length === 1 ? 'is' : 'are';
  output.line(
    `${output.colors.red('!')} ${undeclared.join(', ')} ${are} neither declared nor ignored: not fenced, not replicated.\n`,
  );
}
