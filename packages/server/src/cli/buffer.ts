/** `lanekeeper buffer`: how far writes to every data center have come, and those that a data center refused. */
import { hostname, userInfo } from 'node:os';
import { Command } from 'commander';
import type { Configuration } from 'lanekeeper/config';
import type { Client } from 'pg';
import { type AsideEntry, countAside, discardAside, listAside, resend, retryAside } from '../buffer/index.ts';
import { count, type DatabaseOptions, openDatabaseCommand, unavailable, withPlace } from './database-command.ts';
import { type CliContext, CommandFailure, createOutput, exitCodes, type Output, SilentExit } from './output.ts';

type DiscardOptions = DatabaseOptions & { readonly reason: string; readonly by?: string };
type ResendOptions = DatabaseOptions & { readonly to: string; readonly table?: readonly string[] };
type RetryOptions = DatabaseOptions & { readonly all?: boolean };

/** What the agent has noted longer ago than this says nothing of now. */
const staleMs = 10_000;

export function bufferCommand(context: CliContext): Command {
  const command = new Command('buffer').description(
    'writes on their way to every data center (`writes: direct` and `buffered`)',
  );
  command.addCommand(
    place(new Command('status'))
      .description('what each data center still lacks of what was written here, and since when')
      .addHelpText(
        'after',
        `
Exit code 0: everything is where it belongs or on its way there. 1: something is stuck, or was set aside.`,
      )
      .action((options: DatabaseOptions) => runStatus(context, options)),
  );
  command.addCommand(
    place(new Command('poison'))
      .description('writes that a data center refuses, which are set aside: each with who refuses it, and why')
      .option('--all', 'also those that are still tried again, and those discarded within 30 days')
      .addHelpText(
        'after',
        `
A write that a data center refuses is tried again for \`buffer.retry\`; then it is poison and waits for a person. Nothing waits
behind it: later writes to the same key go on, and each is a whole row. They are kept where they were written.

Examples:
  $ lanekeeper buffer poison --dc ny
  $ lanekeeper buffer retry --all
  $ lanekeeper buffer discard 17 --reason 'the product is gone'`,
      )
      .action((options: RetryOptions) => runList(context, options)),
  );
  command.addCommand(
    place(new Command('retry'))
      .description('tries what was set aside again now, and for `buffer.retry` from now on')
      .argument('[ids...]', 'their numbers, as `poison` prints them')
      .option('--all', 'every one')
      .action((ids: string[], options: RetryOptions) => runRetry(context, ids, options)),
  );
  command.addCommand(
    place(new Command('discard'))
      .description('never writes it there; that data center stays different until the row is written again')
      .argument('<ids...>', 'their numbers, as `poison` prints them')
      .requiredOption('--reason <text>', 'why, for the record')
      .option('--by <name>', 'who decides (default: the user of this machine)')
      .action((ids: string[], options: DiscardOptions) => runDiscard(context, ids, options)),
  );
  command.addCommand(
    place(new Command('resend'))
      .description('sends every row that is written this way again to a data center that lacks some')
      .requiredOption('--to <dc>', 'the data center that gets them')
      .option('--table <table...>', 'only these')
      .addHelpText(
        'after',
        `
For a data center that got such a table later than the others, and for rows that were given up there. What it has already, or
has later, stays as it is. \`lanekeeper join\` does it by itself.`,
      )
      .action((options: ResendOptions) => runResend(context, options)),
  );
  return command;
}

const place = (command: Command): Command => withPlace(command, 'where they were written');

type Drain = {
  readonly log: string;
  readonly target: string;
  readonly waiting: number;
  readonly oldestSeconds: number | null;
  readonly problem: string | null;
  /** When the agent has seen this; null: it is so now. */
  readonly seenSecondsAgo: number | null;
};

async function runStatus(context: CliContext, options: DatabaseOptions): Promise<void> {
  const output = createOutput(context, { json: options.json });
  const { colors } = output;
  await withDatabase(context, options, async (client, here) => {
    const drains = await readDrains(client);
    const aside = await countAside(client);
    const stale = drains.filter((one) => one.seenSecondsAgo !== null && one.seenSecondsAgo * 1000 > staleMs);
    for (const { log, target, waiting, oldestSeconds, problem } of drains) {
      const mark = problem === null ? colors.green('✓') : colors.red('✗');
      const age = oldestSeconds === null || waiting === 0 ? '' : `, the oldest for ${Math.round(oldestSeconds)} s`;
      output.line(
        `${mark} ${log} → ${target}: ${waiting === 0 ? 'nothing waits' : `${count(waiting, 'write')}${age}`}`,
      );
      if (problem !== null) output.line(colors.dim(`    ${problem}`));
    }
    if (drains.length === 0) output.line(`nothing was written here that ${here} has to bring anywhere`);
    if (stale.length > 0)
      output.line(colors.yellow(`! no agent of ${here} has looked for ${Math.round(stale[0]?.seenSecondsAgo ?? 0)} s`));
    if (aside.retrying > 0) output.line(`${colors.yellow('!')} ${count(aside.retrying, 'write')} refused, tried again`);
    if (aside.poison > 0)
      output.line(`${colors.red('✗')} ${count(aside.poison, 'write')} set aside: \`lanekeeper buffer poison\``);
    output.result({ dataCenter: here, drains, aside });
    if (aside.poison > 0 || drains.some(({ problem }) => problem !== null)) throw new SilentExit(exitCodes.no);
  });
}

/** The log in PostgreSQL as it is now, the other one as the agent saw it last. */
async function readDrains(client: Client): Promise<readonly Drain[]> {
  const { rows } = await client.query<Drain>(
    `WITH now AS (SELECT target, sum(waiting)::int AS waiting, min(oldest_at) AS oldest_at FROM lanekeeper.buffer_lag() GROUP BY target)
     SELECT coalesce(p.log, 'postgres') AS log, coalesce(p.target, n.target) AS target,
            CASE WHEN p.log = 'nats' THEN p.waiting ELSE coalesce(n.waiting, 0) END::int AS waiting,
            extract(epoch FROM clock_timestamp() - CASE WHEN p.log = 'nats' THEN p.oldest_at ELSE n.oldest_at END)::float8 AS "oldestSeconds",
            p.problem, extract(epoch FROM clock_timestamp() - p.seen_at)::float8 AS "seenSecondsAgo"
       FROM lanekeeper.buffer_progress p FULL JOIN now n ON p.target = n.target AND p.log = 'postgres' ORDER BY 1, 2`,
  );
  return rows;
}

async function runList(context: CliContext, options: RetryOptions): Promise<void> {
  const output = createOutput(context, { json: options.json });
  await withDatabase(context, options, async (client) => {
    const entries = await listAside(client, options.all ? ['poison', 'retrying', 'discarded'] : ['poison']);
    for (const entry of entries) print(output, entry);
    if (entries.length === 0) output.line(`${output.colors.green('✓')} nothing is set aside`);
    output.result({ entries });
  });
}

function print({ line, colors }: Output, entry: AsideEntry): void {
  const { id, target, relation, key, image, state, sqlstate, message, attempts, writtenAt } = entry;
  const what = image === null ? 'remove' : 'put';
  line(`${colors.bold(id)}  ${target} refuses: ${what} ${relation} (${key.join(', ')})  ${colors.dim(state)}`);
  line(`    ${sqlstate} ${message}`);
  line(colors.dim(`    written ${writtenAt.toISOString()}, tried ${attempts === 1 ? 'once' : `${attempts} times`}`));
  if (state === 'discarded') line(colors.dim(`    discarded by ${entry.decidedBy}: ${entry.reason}`));
}

async function runRetry(context: CliContext, ids: readonly string[], options: RetryOptions): Promise<void> {
  const output = createOutput(context, { json: options.json });
  if (ids.length > 0 === (options.all === true)) {
    throw new CommandFailure('Name writes, or give --all.', {
      exitCode: exitCodes.usage,
      hint: '`lanekeeper buffer poison` shows them.',
    });
  }
  await withDatabase(context, options, async (client) => {
    const done = await retryAside(client, options.all ? null : ids.map(number));
    report(output, 'tried again', ids, done);
  });
}

async function runDiscard(context: CliContext, ids: readonly string[], options: DiscardOptions): Promise<void> {
  const output = createOutput(context, { json: options.json });
  await withDatabase(context, options, async (client) => {
    const decision = { by: options.by ?? whoami(), reason: options.reason };
    report(output, 'discarded', ids, await discardAside(client, ids.map(number), decision));
  });
}

async function runResend(context: CliContext, options: ResendOptions): Promise<void> {
  const output = createOutput(context, { json: options.json });
  await withDatabase(context, options, async (client, here, configuration) => {
    const all = Object.values(configuration.tables).flatMap(({ name, writes }) =>
      writes === 'replicated' ? [] : [name],
    );
    const asked = (options.table ?? all).map((name) => (name.includes('.') ? name : `public.${name}`));
    const unknown = asked.find((name) => !all.includes(name));
    if (unknown !== undefined || !(options.to in configuration.dataCenters) || options.to === here) {
      const what =
        unknown === undefined ? `${options.to} is not another data center` : `${unknown} is not written this way`;
      throw new CommandFailure(`${what}.`, {
        exitCode: exitCodes.usage,
        hint: `Tables: ${all.join(', ') || 'none'}. Data centers: ${Object.keys(configuration.dataCenters).join(', ')}; this is ${here}.`,
      });
    }
    const tables: { table: string; rows: number }[] = [];
    for (const table of asked) {
      const rows = await resend(client, table, options.to);
      tables.push({ table, rows });
      output.line(`${output.colors.green('✓')} ${table}: ${count(rows, 'row')} on the way to ${options.to}`);
    }
    output.result({ to: options.to, tables });
  });
}

function report(output: Output, what: string, asked: readonly string[], done: readonly string[]): void {
  const missing = asked.filter((id) => !done.includes(id));
  for (const id of done) output.line(`${output.colors.green('✓')} ${id}: ${what}`);
  for (const id of missing) output.line(`${output.colors.red('✗')} ${id}: no such write is set aside`);
  if (done.length === 0 && missing.length === 0) output.line('nothing is set aside');
  output.result({ done, missing });
  if (missing.length > 0) throw new SilentExit(exitCodes.no);
}

async function withDatabase(
  context: CliContext,
  options: DatabaseOptions,
  work: (client: Client, here: string, configuration: Configuration) => Promise<void>,
): Promise<void> {
  const { configuration, connect } = await openDatabaseCommand(context, options);
  const connected = await connect(configuration.here, 'agent')('lanekeeper buffer');
  if (connected.kind === 'unavailable') throw unavailable(connected, configuration.here, 'agent');
  try {
    await work(connected.client, configuration.here, configuration);
  } finally {
    await connected.client.end();
  }
}

function number(written: string): string {
  if (/^\d{1,18}$/.test(written)) return written;
  throw new CommandFailure(`${written} is not the number of a write.`, {
    exitCode: exitCodes.usage,
    hint: '`lanekeeper buffer poison` shows them.',
  });
}

function whoami(): string {
  try {
    return `${userInfo().username}@${hostname()}`;
  } catch {
    // A container may run as a user that has no name.
    return `somebody@${hostname()}`;
  }
}
