/** `lanekeeper leave`: takes a data center out for good. Shows first whether it may, and does it with --yes. */
import { Command } from 'commander';
import type { Configuration } from 'lanekeeper/config';
import type { DataCenterName } from 'lanekeeper/model';
import { leaveDataCenter } from '../postgres/index.ts';
import { type DatabaseOptions, openDatabaseCommand, unavailable } from './database-command.ts';
import { openLeaseStore } from './lease-store.ts';
import { type CliContext, CommandFailure, createOutput, exitCodes } from './output.ts';

type LeaveCommandOptions = DatabaseOptions & { readonly yes?: boolean };

export function leaveCommand(context: CliContext): Command {
  return new Command('leave')
    .description('take a data center out for good')
    .argument('<dc>', 'the data center that leaves')
    .option('--config <file>', 'the configuration')
    .option('--dc <name>', 'ask as this data center (default: LANEKEEPER_DC)')
    .option('--yes', 'do it; without, it is only said whether it may be done')
    .option('--json', 'print the result as JSON')
    .addHelpText(
      'after',
      `
Refused while any account is at home there (\`lanekeeper switchover\` or \`rehome\` first), while its agents run, and when it is the
only one. Its database must be reachable, unless it was taken over: then it is taken out without it.

The lease store forgets it, and its streams and slots are taken away on all sides. What it had is in all others; its own tables stay as
they are. It may join again later. Repeatable: whatever ends it, run it again.

Connects to all as agent and replication, and to the lease store.
Exit code 0: it left, or it may. 1: refused, and why. 4: something could not be reached.

Examples:
  $ lanekeeper switchover --from fra --to ny    then stop its applications and agents
  $ lanekeeper leave fra --yes`,
    )
    .action((dc: string, options: LeaveCommandOptions) => runLeave(context, dc, options));
}

async function runLeave(context: CliContext, leaving: string, options: LeaveCommandOptions): Promise<void> {
  const output = createOutput(context, { json: options.json });
  const { configuration, env, connect } = await openDatabaseCommand(context, options);
  if (!(leaving in configuration.dataCenters))
    throw new CommandFailure(`There is no data center ${leaving} in this configuration.`, {
      exitCode: exitCodes.usage,
      hint: `There is ${Object.keys(configuration.dataCenters).join(' and ')}. Take it out of the configuration afterwards.`,
    });
  const store = openLeaseStore(configuration, env);
  try {
    const result = await leaveDataCenter({
      configuration,
      leaving,
      connect,
      store,
      dry: options.yes !== true,
      onStep: (what) => {
        output.result({ step: what });
        output.line(output.colors.dim(`- ${what}`));
      },
    });
    if (result.kind === 'unavailable') throw unavailable(result, result.dataCenter, result.role);
    if (result.kind === 'refused') throw new CommandFailure(`${result.why}.`, { hint: result.hint });
    output.result({ leaving, ...result });
    if (result.kind === 'may-leave') {
      output.line(
        `${leaving} may leave ${result.remaining.join(' and ')}. Nothing was changed. With --yes it is done.`,
      );
      return;
    }
    output.line(`${output.colors.green('✓')} ${leaving} has left ${result.remaining.join(' and ')}.`);
    if (!result.cleared)
      output.line(`  Its database was not reached: before it is used for anything else, \`lanekeeper remove\` there.`);
    output.line('  Now, in the configuration of all others:');
    for (const line of changesFor(configuration, leaving)) output.line(`    ${line}`);
    output.line('  Then `lanekeeper apply` in each of them, and start their agents with it.');
  } finally {
    await store.close();
  }
}

/** What still names it. */
function changesFor(configuration: Configuration, leaving: DataCenterName): readonly string[] {
  const { existingAccounts, fixed, tables } = configuration;
  const fed = Object.values(tables).filter(({ feeder }) => feeder === leaving);
  const homes = Object.entries(fixed).filter(([, home]) => home === leaving);
  const weighted = Object.values(tables).some((table) => leaving in table.weights);
  return [
    `take \`dataCenters.${leaving}\` away, and its keys out of \`sessions.keys\` when no session of it is left`,
    ...(existingAccounts === leaving ? ['name another data center as `existingAccounts`'] : []),
    ...fed.map(({ name }) => `name another \`feeder\` of ${name}`),
    ...homes.map(([name]) => `name another home for \`${name}\``),
    ...(weighted ? [`take ${leaving} out of the weights, where it has any: shared tables begin a new era`] : []),
  ];
}
