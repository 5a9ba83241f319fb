/** `lanekeeper drill approaches`: the five approaches under the same requests and the same failure, as one table. */
import { mkdir, writeFile } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { Command, InvalidArgumentError, Option } from 'commander';
import { parseDuration } from 'lanekeeper/config';
import type { ApproachName } from 'lanekeeper/model';
import type { LabContext } from './context.ts';
import {
  type ApproachResult,
  approachNames,
  measureApproach,
  renderApproaches,
  renderApproachesMarkdown,
} from './drill/index.ts';

type ApproachArguments = {
  readonly rtt: readonly number[];
  readonly failureRtt: number;
  readonly budget: number;
  readonly requests: number;
  readonly only?: readonly ApproachName[];
  readonly seed: number;
  readonly report?: string;
  readonly json?: boolean;
};

export function drillApproachesCommand(context: LabContext): Command {
  return new Command('approaches')
    .description('the five approaches side by side: the same requests and the same failure under each')
    .addOption(
      new Option('--rtt <durations>', 'round trips between the data centers, with commas')
        .argParser(durations)
        .default([2, 20, 60], '2ms,20ms,60ms'),
    )
    .addOption(
      new Option('--failure-rtt <duration>', 'round trip at which a data center is killed')
        .argParser(duration)
        .default(20, '20ms'),
    )
    .addOption(
      new Option('--budget <duration>', 'how long a write may take, for the largest useful distance')
        .argParser(duration)
        .default(200, '200ms'),
    )
    .addOption(new Option('--requests <n>', 'of each kind, way and distance').argParser(count).default(12))
    .addOption(new Option('--only <names>', 'some of them, with commas').argParser(names))
    .addOption(new Option('--seed <n>', 'for everything that chance decides').argParser(count).default(1))
    .option('--report <file>', 'write the table there, as Markdown')
    .option('--json', 'every measurement, one line for each approach')
    .addHelpText(
      'after',
      `
Each approach gets a lab of its own with the storefront. Requests go one after the other, so that they show the way and not a
queue; then the first data center is killed while customers shop. About a minute and a half for each approach.

Examples:
  $ lanekeeper drill approaches
  $ lanekeeper drill approaches --only active-passive,full-active-active --rtt 5ms,80ms --budget 300ms`,
    )
    .action((options: ApproachArguments) => run(context, options));
}

async function run(context: LabContext, options: ApproachArguments): Promise<void> {
  const { stdout, stderr, colors } = context;
  let aborted = false;
  const abort = (): void => {
    aborted = true;
  };
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, abort);
  const results: ApproachResult[] = [];
  try {
    for (const approach of options.only ?? approachNames) {
      if (aborted) break;
      const result = await measureApproach({
        approach,
        roundTripsMs: options.rtt,
        failureRoundTripMs: options.failureRtt,
        requests: options.requests,
        seed: options.seed,
        env: context.env,
        aborted: () => aborted,
        onNote: (text) => {
          if (!options.json) stderr.write(`${colors.dim(`${approach}: ${text}`)}\n`);
        },
      });
      results.push(result);
      if (options.json) stdout.write(`${JSON.stringify(result)}\n`);
    }
  } finally {
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.off(signal, abort);
  }
  const table = { budgetMs: options.budget, roundTripsMs: options.rtt };
  if (!options.json) stdout.write(`${renderApproaches(results, table, colors)}\n`);
  if (options.report !== undefined) {
    const file = resolve(context.directory, options.report);
    await mkdir(dirname(file), { recursive: true });
    await writeFile(file, `${renderApproachesMarkdown(results, table)}\n`);
  }
  const broken = results.filter(({ failure }) => failure.violated.length > 0 || failure.lost > 0);
  if (broken.length > 0)
    context.fail(`Something did not hold under ${broken.map(({ approach }) => approach).join(', ')}.`, {
      exitCode: 1,
      hint: null,
    });
  if (aborted) context.fail('Broken off.', { exitCode: 1, hint: null });
}

function names(text: string): readonly ApproachName[] {
  return text.split(',').map((name) => {
    const found = approachNames.find((one) => one === name.trim());
    if (found === undefined)
      throw new InvalidArgumentError(`There is no approach ${name}; there are ${approachNames.join(', ')}.`);
    return found;
  });
}

function durations(text: string): readonly number[] {
  return text.split(',').map((one) => duration(one.trim()));
}

function duration(text: string): number {
  const ms = parseDuration(text);
  if (ms === null || ms > 10_000) throw new InvalidArgumentError('A number and its unit, at most 10s: 60ms, 0.2s.');
  return ms;
}

function count(text: string): number {
  if (!/^[1-9]\d{0,8}$/.test(text)) throw new InvalidArgumentError('A whole number from 1.');
  return Number(text);
}
