/** `lanekeeper advise approach`: from what is asked for to one of the five approaches, with the sums. */
import { Command, InvalidArgumentError, Option } from 'commander';
import { parseDuration } from 'lanekeeper/config';
import { type Ability, type ApproachAdvice, abilities, adviseApproach } from '../advise/index.ts';
import { type CliContext, CommandFailure, createOutput, exitCodes, type Output, SilentExit } from './output.ts';

type ApproachOptions = {
  readonly rto?: number;
  readonly rpo?: number;
  readonly distance?: number;
  readonly statementsPerPage?: number;
  readonly writesPerPage?: number;
  readonly ability?: Ability;
  readonly sessionsShared?: boolean;
  readonly scaleOut?: number;
  readonly json?: boolean;
};

export function adviseApproachCommand(context: CliContext): Command {
  return new Command('approach')
    .description('say which of the five approaches fits, why, and why not the others')
    .option('--rto <duration>', 'the longest interruption of writing when a data center is lost: 30s', duration)
    .option('--rpo <duration>', 'how much of what was acknowledged may be lost: 0, 5s', duration)
    .option('--distance <duration>', 'round trip between the data centers: 60ms', duration)
    .option('--statements-per-page <n>', 'SQL statements of a page that writes', amount)
    .option('--writes-per-page <n>', 'of these, how many write', amount)
    .addOption(
      new Option(
        '--ability <level>',
        'what your organisation can run: low changes no code, high routes customers',
      ).choices(abilities),
    )
    .option('--sessions-shared', 'accounts are often in use from several places at once: families, a call center')
    .option('--scale-out <duration>', 'how long passive applications take to their full size (default: 5m)', duration)
    .option('--json', 'print the verdicts as JSON')
    .addHelpText('after', '\nConnects to nothing. Exit code 0: one fits; 1: none does.')
    .action((options: ApproachOptions) => approach(context, options));
}

function approach(context: CliContext, options: ApproachOptions): void {
  const output = createOutput(context, { json: options.json });
  const { rto, rpo, distance, statementsPerPage, writesPerPage, ability } = options;
  if (
    rto === undefined ||
    rpo === undefined ||
    distance === undefined ||
    statementsPerPage === undefined ||
    writesPerPage === undefined ||
    ability === undefined
  ) {
    const given = {
      rto,
      rpo,
      distance,
      'statements-per-page': statementsPerPage,
      'writes-per-page': writesPerPage,
      ability,
    };
    const missing = Object.entries(given).filter(([, value]) => value === undefined);
    throw new CommandFailure(`Missing: ${missing.map(([name]) => `--${name}`).join(', ')}.`, {
      exitCode: exitCodes.usage,
      hint: 'For example: --rto 30s --rpo 0 --distance 60ms --statements-per-page 12 --writes-per-page 3 --ability medium',
    });
  }
  if (writesPerPage > statementsPerPage)
    throw new CommandFailure(
      'A page cannot write more often than it asks: --writes-per-page is part of --statements-per-page.',
      {
        exitCode: exitCodes.usage,
      },
    );
  const advice = adviseApproach({
    rtoMs: rto,
    rpoMs: rpo,
    distanceMs: distance,
    statementsPerPage,
    writesPerPage,
    ability,
    sessionsShared: options.sessionsShared === true,
    ...(options.scaleOut === undefined ? {} : { scaleOutMs: options.scaleOut }),
  });
  print(output, advice);
  output.result(advice);
  if (advice.chosen === null) throw new SilentExit(exitCodes.no);
}

function print(output: Output, { chosen, why, nearest, verdicts, notes }: ApproachAdvice): void {
  const { colors } = output;
  if (chosen !== null) output.line(`${colors.green('✓')} ${colors.bold(chosen)}: ${why}`);
  else {
    output.line(`${colors.red('✗')} ${why}`);
    if (nearest !== null)
      output.line(`  nearest: ${colors.bold(nearest.approach)}, if this may give: ${nearest.gives.join('; ')}`);
  }
  for (const one of verdicts) {
    const sign = one.approach === chosen ? colors.green('✓') : one.fits ? colors.dim('·') : colors.red('✗');
    output.line(`\n${sign} ${colors.bold(one.approach)}${one.fits && one.approach !== chosen ? ' (would do)' : ''}`);
    for (const reason of one.reasons) output.line(`    ${reason}`);
    for (const sum of one.arithmetic) output.line(colors.dim(`    ${sum}`));
    output.line(colors.dim(`    changes to the application: ${one.changes}`));
  }
  output.line('');
  for (const note of notes) output.line(note);
}

function duration(text: string): number {
  const ms = text === '0' ? 0 : parseDuration(text);
  if (ms === null) throw new InvalidArgumentError('A number and a unit: 30s, 60ms, 5m; or 0.');
  return ms;
}

function amount(text: string): number {
  if (!/^\d{1,4}$/.test(text)) throw new InvalidArgumentError('A whole number.');
  return Number(text);
}
