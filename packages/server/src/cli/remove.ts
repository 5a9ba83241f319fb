/** `lanekeeper remove`: takes Lanekeeper out of this data center's database. Shows it first, and does it with --yes. */
import { Command } from 'commander';
import { planRemovalOf, type Removal, type RemoveResult, removeAll } from '../postgres/index.ts';
import { count, type DatabaseOptions, databaseFailure, openDatabaseCommand, unavailable } from './database-command.ts';
import { type CliContext, CommandFailure, createOutput, type Output } from './output.ts';

type RemoveCommandOptions = DatabaseOptions & { readonly yes?: boolean };

export function removeCommand(context: CliContext): Command {
  return new Command('remove')
    .description('take Lanekeeper out of the database again; your tables and rows stay')
    .option('--config <file>', 'the configuration')
    .option('--dc <name>', 'the data center (default: LANEKEEPER_DC)')
    .option('--yes', 'do it; without, it is only shown')
    .option('--json', 'print the steps, or the result, as JSON')
    .addHelpText(
      'after',
      '\nStop the agents of this data center first. Safe to repeat. Run it in every data center.\nExit code 0: shown, or removed.',
    )
    .action((options: RemoveCommandOptions) => runRemove(context, options));
}

async function runRemove(context: CliContext, options: RemoveCommandOptions): Promise<void> {
  const output = createOutput(context, { json: options.json });
  const { configuration, connect } = await openDatabaseCommand(context, options);
  const { here } = configuration;
  const remove = { configuration, connect: (role: Parameters<typeof connect>[1]) => connect(here, role) };
  if (options.yes !== true) {
    const planned = await planRemovalOf(remove);
    if (planned.kind === 'unavailable') throw unavailable(planned, here, planned.role);
    if (planned.kind === 'unreadable') throw databaseFailure(`The database of ${here} cannot be read`, planned.error);
    print(output, planned.removal, here);
    output.result({ dataCenter: here, ...planned.removal });
    return;
  }
  const result = orThrow(await removeAll({ ...remove, onProgress: (step) => output.line(`- ${step.title}`) }), here);
  for (const left of result.leftBehind) output.line(`${output.colors.yellow('!')} left behind: ${left}`);
  for (const remark of result.remains) output.line(`${output.colors.yellow('!')} ${remark}`);
  output.line(
    `${output.colors.green('✓')} ${here}: ${result.done.length === 0 ? 'there was nothing to remove' : `${count(result.done.length, 'step')} done`}`,
  );
  output.result({ dataCenter: here, ...result });
}

function print(output: Output, removal: Removal, here: string): void {
  const { colors } = output;
  for (const step of removal.steps) {
    output.line(`${colors.red('-')} ${step.title} ${colors.dim(`(${step.why})`)}`);
    if (step.lock) output.line(colors.dim(`    locks ${step.lock.table}, ${step.lock.mode}: ${step.lock.blocks}`));
  }
  for (const remark of removal.remains) output.line(`${colors.yellow('!')} ${remark}`);
  if (removal.steps.length === 0) output.line(`${colors.green('✓')} ${here}: there is nothing to remove`);
  else output.line(`\n${count(removal.steps.length, 'step')}. \`lanekeeper remove --yes\` does it.`);
}

function orThrow(result: RemoveResult, here: string): Extract<RemoveResult, { kind: 'removed' }> {
  switch (result.kind) {
    case 'removed':
      return result;
    case 'unavailable':
      throw unavailable(result, here, result.role);
    case 'unreadable':
      throw databaseFailure(`The database of ${here} cannot be read`, result.error);
    case 'busy':
      throw new CommandFailure(`${result.holder?.applicationName ?? 'Another process'} is changing this database.`);
    case 'blocked':
      throw new CommandFailure(`${result.step.title}: ${result.step.lock?.table ?? 'it'} is in use.`, {
        hint: 'What was done so far stays; run it again.',
      });
    case 'failed':
      throw databaseFailure(`${result.step.title} (as ${result.step.as})`, result.error);
  }
}
