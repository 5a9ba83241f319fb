/**
 * `lanekeeper publish`: lets roles write the tables that this data center publishes, for a time. An import job that can add a
 * statement to its transaction needs none of it: `SELECT lanekeeper.publishing('products')`.
 */
import { spawn } from 'node:child_process';
import { hostname, userInfo } from 'node:os';
import { Command, Option } from 'commander';
import type { Client } from 'pg';
import {
  beginPublishing,
  type DatabaseProblem,
  endPublishing,
  type PublishingEntry,
  readPublishing,
  renewPublishing,
} from '../postgres/index.ts';
import {
  type DatabaseOptions,
  databaseFailure,
  openDatabaseCommand,
  unavailable,
  withPlace,
} from './database-command.ts';
import { type CliContext, CommandFailure, createOutput, exitCodes, type Output } from './output.ts';
import { duration } from './serving.ts';

type OpenOptions = DatabaseOptions & { readonly as: readonly string[]; readonly reason?: string };
type BeginOptions = OpenOptions & { readonly for: number };
type RunOptions = OpenOptions & { readonly table: readonly string[] };

/** While a command runs, its time is renewed; should this process die, nobody may publish any more within a minute. */
const runForMs = 60_000;
const renewEveryMs = 15_000;
const endLockMs = 30_000;
const listAtMost = 20;

export function publishCommand(context: CliContext): Command {
  const command = new Command('publish').description(
    'write read-only and static-content tables, where they are fed from',
  );
  command.addHelpText(
    'after',
    `
Such a table is written only while it is published: in a transaction that says so, or in a time opened here, by the roles it
is opened for. Everybody else, the application included, is refused with LK_READ_ONLY, here as in every other data center.
Who published what, and when, is kept for 90 days.

For a job that can add a statement to its transaction, as the owner of the tables (or whoever was granted EXECUTE on it):
  SELECT lanekeeper.publishing('products');

Examples:
  $ lanekeeper publish run --table products -- node import.js
  $ lanekeeper publish begin products prices --for 30m --as importer
  $ lanekeeper publish status
  $ lanekeeper publish end`,
  );
  command.addCommand(
    opening(new Command('run'))
      .description('run a command, and let it publish for as long as it runs')
      .argument('<command...>', 'after --, the command and its arguments')
      .addOption(repeated('--table <table>', 'what it publishes (may be repeated; default: all that is fed from here)'))
      .addHelpText(
        'after',
        `\nThe command connects by itself, as one of the roles of --as. Exit code 0 when its own was 0, else 1.`,
      )
      .action((argv: string[], options: RunOptions) => runCommand(context, argv, options)),
  );
  command.addCommand(
    opening(new Command('begin'))
      .description('let roles publish for a time')
      .argument('[tables...]', 'what is published (default: all that is fed from here)')
      .addOption(new Option('--for <duration>', 'how long, 1s to 24h').argParser(duration).default(600_000, '10m'))
      .action((tables: string[], options: BeginOptions) => runBegin(context, tables, options)),
  );
  command.addCommand(
    place(new Command('end'))
      .description('end it; transactions that still write are waited for')
      .argument('[number]', 'as `begin` printed it (default: all that are open)')
      .action((number: string | undefined, options: DatabaseOptions) => runEnd(context, number, options)),
  );
  command.addCommand(
    place(new Command('status'))
      .description('what is published now, and who published last')
      .action((options: DatabaseOptions) => runStatus(context, options)),
  );
  return command;
}

const place = (command: Command): Command => withPlace(command, 'this data center');

function opening(command: Command): Command {
  return place(command)
    .addOption(
      repeated(
        '--as <role>',
        'who may write meanwhile, by the role that logs in (may be repeated; default: the owner)',
      ),
    )
    .option('--reason <text>', 'for the record');
}

function repeated(flags: string, description: string): Option {
  return new Option(flags, description)
    .argParser((value: string, others: readonly string[]) => [...others, value])
    .default([], '');
}

async function runBegin(context: CliContext, tables: readonly string[], options: BeginOptions): Promise<void> {
  const output = createOutput(context, { json: options.json });
  await asOwner(context, options, async (client, roles) => {
    const id = await beginPublishing(client, { tables, roles, forMs: options.for, reason: options.reason ?? null });
    const entry = (await readPublishing(client, { atMost: listAtMost, onlyOpen: true })).find((one) => one.id === id);
    if (entry !== undefined) printEntry(output, entry);
    output.result({ kind: 'publishing', ...entry });
  });
}

async function runEnd(context: CliContext, number: string | undefined, options: DatabaseOptions): Promise<void> {
  if (number !== undefined && !/^\d{1,18}$/.test(number))
    throw new CommandFailure(`${number} is not the number of a time to publish.`, { exitCode: exitCodes.usage });
  const output = createOutput(context, { json: options.json });
  const ended = await asOwner(context, options, async (client) => {
    await client.query(`SET lock_timeout = ${endLockMs}`);
    return endPublishing(client, number ?? null);
  });
  output.line(ended === 0 ? 'Nothing was open.' : 'Ended: nobody publishes any more.');
  output.result({ kind: 'ended', ended });
}

async function runStatus(context: CliContext, options: DatabaseOptions): Promise<void> {
  const output = createOutput(context, { json: options.json });
  const entries = await asOwner(context, options, (client) =>
    readPublishing(client, { atMost: listAtMost, onlyOpen: false }),
  );
  if (entries.length === 0) output.line('Nobody has published anything yet.');
  for (const entry of entries) printEntry(output, entry);
  output.result({ kind: 'publishing', entries });
}

async function runCommand(context: CliContext, argv: readonly string[], options: RunOptions): Promise<void> {
  const { table: tables, reason } = options;
  const [program = '', ...given] = argv;
  const code = await asOwner(context, options, async (client, roles) => {
    const request = { tables, roles, forMs: runForMs, reason: reason ?? argv.join(' ').slice(0, 200) };
    const id = await beginPublishing(client, request);
    const renewing = setInterval(() => void renewPublishing(client, id, runForMs).catch(() => {}), renewEveryMs);
    try {
      return await runProgram(program, given, context);
    } finally {
      clearInterval(renewing);
      await endPublishing(client, id);
    }
  });
  if (code !== 0) throw new CommandFailure(`${program} ended with exit code ${code}.`);
}

/** Its exit code. What it prints is printed; Ctrl-C reaches it by itself, and its time is ended after it. */
function runProgram(program: string, argv: readonly string[], context: CliContext): Promise<number> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, argv, { stdio: 'inherit', env: context.env, cwd: context.directory });
    const pass = (signal: NodeJS.Signals) => void child.kill(signal);
    process.on('SIGINT', ignore).on('SIGTERM', pass);
    const over = () => process.off('SIGINT', ignore).off('SIGTERM', pass);
    child.on('error', (error) => {
      over();
      reject(new CommandFailure(`${program} cannot be run: ${error.message}`, { exitCode: exitCodes.usage }));
    });
    child.on('exit', (code) => {
      over();
      resolve(code ?? 1);
    });
  });
}

function ignore(): void {}

function printEntry(output: Output, entry: PublishingEntry): void {
  const { colors } = output;
  const who = entry.roles === null ? 'one transaction' : `as ${entry.roles.join(', ')}`;
  const when = entry.open ? colors.green(`open until ${time(entry.until)}`) : `until ${time(entry.until)}`;
  const why = entry.reason === null ? '' : `: ${entry.reason}`;
  output.line(
    `${colors.bold(entry.id)}  ${entry.tables.join(', ')}  ${who}, ${time(entry.at)} ${when}  ${colors.dim(`${entry.openedBy}, ${entry.application}${why}`)}`,
  );
}

function time(iso: string): string {
  return new Date(iso).toISOString().replace(/\.\d+Z$/, 'Z');
}

async function asOwner<T>(
  context: CliContext,
  options: DatabaseOptions & { readonly as?: readonly string[] },
  work: (client: Client, roles: readonly string[]) => Promise<T>,
): Promise<T> {
  const { configuration, connect } = await openDatabaseCommand(context, options);
  const { here, roles } = configuration;
  const connected = await connect(here, 'owner')(`lanekeeper publish ${whoami()}`.slice(0, 63));
  if (connected.kind === 'unavailable') throw unavailable(connected, here, 'owner');
  const asked = options.as ?? [];
  try {
    return await work(connected.client, asked.length > 0 ? asked : [roles.owner]);
  } catch (thrown) {
    const problem = refusal(thrown);
    if (problem === null) throw thrown;
    throw problem;
  } finally {
    await connected.client.end();
  }
}

function refusal(thrown: unknown): CommandFailure | null {
  const { code, message, hint } = thrown as Partial<Record<string, string>>;
  if (code === '55P03')
    return new CommandFailure('A transaction still writes what is published: try again when it has ended.');
  if (code === '22023' || code === 'LK007')
    return new CommandFailure(`${message}.`, { exitCode: exitCodes.usage, hint: hint || null });
  if (typeof code !== 'string' || !/^[0-9A-Z]{5}$/.test(code)) return null;
  return databaseFailure('Publishing', {
    code,
    message: message ?? '',
    detail: null,
    hint: hint ?? null,
  } satisfies DatabaseProblem);
}

function whoami(): string {
  try {
    return `${userInfo().username}@${hostname()}`;
  } catch {
    return hostname();
  }
}
