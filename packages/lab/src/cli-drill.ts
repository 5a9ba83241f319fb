/** `lanekeeper drill`: breaks things on purpose while customers shop, and checks what is left. */
import { spawn } from 'node:child_process';
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { Argument, Command, InvalidArgumentError, Option } from 'commander';
import { parseDuration } from 'lanekeeper/config';
import { drillApproachesCommand } from './cli-drill-approaches.ts';
import type { LabContext } from './context.ts';
import {
  canHaveNamespace,
  DrillAborted,
  type DrillReport,
  type Fault,
  faultGroups,
  faults,
  findFault,
  insideVariable,
  loadAssertion,
  meansHere,
  pageName,
  randomFrom,
  renderIndex,
  renderLine,
  renderMarkdown,
  renderReport,
  renderSvg,
  runSession,
} from './drill/index.ts';
import { dataCenterNames } from './names.ts';
import { runningLab } from './running.ts';

type DrillArguments = {
  readonly minutes?: number;
  readonly seed?: number;
  readonly runs: number;
  readonly against?: string;
  readonly report?: string;
  readonly assert?: string;
  readonly dataCenters: readonly string[];
  readonly rtt: number;
  readonly leases: 'postgres' | 'etcd';
  readonly customers: number;
  readonly brief?: boolean;
  readonly json?: boolean;
};

export function drillCommand(context: LabContext): Command {
  const command = new Command('drill')
    .description('break things on purpose while customers shop, and check what is left')
    .enablePositionalOptions()
    .addArgument(new Argument('<name...>', 'faults as `drill list` names them, a group of them, `random`, or `all`'))
    .option(
      '--minutes <n>',
      'under load for so long, the fault again and again (default: once); with `random`, how many',
      minutes,
    )
    .option('--seed <n>', 'for everything that chance decides', wholeNumber)
    .option('--runs <n>', 'so many runs of each', wholeNumber, 1)
    .option('--against <folder>', 'in the lab that runs there (default: one of their own)')
    .option('--report <folder>', 'write a page and a chart for each fault there')
    .option('--assert <file>', 'a module whose default export is called when all has settled')
    .addOption(
      new Option('--rtt <duration>', 'round trip between the data centers of their own lab')
        .argParser(duration)
        .default(20, '20ms'),
    )
    .option('--data-centers <names>', 'of their own lab; what needs three has three in any case', dataCenterNames, [
      'ny',
      'la',
    ])
    .addOption(
      new Option('--leases <store>', 'what their own lab keeps leases in')
        .choices(['postgres', 'etcd'])
        .default('postgres'),
    )
    .addOption(new Option('--customers <n>', 'in each data center').argParser(wholeNumber).default(6))
    .option('--brief', 'one line for each drill, and everything about those that failed')
    .option('--json', 'one line of JSON for each drill')
    .addHelpText(
      'after',
      `
Customers register, fill carts, place orders under request ids and change lines, through the edges, turning to another
one as DNS with health checks would have them. What they were told is compared with what the databases hold.
What a drill breaks it mends again, also after Ctrl-C. Exit code 1: something did not hold.

Examples:
  $ lanekeeper drill list
  $ lanekeeper drill link-cut --seed 7
  $ lanekeeper drill processes links --brief
  $ lanekeeper drill agent-killed --minutes 5 --against ./lab
  $ lanekeeper drill random --minutes 30
  $ lanekeeper drill dc-killed two-of-three-lost --data-centers ny,la,fra
  $ lanekeeper drill dc-killed --runs 20 --report docs/reliability`,
    )
    .action((names: readonly string[], options: DrillArguments) => runDrills(context, names, options));
  command.addCommand(listCommand(context));
  command.addCommand(drillApproachesCommand(context));
  return command;
}

function listCommand(context: LabContext): Command {
  return new Command('list')
    .description('the faults that can be drilled')
    .option('--json', 'print them as JSON')
    .action(async (options: { readonly json?: boolean }) => {
      const means = await meansHere({ ...context.env, [insideVariable]: (await canHaveNamespace()) ? '1' : '' });
      const rows = faults.map((fault) => ({
        name: fault.name,
        group: fault.group,
        description: fault.description,
        expectation: fault.expectation.text,
        dataCenters: fault.needs?.third ? 3 : 2,
        skipped: means.lacking(fault, null),
      }));
      if (options.json) {
        context.stdout.write(`${JSON.stringify({ faults: rows })}\n`);
        return;
      }
      const { colors } = context;
      for (const group of faultGroups) {
        context.stdout.write(`${colors.bold(group)}\n`);
        for (const row of rows.filter((one) => one.group === group)) {
          context.stdout.write(
            `  ${colors.cyan(row.name.padEnd(26))} ${row.description}${row.dataCenters === 3 ? colors.dim(' (three data centers)') : ''}\n`,
          );
          if (row.skipped !== null)
            context.stdout.write(`  ${''.padEnd(26)} ${colors.dim(`not here: ${row.skipped}`)}\n`);
        }
      }
    });
}

async function runDrills(context: LabContext, names: readonly string[], options: DrillArguments): Promise<void> {
  const seed = options.seed ?? Math.floor(Math.random() * 1_000_000);
  const against = options.against === undefined ? null : await runningLab(context, options.against);
  const chosen = chosenFaults(context, names, seed, options);
  if (
    against === null &&
    chosen.some(({ needs }) => needs?.packets || needs?.smallDisk) &&
    context.env[insideVariable] === undefined
  ) {
    if (await canHaveNamespace()) return startInside(context);
  }
  const assertion = options.assert === undefined ? null : await assertionOf(context, options.assert);
  const byName = new Map<string, DrillReport[]>();
  const signals = stopOnSignals(context, options.json ?? false);
  const { colors, stdout } = context;
  const writeReport = async (report: DrillReport): Promise<void> => {
    const runs = [...(byName.get(report.name) ?? []), report];
    byName.set(report.name, runs);
    if (options.report !== undefined) await writePage(resolve(context.directory, options.report), runs);
  };
  const brief = options.brief === true;
  if (!options.json) stdout.write(colors.dim(`seed ${seed}\n`));
  try {
    const counts = await runSession({
      faults: chosen,
      runs: options.runs,
      seed,
      durationMs: options.minutes === undefined ? null : durationOfOne(options.minutes, names, chosen.length),
      against,
      roundTripMs: options.rtt,
      dataCenters: options.dataCenters,
      leases: options.leases,
      buyers: Math.max(1, Math.ceil(options.customers * 0.7)),
      keepers: Math.max(1, Math.floor(options.customers * 0.3)),
      assertion,
      means: await meansHere(context.env),
      aborted: signals.aborted,
      env: context.env,
      onNote: (name, atMs, text) => {
        if (!options.json && !brief)
          stdout.write(`${colors.dim(`${(atMs / 1000).toFixed(1).padStart(6)} s  ${name}:`)} ${text}\n`);
      },
      async onReport(report) {
        if ('skipped' in report) {
          stdout.write(
            options.json
              ? `${JSON.stringify(report)}\n`
              : `${colors.dim('·')} ${report.name.padEnd(26)} ${colors.dim(`skipped: ${report.skipped}`)}\n`,
          );
          return;
        }
        if (options.json) stdout.write(`${JSON.stringify(report)}\n`);
        if ('broken' in report) {
          if (!options.json)
            stdout.write(`${colors.red('✗')} ${report.name.padEnd(26)} could not be carried out: ${report.broken}\n`);
          return;
        }
        if (options.json) return writeReport(report);
        if (brief && report.passed) stdout.write(`${renderLine(report, colors)}\n`);
        else stdout.write(`${renderReport(report, colors)}\n\n`);
        await writeReport(report);
      },
    });
    if (!options.json)
      stdout.write(
        `${counts.passed} passed, ${counts.failed} failed${counts.skipped > 0 ? `, ${counts.skipped} skipped` : ''}\n`,
      );
    if (counts.failed > 0)
      context.fail(`${counts.failed} of ${counts.passed + counts.failed} drills failed.`, {
        exitCode: 1,
        hint: `Once more: add --seed ${seed}; the lab's logs are in its folder when it is one of yours (--against).`,
      });
    if (counts.passed === 0)
      context.fail('No drill could be run here.', { exitCode: 1, hint: '`lanekeeper drill list` says why.' });
  } catch (error) {
    if (error instanceof DrillAborted)
      context.fail(`${error.message}; what was broken has been mended.`, { exitCode: 1, hint: null });
    throw error;
  } finally {
    signals.done();
  }
}

function chosenFaults(
  context: LabContext,
  names: readonly string[],
  seed: number,
  options: DrillArguments,
): readonly Fault[] {
  if (names.includes('random')) {
    if (names.length > 1) context.fail('`random` chooses by itself.', { exitCode: 2, hint: null });
    const random = randomFrom(seed);
    // A drill with its start and its check takes about half a minute.
    const count = Math.max(1, Math.round((options.minutes ?? 1) * 2));
    return Array.from({ length: count }, () => faults[Math.floor(random() * faults.length)] as Fault);
  }
  return names.flatMap((name) => {
    const found = findFault(name);
    if (found !== undefined) return [found];
    const group = faults.filter((one) => one.group === name || name === 'all');
    if (group.length > 0) return group;
    return context.fail(`There is no drill ${name}.`, { exitCode: 2, hint: '`lanekeeper drill list` names them.' });
  });
}

/** The time given is for all of them; a random choice has spent it on the number of drills. */
function durationOfOne(wanted: number, names: readonly string[], count: number): number | null {
  return names.includes('random') ? null : (wanted * 60_000) / count;
}

async function assertionOf(context: LabContext, file: string): ReturnType<typeof loadAssertion> {
  try {
    return await loadAssertion(context.directory, file);
  } catch (error) {
    return context.fail(`${file} cannot be used: ${(error as Error).message}`, {
      exitCode: 2,
      hint: 'It is a module with a function as its default export.',
    });
  }
}

const indexFile = 'README.md';

async function writePage(folder: string, runs: readonly DrillReport[]): Promise<void> {
  const last = runs.at(-1) as DrillReport;
  await mkdir(folder, { recursive: true });
  const page = pageName(last);
  await writeFile(join(folder, `${page}.svg`), renderSvg(last));
  await writeFile(join(folder, `${page}.md`), renderMarkdown(runs, `${page}.svg`));
  const files = (await readdir(folder)).filter((file) => file.endsWith('.md') && file !== indexFile).sort();
  const pages = await Promise.all(
    files.map(async (file) => ({ file, text: await readFile(join(folder, file), 'utf8') })),
  );
  await writeFile(join(folder, indexFile), renderIndex(pages));
}

/** The same command once more, in namespaces of its own: what is done to packets and mounts there is gone with them. */
async function startInside(context: LabContext): Promise<void> {
  const script = 'ip link set lo up && exec "$@"';
  const child = spawn(
    'unshare',
    [
      '--net',
      '--mount',
      '--',
      '/bin/sh',
      '-c',
      script,
      'sh',
      process.execPath,
      ...process.execArgv,
      ...process.argv.slice(1),
    ],
    { cwd: context.directory, env: { ...context.env, [insideVariable]: '1' }, stdio: 'inherit' },
  );
  const pass = (signal: NodeJS.Signals) => (): void => {
    child.kill(signal);
  };
  const handlers = (['SIGINT', 'SIGTERM', 'SIGHUP'] as const).map((signal) => [signal, pass(signal)] as const);
  for (const [signal, handler] of handlers) process.on(signal, handler);
  const code = await new Promise<number>((settle, reject) => {
    child.once('error', reject);
    child.once('exit', (status) => settle(status ?? 1));
  });
  for (const [signal, handler] of handlers) process.off(signal, handler);
  // It has said everything itself.
  if (code !== 0) process.exitCode = code;
}

function stopOnSignals(context: LabContext, json: boolean): { aborted(): boolean; done(): void } {
  let count = 0;
  const onSignal = (): void => {
    count += 1;
    // Impatience is understood; the lab and everything in it go with us all the same.
    if (count > 2) process.exit(1);
    if (!json) context.stderr.write('\nMending what is broken …\n');
  };
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
  for (const signal of signals) process.on(signal, onSignal);
  return {
    aborted: () => count > 0,
    done: () => {
      for (const signal of signals) process.off(signal, onSignal);
    },
  };
}

function minutes(text: string): number {
  const value = Number(text);
  if (!(value > 0 && value <= 24 * 60)) throw new InvalidArgumentError('A number of minutes, at most a day.');
  return value;
}

function wholeNumber(text: string): number {
  if (!/^\d{1,9}$/.test(text)) throw new InvalidArgumentError('A whole number.');
  return Number(text);
}

function duration(text: string): number {
  const ms = parseDuration(text);
  if (ms === null || ms > 10_000) throw new InvalidArgumentError('A number and its unit, at most 10s: 60ms, 0.2s.');
  return ms;
}
