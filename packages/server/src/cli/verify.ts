/** `lanekeeper verify`: whether two data centers hold the same rows, and which differ. */
import { Command, InvalidArgumentError, Option } from 'commander';
import { qualifiedName } from 'lanekeeper/config';
import type { DataCenterName } from 'lanekeeper/model';
import {
  answerConflicts,
  type Difference,
  type Queryable,
  type RepairResult,
  readUnanswered,
  repairDifferences,
  type TableVerdict,
  type UnansweredConflicts,
  type VerifyProgress,
  verifyTables,
} from '../postgres/index.ts';
import {
  count,
  type DatabaseCommand,
  type DatabaseOptions,
  openDatabaseCommand,
  unavailable,
} from './database-command.ts';
import { type CliContext, CommandFailure, createOutput, exitCodes, type Output, SilentExit } from './output.ts';
import { printRepair } from './verify-repair.ts';

type VerifyCommandOptions = DatabaseOptions & {
  readonly with?: string;
  readonly table: readonly string[];
  readonly limit: number;
  readonly repair?: boolean;
  readonly dryRun?: boolean;
};

export function verifyCommand(context: CliContext): Command {
  return new Command('verify')
    .description('compare the rows of two data centers, under traffic, and name those that differ')
    .option('--config <file>', 'the configuration')
    .option('--dc <name>', 'this data center (default: LANEKEEPER_DC)')
    .option('--with <name>', 'the other data center (default: every other one)')
    .addOption(
      new Option('--table <table>', 'only this table (may be repeated)')
        .argParser((table: string, others: readonly string[]) => [...others, table])
        .default([], 'all'),
    )
    .option('--limit <n>', 'name at most so many rows', wholeNumber, 100)
    .option('--repair', 'send rows that differ again, as they are at the home of their account')
    .option('--dry-run', 'with --repair: say what would be sent, and by whom')
    .option('--json', 'print the result as JSON, one line per pair of data centers')
    .addHelpText(
      'after',
      `
Connects to both as the agent. Rows on their way are waited for, not reported. Exit code 0: equal; 1: differences, or
rows that could not be decided. A full comparison that is clean opens the gate that conflicts in replication had closed.

--repair lets the home of a row's account send it again, in the stream; a row that is not there is deleted in the other.
Rows whose home cannot be found out, and rows that belong to no account, are left alone, with the reason. Look first:
  $ lanekeeper verify --repair --dry-run`,
    )
    .action((options: VerifyCommandOptions) => runVerify(context, options));
}

async function runVerify(context: CliContext, options: VerifyCommandOptions): Promise<void> {
  const output = createOutput(context, { json: options.json });
  const { configuration, connect } = await openDatabaseCommand(context, options);
  const { here } = configuration;
  const others = Object.keys(configuration.dataCenters).filter((dc) => dc !== here);
  if (options.with !== undefined && !others.includes(options.with)) {
    throw new CommandFailure(`There is no other data center ${options.with}.`, {
      exitCode: exitCodes.usage,
      hint: `There is ${others.join(' and ') || 'none'}.`,
    });
  }
  if (options.dryRun && !options.repair) {
    throw new CommandFailure('--dry-run says what --repair would do: give both.', { exitCode: exitCodes.usage });
  }
  const tables = options.table.map((written) => tableName(written));
  let clean = true;
  // With a third one that is away, the two that are there can be compared all the same.
  const everything = tables.length === 0 && options.with === undefined;
  const conflicts = everything ? await readConflicts(connect, [here, ...others]) : new Map();
  for (const there of options.with === undefined ? others : [options.with]) {
    const compare = async () => {
      const progress = progressLine(context, output);
      const compared = await verifyTables({
        configuration,
        here,
        there,
        connect: (dc) => connect(dc, 'agent'),
        differencesMax: options.limit,
        everywhere: true,
        onProgress: progress.show,
        ...(tables.length > 0 ? { tables } : {}),
      });
      progress.clear();
      if (compared.kind === 'unavailable') throw unavailable(compared, compared.dataCenter, 'agent');
      return compared;
    };
    let result = await compare();
    let repair: Repaired | null = null;
    if (options.repair && result.differences.length > 0) {
      const { differences } = result;
      const { dryRun = false } = options;
      const connectAgent = (dc: DataCenterName) => connect(dc, 'agent');
      const repaired = await repairDifferences({
        configuration,
        here,
        there,
        connect: connectAgent,
        differences,
        dryRun,
      });
      if (repaired.kind === 'unavailable') throw unavailable(repaired, repaired.dataCenter, 'agent');
      printRepair(output, repaired, { here, there, dryRun });
      repair = repaired;
      if (!dryRun) result = await compare();
    }
    const unknown = tables.find((table) => !result.tables.some((verdict) => verdict.table === table));
    if (unknown !== undefined) {
      throw new CommandFailure(`${unknown} does not travel between ${here} and ${there}.`, {
        exitCode: exitCodes.usage,
      });
    }
    for (const difference of result.differences) printDifference(output, difference, here, there);
    for (const verdict of result.tables) printVerdict(output, verdict, here, there);
    const rows = result.tables.reduce((sum, verdict) => sum + verdict.rowsHere, 0);
    if (result.clean) {
      const what = `${count(rows, 'row')} in ${count(result.tables.length, 'table')}`;
      output.line(
        `${output.colors.green('✓')} ${here} and ${there} are equal${result.tables.some(({ allowed }) => allowed) ? ', but for what may differ' : ''}: ${what}`,
      );
    } else {
      output.line(`${output.colors.red('✗')} ${here} and ${there} are not shown to be equal`);
    }
    output.result(repair === null ? result : { ...result, repair });
    clean &&= result.clean;
  }
  if (!clean) throw new SilentExit(exitCodes.no);
  // Everything was compared, so whatever replication stumbled over before has left no trace.
  if (everything) await answerFor(connect, conflicts);
}

type Repaired = Extract<RepairResult, { kind: 'repaired' }>;

type ConflictsByDataCenter = ReadonlyMap<DataCenterName, UnansweredConflicts>;

async function readConflicts(
  connect: DatabaseCommand['connect'],
  dcs: readonly DataCenterName[],
): Promise<ConflictsByDataCenter> {
  const found = new Map<DataCenterName, UnansweredConflicts>();
  for (const dc of dcs) found.set(dc, await onDatabase(connect, dc, readUnanswered));
  return found;
}

async function answerFor(connect: DatabaseCommand['connect'], conflicts: ConflictsByDataCenter): Promise<void> {
  for (const [dc, answered] of conflicts)
    if (Object.keys(answered).length > 0) await onDatabase(connect, dc, (client) => answerConflicts(client, answered));
}

async function onDatabase<T>(
  connect: DatabaseCommand['connect'],
  dc: DataCenterName,
  work: (client: Queryable) => Promise<T>,
): Promise<T> {
  const connected = await connect(dc, 'agent')('lanekeeper verify');
  if (connected.kind === 'unavailable') throw unavailable(connected, dc, 'agent');
  try {
    return await work(connected.client);
  } finally {
    await connected.client.end();
  }
}

function tableName(written: string): string {
  // Lanekeeper's own tables are compared too.
  const name = qualifiedName(written);
  if (name === null) throw new CommandFailure(`${written} is not the name of a table.`, { exitCode: exitCodes.usage });
  return name;
}

function printVerdict(output: Output, verdict: TableVerdict, here: string, there: string): void {
  if (verdict.kind === 'equal') return;
  const { colors } = output;
  const rows = `${verdict.rowsHere} rows in ${here}, ${verdict.rowsThere} in ${there}`;
  const reason = verdict.reason === null ? '' : `: ${verdict.reason}`;
  const words = {
    differs: (verdict.allowed ? colors.yellow : colors.red)(`${count(verdict.differences, 'row')} differ`),
    unsettled: colors.yellow(`${count(verdict.unsettled, 'row')} could not be decided`),
    'not-comparable': colors.yellow('cannot be compared'),
  }[verdict.kind];
  output.line(`${verdict.table}: ${words}${reason} ${colors.dim(`(${rows})`)}`);
}

function printDifference(output: Output, difference: Difference, here: string, there: string): void {
  const key = Object.entries(difference.key)
    .map(([name, value]) => `${name} = ${value}`)
    .join(', ');
  const { colors } = output;
  if (difference.kind !== 'differs') {
    const only = difference.kind === 'only-here' ? here : there;
    output.line(`${difference.table} (${key}): only in ${only}`);
    return;
  }
  output.line(`${difference.table} (${key}):`);
  for (const column of difference.columns) {
    output.line(
      colors.dim(`    ${column.name}: ${column.here ?? 'NULL'} in ${here}, ${column.there ?? 'NULL'} in ${there}`),
    );
  }
}

/** One line that is written over, on a terminal only. */
function progressLine(context: CliContext, output: Output): { show(progress: VerifyProgress): void; clear(): void } {
  if (output.json || context.stderr.isTTY !== true) return { show: () => {}, clear: () => {} };
  const write = (text: string) => context.stderr.write(`\r\x1b[2K${text}`);
  return {
    show: ({ table, index, count: tables, rows, estimatedRows }) =>
      write(`${index + 1}/${tables} ${table}: ${rows} of about ${Math.max(rows, estimatedRows)} rows`),
    clear: () => write(''),
  };
}

function wholeNumber(text: string): number {
  if (!/^[1-9]\d{0,7}$/.test(text)) throw new InvalidArgumentError('A whole number, 1 or more.');
  return Number(text);
}
