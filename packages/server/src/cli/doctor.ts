/** `lanekeeper doctor`: what this data center lacks, with the statement that mends it. */
import { Command } from 'commander';
import { loadConfiguration } from 'lanekeeper/config';
import { doctor, type Finding } from '../postgres/index.ts';
import { count, type DatabaseOptions } from './database-command.ts';
import { placeOfCommand } from './lab-file.ts';
import { openLeaseStore } from './lease-store.ts';
import { type CliContext, createOutput, exitCodes, type Output, SilentExit } from './output.ts';

type DoctorCommandOptions = DatabaseOptions & { readonly sql?: boolean };

export function doctorCommand(context: CliContext): Command {
  return new Command('doctor')
    .description('check rights, settings and the schema, and print the statements that mend them')
    .option('--config <file>', 'the configuration')
    .option('--dc <name>', 'the data center (default: LANEKEEPER_DC)')
    .option('--sql', 'print the statements only, for psql; what only a person can decide as comments')
    .option('--json', 'print the findings as JSON')
    .addHelpText(
      'after',
      `
Connects as each of the four roles, to the other data centers and to the witness. Changes nothing.
Exit code 0: no errors; 1: errors.

Examples:
  $ lanekeeper doctor --sql | psql -U postgres shop`,
    )
    .action((options: DoctorCommandOptions) => runDoctor(context, options));
}

async function runDoctor(context: CliContext, options: DoctorCommandOptions): Promise<void> {
  const output = createOutput(context, { json: options.json });
  const { env, config } = placeOfCommand(context, options);
  const { configuration } = await loadConfiguration({ file: config, env, directory: context.directory });
  const store = configuration.leases.store === 'postgres' ? null : openLeaseStore(configuration, env);
  const asking = store === null ? {} : { askStore: () => store.read() };
  const report = await doctor({ configuration, env, ...asking }).finally(() => store?.close());
  if (options.sql) printSql(output, report.findings);
  else printFindings(output, report.findings, report.dataCenter);
  output.result(report);
  if (!report.healthy) throw new SilentExit(exitCodes.no);
}

const signs = { error: '✗', warning: '!', advice: '·' } as const;

function printFindings(output: Output, findings: readonly Finding[], here: string): void {
  const { colors } = output;
  const paint = { error: colors.red, warning: colors.yellow, advice: colors.dim };
  for (const found of findings) {
    const where = found.dataCenter === here ? '' : colors.dim(` (${found.dataCenter})`);
    output.line(`${paint[found.severity](signs[found.severity])} ${headline(found)}${where}`);
    output.line(colors.dim(`    ${found.why}`));
    if (found.mend === null) continue;
    const how = [found.runAs && `as ${found.runAs}`, found.takesEffect === 'restart' && 'then restart PostgreSQL'];
    const note = how.filter(Boolean).join(', ');
    output.line(`    ${colors.bold(found.mend)}${note ? colors.dim(`  (${note})`) : ''}`);
  }
  const of = (severity: Finding['severity']) => findings.filter((found) => found.severity === severity).length;
  const sums = [
    [of('error'), 'error'],
    [of('warning'), 'warning'],
  ] as const;
  const said = sums.filter(([number]) => number > 0).map(([number, thing]) => count(number, thing));
  const sign = of('error') > 0 ? colors.red('✗') : colors.green('✓');
  output.line(`${sign} ${here}: ${said.join(', ') || 'nothing is missing'}`);
}

function headline({ subject, what }: Finding): string {
  return what.includes(subject) ? what : `${subject}: ${what}`;
}

function printSql(output: Output, findings: readonly Finding[]): void {
  for (const found of findings) {
    output.line(`-- ${found.severity}: ${headline(found)}`);
    // A statement with a gap in it must not be run as it is.
    const ready = found.mend !== null && found.runAs !== null && !found.mend.includes('…');
    if (ready) output.line(found.mend ?? '');
    else if (found.mend !== null) output.line(`-- ${found.mend}`);
  }
}
