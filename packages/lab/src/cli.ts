/** `lanekeeper lab` and what belongs to it. The `lanekeeper` command loads this when it is called. */
import { existsSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { Command, InvalidArgumentError, Option } from 'commander';
import { defaultFiles, parseDuration } from 'lanekeeper/config';
import type { ApproachName } from 'lanekeeper/model';
import { linkCommand } from './cli-link.ts';
import { processCommand } from './cli-process.ts';
import { statusCommand, stopCommand } from './cli-running.ts';
import { missingEtcd } from './clusters/etcd.ts';
import type { LabContext } from './context.ts';
import { findApplication } from './lab/application.ts';
import { approachNames } from './lab/approach.ts';
import { findDescription, readDescription } from './lab/description.ts';
import { Disposer } from './lab/disposer.ts';
import { openFolder } from './lab/folder.ts';
import { type Lab, type LabProgress, startLab } from './lab/lab.ts';
import { renderPage } from './lab/page.ts';
import { dataCenterNames } from './names.ts';
import { liveProcesses } from './processes/leash.ts';

type LabArguments = {
  readonly dataCenters?: readonly string[];
  readonly rtt: number;
  readonly approach?: ApproachName;
  readonly leases: 'postgres' | 'etcd';
  readonly stickiness?: string;
  readonly app?: string;
  readonly backend?: string;
  readonly schema?: string;
  readonly config?: string;
  readonly dir?: string;
  readonly keep?: boolean;
  readonly hosts: 'names' | 'addresses' | 'auto';
  readonly json?: boolean;
};

export { drillCommand } from './cli-drill.ts';

export function labCommand(context: LabContext): Command {
  const command = new Command('lab')
    .description('run two or three data centers on this machine, for real, with a shop in them')
    // Without it `lab status --dir x` would give --dir to `lab`.
    .enablePositionalOptions()
    .option(
      '--data-centers <names>',
      'their short names, with commas (default: those of --config, else ny,la)',
      dataCenterNames,
    )
    .addOption(new Option('--rtt <duration>', 'round trip between them').argParser(duration).default(60, '60ms'))
    .option(
      '--stickiness <duration>',
      'after how long an account that nobody uses may move to where its owner signs in (default: as configured)',
      durationText,
    )
    .addOption(
      new Option(
        '--approach <name>',
        'one of the five, whatever the configuration of the application says (default: what it says, else full-active-active)',
      ).choices(approachNames),
    )
    .addOption(
      new Option(
        '--leases <store>',
        'what the witness is: one PostgreSQL, or three members of an etcd that is installed',
      )
        .choices(['postgres', 'etcd'])
        .default('postgres'),
    )
    .option('--app <command>', 'run this in place of the storefront: it must listen on HOST and PORT')
    .option('--backend <command>', 'under stateless-frontends, the part of --app that has the database')
    .option('--schema <file>', 'SQL that makes the tables of --app')
    .option(
      '--config <file>',
      'a lanekeeper.yaml whose tables and claims fit --app (default: the one here, else guessed)',
    )
    .option('--dir <folder>', 'where everything is put (default: a temporary folder)')
    .option('--keep', 'leave the folder when it stops; the next lab in it goes on from there')
    .addOption(
      new Option('--hosts <kind>', 'what the urls of the data centers are')
        .choices(['names', 'addresses', 'auto'])
        .default('auto', 'names below localhost, unless a script could not resolve them'),
    )
    .option('--json', 'one line of JSON when everything is ready')
    .addHelpText(
      'after',
      `
Examples:
  $ lanekeeper lab
  $ lanekeeper lab --approach active-passive
  $ lanekeeper lab --data-centers ny,la,fra
  $ lanekeeper lab --rtt 120ms --dir ./lab --keep
  $ lanekeeper lab --app 'node server.js' --schema schema.sql
  $ lanekeeper lab link ny la --cut
  $ lanekeeper lab stop`,
    )
    .action((options: LabArguments) => runLab(context, options));
  command.addCommand(linkCommand(context));
  command.addCommand(processCommand(context));
  command.addCommand(statusCommand(context));
  command.addCommand(stopCommand(context));
  return command;
}

async function runLab(context: LabContext, options: LabArguments): Promise<void> {
  const startMs = performance.now();
  const missing = options.leases === 'etcd' ? missingEtcd() : null;
  if (missing !== null) context.fail(missing, { exitCode: 2, hint: 'Without --leases the witness is a PostgreSQL.' });
  const found = await findApplication({ directory: context.directory, ...options });
  if (found.kind === 'wrong') context.fail(`${found.message}.`, { exitCode: 2, hint: found.hint });
  const opened = await openFolder({ directory: context.directory, dir: options.dir, keep: options.keep ?? false });
  if (opened.kind === 'busy') {
    context.fail(`A lab runs in ${options.dir} already (process ${opened.pid}).`, {
      hint: '`lanekeeper lab stop` ends it; --dir names another folder.',
    });
  }
  if (opened.kind === 'foreign') {
    context.fail(`${opened.dir} holds something that is not a lab's.`, {
      exitCode: 2,
      hint: 'Name an empty folder, or one that a lab was in before.',
    });
  }
  const { folder } = opened;
  const disposer = new Disposer();

  const starting = startLab(
    {
      dataCenters: options.dataCenters ?? found.application.dataCenters ?? ['ny', 'la'],
      leases: options.leases,
      approach: options.approach ?? null,
      rttMs: options.rtt,
      stickiness: options.stickiness ?? null,
      application: found.application,
      folder,
      // A person has a browser, which resolves names; a script has what the system has.
      hosts: options.hosts === 'auto' && !options.json ? 'names' : options.hosts,
      wellKnownPorts: !options.json,
      onProgress: (progress) => showProgress(context, options.json ?? false, progress),
    },
    disposer,
  );
  const stop = async (): Promise<void> => {
    await disposer.close();
    // Starting gives up when it sees that; its folder is removed when nothing is written there any more.
    await starting.catch(() => {});
    await folder.release();
  };
  const stopping = stopOnSignal(context, stop, options.json ?? false);
  try {
    const lab = await starting;
    if (options.json) context.stdout.write(`${JSON.stringify(lab.description)}\n`);
    else showPage(context, options, lab, found.application.kind === 'storefront', performance.now() - startMs);
  } catch (error) {
    if (disposer.closed) return stopping.done();
    await stop();
    context.fail((error as Error).message, { exitCode: 1, hint: null });
  }
  return stopping.done();
}

function showPage(context: LabContext, options: LabArguments, lab: Lab, storefront: boolean, tookMs: number): void {
  const facts = {
    description: lab.description,
    storefront,
    rttMs: options.rtt,
    tookMs,
    deskPassphrase: lab.secrets.deskPassphrase,
    keep: options.keep ?? false,
    program: program(context),
    found: isFound(context, lab.description.dir),
  };
  context.stdout.write(`${renderPage(facts, context.colors)}\n`);
}

/** The first SIGINT, SIGTERM or SIGHUP stops in order; the second ends everything at once. */
function stopOnSignal(context: LabContext, stop: () => Promise<void>, json: boolean): { done(): Promise<void> } {
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
  let count = 0;
  let resolve: () => void;
  const stopped = new Promise<void>((settle) => {
    resolve = settle;
  });
  const onSignal = (): void => {
    count += 1;
    if (count > 1) {
      for (const process of liveProcesses()) process.signal('SIGKILL');
      process.exit(1);
    }
    if (!json) context.stderr.write('\nStopping …\n');
    stop().then(resolve, (error: unknown) => {
      context.stderr.write(`${(error as Error).message}\n`);
      resolve();
    });
  };
  for (const signal of signals) process.on(signal, onSignal);
  return {
    /** Waits for the signal, and until everything has stopped. */
    async done(): Promise<void> {
      await stopped;
      for (const signal of signals) process.off(signal, onSignal);
    },
  };
}

function showProgress(context: LabContext, json: boolean, progress: LabProgress): void {
  const { colors, stderr, stdout } = context;
  const out = json ? stderr : stdout;
  if (progress.kind === 'doing') {
    if (!json && stdout.isTTY) stdout.write(`${colors.dim('…')} ${progress.what}`);
  } else if (progress.kind === 'done') {
    if (json) return;
    const back = stdout.isTTY ? '\r' : '';
    stdout.write(
      `${back}${colors.green('✓')} ${progress.what} ${colors.dim(`${(progress.ms / 1000).toFixed(1)} s`)}\n`,
    );
  } else if (progress.kind === 'remark') out.write(`${progress.text}\n`);
  else if (progress.event.kind === 'ended') {
    const { name, end, againInMs } = progress.event;
    stderr.write(
      `${name} ended (${end.signal ?? `code ${end.code}`}) and is started again in ${againInMs} ms; see its log\n`,
    );
  } else stderr.write(`${progress.event.name} runs again\n`);
}

/** How a person calls us from here: by name where it is installed, else through npx. */
function program(context: LabContext): string {
  const folders = (context.env.PATH ?? '').split(delimiter).filter((folder) => !folder.includes('node_modules'));
  return folders.some((folder) => folder !== '' && existsSync(join(folder, 'lanekeeper')))
    ? 'lanekeeper'
    : 'npx lanekeeper';
}

function isFound(context: LabContext, dir: string): boolean {
  // A configuration in the working folder comes before any lab.
  if (!context.env.LANEKEEPER_LAB && defaultFiles.some((name) => existsSync(join(context.directory, name))))
    return false;
  const file = findDescription(context.directory, context.env.LANEKEEPER_LAB);
  return file !== null && readDescription(file)?.dir === dir;
}

function durationText(text: string): string {
  if (parseDuration(text) === null) throw new InvalidArgumentError('A number and its unit: 2s, 30m.');
  return text;
}

function duration(text: string): number {
  const ms = parseDuration(text);
  if (ms === null || ms > 60_000) throw new InvalidArgumentError('A number and its unit, at most 60s: 60ms, 0.2s.');
  return ms;
}
