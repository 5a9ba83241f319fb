/** `lanekeeper join`: seeds a data center from another one, while all go on. Shows first what would be lost, and does it with --yes. */
import { Command, InvalidArgumentError, Option } from 'commander';
import { type Configuration, databaseUrl, loadConfiguration, type RoleName } from 'lanekeeper/config';
import type { DataCenterName } from 'lanekeeper/model';
import {
  type Connect,
  connect,
  type Inspection,
  inspectJoin,
  type JoinEvent,
  type JoinResult,
  type JoinSide,
  type JoinSides,
  joinDataCenter,
  joinedPeers,
  readMembers,
} from '../postgres/index.ts';
import { count, type DatabaseOptions, unavailable } from './database-command.ts';
import { placeOfCommand } from './lab-file.ts';
import { openLeaseStore } from './lease-store.ts';
import { type CliContext, CommandFailure, createOutput, exitCodes, type Output, SilentExit } from './output.ts';
import { duration } from './serving.ts';

type JoinOptions = Omit<DatabaseOptions, 'dc'> & {
  readonly from: string;
  readonly fromConfig?: string;
  readonly otherConfig?: Readonly<Record<string, string>>;
  readonly pause: number;
  readonly discard?: boolean;
  readonly yes?: boolean;
};

export function joinCommand(context: CliContext): Command {
  return new Command('join')
    .description(
      'seed a data center from another one: it is new, its disk is gone, it was restored, or a slot was lost',
    )
    .argument('<dc>', 'the data center that is seeded')
    .requiredOption('--from <dc>', 'the one that lives')
    .option('--config <file>', 'the configuration of the one that is seeded')
    .option('--from-config <file>', 'that of the one that lives, where it has another')
    .option('--other-config <dc=file>', 'and that of a third one; may be given again', fileOfOther)
    .addOption(
      new Option('--pause <duration>', 'how long the streams into the one that lives may stand still, with three')
        .argParser(duration)
        .default(1_000, '1s'),
    )
    .option('--discard', 'do not keep what only the one that is seeded has')
    .option('--yes', 'do it; without, it is only shown what would be lost')
    .option('--json', 'print what is known, or each step, as JSON')
    .addHelpText(
      'after',
      `
Everything that travels is copied as of one moment, while all go on selling; then it is read from all others from that moment on,
read by them, and compared with each. Only then may it ask for a lease, as a new generation. Accounts stay where they are.
With a third data center the streams into the one that lives stand still for that moment: a second at most, and it is said for how long.

What only an intact database has goes to the ledger first (\`lanekeeper stranded list\`): what was never sent, out of its log, or
where the log was lost every row that differs. An older copy, or one that never was a data center, is emptied as it is.

It must have been taken over, or never have been a data center, and its agents must be stopped: start them afterwards. After
a new initdb: the roles, the application's schema, then this. Whatever ends it, run it again: it goes on from where it was.

After a takeover meanwhile it stops, and begins again with the next run. Connects to all as owner, agent and replication, and to the lease store.
Exit code 0: shown, or joined. 1: refused, or not finished, and why. 4: something could not be reached.`,
    )
    .action((dc: string, options: JoinOptions) => runJoin(context, dc, options));
}

async function runJoin(context: CliContext, dc: string, options: JoinOptions): Promise<void> {
  const output = createOutput(context, { json: options.json });
  const { from } = options;
  const target = await openSide(context, dc, options.config);
  if (dc === from) throw new CommandFailure(`${dc} cannot be seeded from itself.`, { exitCode: exitCodes.usage });
  const source = await openSide(context, from, options.fromConfig ?? options.config);
  // All are reached as the seeded one reaches them: that is where this runs.
  const connectTo = (name: DataCenterName) => (role: RoleName) => (applicationName: string) =>
    connect(databaseUrl(target.configuration, name, role, target.env), { applicationName });
  const others: JoinSide[] = [];
  for (const name of await membersBeside(connectTo(from)('agent'), target.configuration, dc, from)) {
    const file = options.otherConfig?.[name] ?? options.config;
    others.push({ ...(await openSide(context, name, file)), connect: connectTo(name) });
  }
  const sides: JoinSides = {
    target: { ...target, connect: connectTo(dc) },
    source: { ...source, connect: connectTo(from) },
    peers: others,
  };
  const store = openLeaseStore(target.configuration, target.env);
  try {
    const inspection = await inspectJoin({ ...sides, store });
    if (inspection.kind === 'unavailable') throw unavailable(inspection, inspection.dataCenter, inspection.role);
    if (inspection.kind === 'refused') throw new CommandFailure(`${inspection.why}.`, { hint: inspection.hint });
    printInspection(output, inspection, dc, from, options.discard === true);
    if (options.yes !== true) {
      output.result({ dataCenter: dc, from, ...inspection });
      output.line('Nothing was changed. With --yes it is done.');
      return;
    }
    const progress = progressOf(context, output);
    const result = await joinDataCenter({
      ...sides,
      store,
      pauseMaxMs: options.pause,
      discard: options.discard === true,
      onEvent: progress.show,
    });
    progress.clear();
    output.result({ dataCenter: dc, from, ...result });
    printResult(output, result, dc, from);
  } finally {
    await store.close();
  }
}

function fileOfOther(text: string, before: Readonly<Record<string, string>> = {}): Readonly<Record<string, string>> {
  const [, dc, file] = /^([^=]+)=(.+)$/.exec(text) ?? [];
  if (dc === undefined || file === undefined) throw new InvalidArgumentError('It is DC=FILE, for example la=la.yaml.');
  return { ...before, [dc]: file };
}

/** Whoever takes part, as the one that lives has it: others that are configured have not joined either. */
async function membersBeside(
  connectToSource: Connect,
  configuration: Configuration,
  dc: DataCenterName,
  from: DataCenterName,
): Promise<readonly DataCenterName[]> {
  const connected = await connectToSource('lanekeeper join');
  if (connected.kind === 'unavailable') throw unavailable(connected, from, 'agent');
  try {
    return joinedPeers(configuration, await readMembers(connected.client)).filter(
      (name) => name !== from && name !== dc,
    );
  } finally {
    await connected.client.end();
  }
}

async function openSide(context: CliContext, dc: DataCenterName, config: string | undefined) {
  const { env, config: file } = placeOfCommand(context, { config, dc });
  const { configuration } = await loadConfiguration({ file, env, directory: context.directory });
  return { configuration, env };
}

function printInspection(
  output: Output,
  { resumes, takenOver, tables, more, whole }: Extract<Inspection, { kind: 'ready' }>,
  dc: string,
  from: string,
  discard: boolean,
): void {
  const { colors } = output;
  if (takenOver !== null) output.line(`${dc} was taken over by ${from} in term ${takenOver}.`);
  else output.line(`${dc} has never had a lease.`);
  if (resumes !== null && resumes !== 'begun' && resumes !== 'kept') {
    output.line(`An earlier run came as far as "${resumes}": this goes on from there.`);
    return;
  }
  const full = tables.filter(({ rows }) => rows !== null && rows > 0);
  const rows = full.reduce((sum, table) => sum + (table.rows ?? 0), 0);
  if (rows === 0) return output.line(`Its tables are empty.`);
  output.line(`${count(rows, 'row')} in ${count(full.length, 'table')} are removed there, and copied from ${from}.`);
  const losing = tables.filter(({ lost }) => lost > 0);
  for (const { table, lost } of losing) {
    output.line(`${colors.yellow('!')} ${table}: ${count(lost, 'row')} that ${from} does not have, or not like this`);
  }
  if (more) output.line(`${colors.yellow('!')} and more: not everything could be compared`);
  if (losing.length > 0) {
    output.line(
      whole && !discard
        ? '  They are kept for a decision: `lanekeeper stranded list`. Rows that belong to no account are not.'
        : '  They would be lost. A copy of that database (pg_dump) keeps them.',
    );
  } else if (!more) output.line(`${colors.green('✓')} ${from} has every one of them.`);
}

function printResult(output: Output, result: JoinResult, dc: string, from: string): void {
  const { colors } = output;
  switch (result.kind) {
    case 'joined': {
      const what = result.readmitted
        ? 'the lease store lets it ask for a lease again'
        : 'it may ask for its first lease';
      output.line(`${colors.green('✓')} ${dc} holds what ${from} holds; ${what} (generation ${result.generation})`);
      if (result.pausedMs !== null)
        output.line(`  The streams into ${from} stood still for ${Math.round(result.pausedMs)} ms.`);
      return output.line(`  Start its agents. \`lanekeeper switchover\` brings accounts there when you want.`);
    }
    case 'unavailable':
      throw unavailable(result, result.dataCenter, result.role);
    case 'refused':
      throw new CommandFailure(`${result.why}.`, { hint: result.hint });
    case 'stopped':
      throw new CommandFailure(`${result.why}.`, { hint: result.hint ?? 'What was done stays done: run it again.' });
    case 'differs':
      for (const { table, kind, reason, differences } of result.tables) {
        const why = reason === null ? '' : `: ${reason}`;
        output.line(
          `${colors.red('✗')} ${table}: ${kind === 'differs' ? `${count(differences, 'row')} differ` : kind}${why}`,
        );
      }
      output.line(
        `${dc} and ${result.from} are not equal. \`lanekeeper verify\` names the rows, \`--repair\` mends them; then run this again.`,
      );
      throw new SilentExit(exitCodes.no);
  }
}

/** Steps as lines; what is on its way on one line that is written over, on a terminal only. */
function progressOf(context: CliContext, output: Output): { show(event: JoinEvent): void; clear(): void } {
  const live = !output.json && context.stderr.isTTY === true;
  const write = (text: string) => (live ? context.stderr.write(`\r\x1b[2K${text}`) : undefined);
  let ready = -1;
  let waiting = '';
  return {
    show: (event) => {
      if (event.kind === 'step') {
        write('');
        output.result({ step: event.what });
        return output.line(output.colors.dim(`- ${event.what}`));
      }
      if (event.kind === 'kept') {
        output.result(event);
        return output.line(`  ${count(event.rows, 'row')} went to the ledger, ${event.entries} to decide about`);
      }
      if (event.kind === 'stranded') {
        output.result(event);
        return output.line(
          `  its own log still has what was never sent: ${count(event.changes, 'change')} more in the ledger`,
        );
      }
      if (event.kind === 'reached') return output.result({ reached: event.stage });
      if (event.kind === 'compare') {
        const { index, count: tables, table, rows, estimatedRows } = event;
        const beside = `${Math.max(rows, estimatedRows)} rows, with ${event.with}`;
        return void write(`${index + 1}/${tables} ${table}: ${rows} of about ${beside}`);
      }
      if (event.kind === 'waiting') {
        if (event.what !== waiting) output.result({ waitingFor: event.what });
        waiting = event.what;
        return void write(`waiting for ${event.what}`);
      }
      if (event.kind === 'paused') {
        write('');
        output.result({ pausedMs: event.ms });
        return output.line(`  its streams stood still for ${Math.round(event.ms)} ms`);
      }
      const { rows, bytes, totalBytes, leftBytes, elapsedMs } = event;
      const now = event.copying.map((one) => `${one.table}: ${one.rows} rows`).join(', ');
      const left = totalBytes === 0 ? 0 : leftBytes / totalBytes;
      const leftSeconds = left < 1 ? Math.round(((elapsedMs / (1 - left)) * left) / 1000) : null;
      const amount = `${event.ready}/${event.tables} tables, ${rows} rows, ${megabytes(bytes)}`;
      const rest = leftSeconds === null ? '' : `, about ${leftSeconds} s left`;
      write(`${amount}${rest}${now === '' ? '' : ` (${now})`}`);
      if (event.ready === ready) return;
      output.result({ copied: event.ready, tables: event.tables, rows, bytes, leftBytes });
      ready = event.ready;
      if (event.ready < event.tables) return;
      write('');
      output.line(`  ${amount} in ${(elapsedMs / 1000).toFixed(1)} s`);
    },
    clear: () => void write(''),
  };
}

function megabytes(bytes: number): string {
  return `${(bytes / 1_000_000).toFixed(1)} MB`;
}
